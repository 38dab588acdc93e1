"""Models, as their papers give them."""

if __name__ != "ringleader.models":
    raise ImportError("folder models/ is the package ringleader.models: write 'import ringleader.models'")
