"""Side-by-side measurement of collectives and models."""

if __name__ != "ringleader.bench":
    raise ImportError("folder bench/ is the package ringleader.bench: write 'import ringleader.bench'")
