"""How speeds are measured here: sides of a pair in turn, medians, and the machine's own ceilings in the same run."""

import ctypes
import statistics
import sys
import time
from collections.abc import Callable, Mapping

import torch
from torch.nn import functional

from components.families.language.network import Linear

TURNS = 5


def alternate(sides: Mapping[str, Callable[[], float]], turns: int = TURNS) -> dict[str, float]:
    """Median units a second of each side; a call does its work once and says how many units that was. Sides take turns, after
    the caller has had each do its work once."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            started = time.perf_counter()
            units = side()
            rates[name].append(units / (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in rates.items()}


def ceilings() -> dict[str, float]:
    """What this machine does at most with the threads torch has: GFLOP/s of a large product, GB/s of a copy, read and written.

    The best of torch's own product and of one with packed weights, which is the faster one on processors MKL does not know.
    """
    best: dict[str, float] = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        left, layer = torch.randn(2048, 2048).to(dtype), torch.nn.Linear(2048, 2048, bias=False).to(dtype)
        packed = Linear(layer)
        with torch.inference_mode():
            sides = [lambda: functional.linear(left, layer.weight), lambda: packed(left)]  # noqa: B023
            best[f"{name} GFLOP/s"] = max(2 * 2048**3 / _quickest(side) / 1e9 for side in sides)
    values = torch.randn(2**26)
    other = torch.empty_like(values)
    best["copy GB/s"] = 2 * values.nbytes / _quickest(lambda: other.copy_(values)) / 1e9
    return best


def _quickest(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def forget_memory() -> None:
    """Undo `keep_memory`: glibc's defaults, which a peer's process would have."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3
        for parameter, value in ((mmap_threshold, 2**17), (trim_threshold, 2**17), (top_pad, 2**17)):
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)
