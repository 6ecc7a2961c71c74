"""Two one-thread processes against one, as a study on two cores runs them, and the memory that generation takes."""

import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import TURNS, table
from benchmarks.models import BEAMS, NEW, create, prompts
from components.families.language.beam_search import generate_blocks
from components.families.language.decoder import PROMPTS_AT_ONCE

PROMPTS = {"OPT-125m": 16, "laptop": 256}


def run(ceilings: dict[str, float]) -> list[dict[str, Any]]:
    rows = []
    for name, count in PROMPTS.items():
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            list(pool.map(_write, [name] * 2, [8] * 2))  # both start, and compile nothing later
            rates: dict[int, list[float]] = {1: [], 2: []}
            for _ in range(TURNS):
                for workers in rates:
                    started = time.perf_counter()
                    list(pool.map(_write, [name] * workers, [count] * workers))
                    rates[workers].append(workers * count / (time.perf_counter() - started))
            peak = pool.submit(_write, name, PROMPTS_AT_ONCE["cpu"]).result()
        one, two = (statistics.median(values) for values in rates.values())
        rows.append(
            {
                "what": f"generation by one-thread processes, {name}, fp32",
                "one, prompts a second": one,
                "two, prompts a second": two,
                "times": two / one,
                f"peak resident MiB of one with {PROMPTS_AT_ONCE['cpu']} prompts": peak,
            }
        )
        print(table(rows[-1:]), flush=True)
    return rows


def _write(name: str, count: int) -> float:
    """Writes, and says how much memory the process had at most, in MiB."""
    torch.set_num_threads(1)
    model = create(name)
    generate_blocks(model, prompts(name, count), new_tokens=NEW, num_beams=BEAMS)
    return _peak()


def _peak() -> float:
    """Of this process since it began. (The peak that `getrusage` knows is also its parent's, whose memory it was forked with.)"""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024
