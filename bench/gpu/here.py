"""The graphics card of this machine as a place to measure in: its clock, and what a page of results must say of it."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import time
from typing import Any

from ringleader.bench.gpu.place import Place
from ringleader.bench.gpu.timing import Clock, Contestant, interleaved, seconds
from ringleader.bench.gpu.trial import copying
from ringleader.csrc.cuda.gpu import Gpu
from ringleader.csrc.cuda.nvrtc import nvrtc_version

CYCLES = 2e9  # a second, of any card at most: held a little too long is right, too short is not
LARGE = 1 << 30  # bytes that a copy reads and writes to tell its rate
QUERY = ("driver_version", "power.limit", "clocks.max.sm", "clocks.max.mem")  # of nvidia-smi


class EventClock:
    """Of PyTorch's current stream, by CUDA events; CuPy launches into the same, the legacy default stream."""

    def __init__(self, torch: Any) -> None:
        self._cuda = torch.cuda

    def mark(self) -> Any:
        event = self._cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start: Any, end: Any) -> float:
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    def hold(self, seconds: float) -> None:
        self._cuda._sleep(int(seconds * CYCLES))

    def host(self) -> float:
        return time.perf_counter()


def open_card() -> tuple[Place, Clock]:
    """The first visible card. Its errors are those of PyTorch and CuPy: ``missing`` asks before."""
    torch = importlib.import_module("torch")
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32, on both sides
    properties = torch.cuda.get_device_properties(0)
    return Place(torch, Gpu(), "cuda", properties.L2_cache_size), EventClock(torch)


def copied(place: Place, clock: Clock, repeats: int) -> float:
    """Bytes a second that a copy reads and writes."""
    copy: Contestant = copying(place, LARGE)
    return LARGE / seconds(interleaved([copy], repeats, clock)[copy.name])


def card_name(place: Place) -> str:
    return str(place.torch.cuda.get_device_name(0))


def about(place: Place, rate: float) -> dict[str, str]:
    """Lines for the page: card, driver, versions. rate: see ``copied``."""
    torch, properties = place.torch, place.torch.cuda.get_device_properties(0)
    cupy = importlib.import_module("cupy")
    memory, cache = properties.total_memory / 2**30, place.cache / 2**20
    return {
        "card": f"{card_name(place)}, compute capability {properties.major}.{properties.minor}, "
        f"{properties.multi_processor_count} multiprocessors, {memory:.0f} GiB, second-level cache {cache:.0f} MiB; "
        f"a copy reads and writes {rate / 1e9:,.0f} GB/s",
        "driver": driver(),
        "PyTorch": f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
        "ringleader": f"CuPy {cupy.__version__}, NVRTC {nvrtc_version()}, Python {platform.python_version()}",
    }


def driver() -> str:
    """As nvidia-smi has it, of the card that the process sees first."""
    which = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    command = ["nvidia-smi", f"--id={which}", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown (nvidia-smi does not answer)"
    version, power, processor, memory = done.stdout.strip().split("\n")[0].split(", ")
    return f"{version}; power limit {power}, at most {processor} (multiprocessors), {memory} (memory)"
