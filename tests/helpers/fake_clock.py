"""A clock of a device, for tests of what times kernels: time passes only where somebody says so."""

from ringleader.bench.gpu.timing import Contestant


class FakeClock:
    """A device whose work lasts as long as the calls say, and whose host takes its own time."""

    def __init__(self):
        self.device, self.now, self.log = 0.0, 0.0, []

    def mark(self):
        return self.device

    def between(self, start, end):
        return end - start

    def hold(self, seconds):
        self.log.append(("hold", seconds))
        self.device += seconds

    def host(self):
        return self.now

    def side(self, name, device, host=1e-6, sets=1):
        """A contestant; ``device``: seconds of each of its calls."""

        def call():
            self.log.append(name)
            self.device += device
            self.now += host

        return Contestant(name, [call] * sets)
