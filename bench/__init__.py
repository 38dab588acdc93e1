"""Side-by-side measurement of collectives and models."""

if __name__ != "ringleader.bench":
    raise ImportError("this folder is the package ringleader.bench: write 'import ringleader.bench'")
