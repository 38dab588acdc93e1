"""How things run: comm <- autograd <- parallel <- training <- serving (an arrow may only point left)."""

if __name__ != "ringleader.runtime":
    raise ImportError("this folder is the package ringleader.runtime: write 'import ringleader.runtime'")
