"""What to communicate: schedules, algorithms, their proof and their price. Pure Python and numpy."""

if __name__ != "ringleader.collectives":
    raise ImportError("folder collectives/ is the package ringleader.collectives: write 'import ringleader.collectives'")
