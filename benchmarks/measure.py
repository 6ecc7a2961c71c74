"""How speeds are measured here: sides of a comparison in turn, medians, and the machine's own ceilings in the same run."""

import ctypes
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from components.families.device import device
from components.families.language.network import Linear

TURNS = 5
SQUARE = {"cpu": 2048, "cuda": 8192}


def alternate(
    sides: Mapping[str, Callable[[], float]], before: Callable[[str], object] = lambda side: None
) -> dict[str, float]:
    """Median units a second of each side; a call does its work once and says how many units that was.

    Sides take turns, after the caller has had each do its work once; what `before` does with a side's name is not timed.
    """
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(TURNS):
        for name, side in sides.items():
            before(name)
            started = time.perf_counter()
            units = side()
            rates[name].append(units / (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in rates.items()}


def comparison(what: str, unit: str, rates: Mapping[str, float], gflop: float, ceiling: float) -> dict[str, Any]:
    """A row of the results: every side's rate, how many times its rate ours is, and its share of the machine's ceiling.

    Args:
        rates: units a second by side; one side is called "ours".
        gflop: of one unit, by formula.
        ceiling: GFLOP/s of this precision; nothing is said of a side that computes in another (int8).
    """
    return {
        "what": what,
        "unit": unit,
        "GFLOP a unit": gflop,
        "rates": dict(rates),
        "ours is so many times": {side: rates["ours"] / rate for side, rate in rates.items()},
        "share of the ceiling": {side: rate * gflop / ceiling for side, rate in rates.items() if "int8" not in side},
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Comparisons with a line a side, other results with a line a number."""
    lines = [f"{'':52} {'a second':>10} {'ours is':>9} {'of ceiling':>11}"]
    for row in rows:
        if "rates" not in row:
            lines += [row["what"], *(f"  {name}: {value:,.4g}" for name, value in row.items() if name != "what")]
            continue
        lines.append(f"{row['what']}: {row['unit']}, {row['GFLOP a unit']:.3g} GFLOP each")
        for side, rate in row["rates"].items():
            share = row["share of the ceiling"].get(side)
            said = "" if share is None else f"{share:.0%}"
            lines.append(f"  {side:50} {rate:10.3g} {row['ours is so many times'][side]:7.2f} x {said:>11}")
    return "\n".join(lines)


def ceilings() -> dict[str, float]:
    """What this machine does at most with the threads torch has: GFLOP/s of a large product, GB/s of a copy, read and written.

    On a CPU the best of torch's own product and of one with packed weights, the faster one on processors MKL does not know.
    """
    best: dict[str, float] = {}
    where = device()
    side = SQUARE[where.type]
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        left = torch.randn(side, side, device=where).to(dtype)
        layer = torch.nn.Linear(side, side, bias=False, device=where, dtype=dtype)
        packed = Linear(layer)
        with torch.inference_mode():
            ways = [lambda: functional.linear(left, layer.weight), lambda: packed(left)]  # noqa: B023
            best[f"{name} GFLOP/s"] = max(2 * side**3 / _quickest(way) / 1e9 for way in ways)
    values = torch.randn(2**26, device=where)
    other = torch.empty_like(values)
    best["copy GB/s"] = 2 * values.nbytes / _quickest(lambda: other.copy_(values)) / 1e9
    return best


def _quickest(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def forget_memory() -> None:
    """Undo `keep_memory`: glibc's defaults, which a peer's process would have."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3
        for parameter, value in ((mmap_threshold, 2**17), (trim_threshold, 2**17), (top_pad, 2**17)):
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)
