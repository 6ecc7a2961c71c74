"""What a sweep asks of a trial: how far its chains collapsed, and what that cost.

`collapse` is the log of the last generation's error over generation 0's, averaged over the trial's seeds. For language
models the error is the perplexity on the real test split, so it is nats a token lost, and exp(collapse) is how many times
the perplexity rose.
"""

import math
from collections.abc import Mapping, Sequence

from components.measures.risk import RISKS
from components.recursion.records import Generation

TIMED = ("language", "vae")
"""Families whose phases are timed; the others' chains take milliseconds, thousands of them at once."""
REAL_DATA = {"language": "tokens", "vae": "images", "gaussian": "rows", "discrete": "rows", "mixture": "rows"}
"""What `cost` counts."""

OBJECTIVES = {
    "collapse": "log of the last generation's error over generation 0's, mean over seeds",
    "cost": "real data in the training sets after generation 0 (tokens, images, rows), mean over seeds",
    "seconds": "seconds of all phases of all seeds",
}
"""All of them the less the better."""


def numbers(chains: Sequence[Sequence[Generation]], block: int) -> dict[str, float]:
    """What a trial is told by at its last generation so far: the objectives, and `error/<seed>`.

    Args:
        chains: the generations of every seed's chain, as many for each.
        block: pieces of real data a row: tokens of a block, 1 for other families.
    """
    risk, seeds = RISKS[chains[0][0].chain.family], len(chains)
    error = risk.metric
    return {
        "collapse": sum(risk.lost(one[0].metrics[error], one[-1].metrics[error]) for one in chains) / seeds,
        "cost": sum(block * real_rows(one[: end + 1]) for one in chains for end in range(1, len(one))) / seeds,
        "seconds": sum(seconds(generation) for one in chains for generation in one),
        **{f"error/{one[-1].chain.seed}": one[-1].metrics[error] for one in chains},
    }


def errors(numbers: Mapping[str, float]) -> dict[int, float]:
    """The errors in a report, by seed."""
    parts = (name.partition("error/") for name in numbers)
    return {int(seed): numbers[f"error/{seed}"] for before, found, seed in parts if found and not before}


def real_rows(past: Sequence[Generation]) -> float:
    """Rows of real data in what a generation after the first was trained on: counted, or, where a family does not count
    them, expected.

    Args:
        past: the chain's generations from 0 to that one.
    """
    generation = past[-1]
    rows, regime = generation.metrics["data/rows"], generation.chain.settings["regime"]
    if "data/gamma" in generation.metrics:
        return generation.metrics["data/gamma"] * rows
    if regime["name"] == "replace":
        return float(round(regime["real_fraction"] * rows))
    real = past[0].metrics["data/rows"]
    pool = real + sum(one.metrics["synthetic/rows"] for one in past[:-1])
    return rows * real / pool


def seconds(generation: Generation) -> float:
    """Work, not time on the wall; what was found in the store counts with the seconds it once took. nan where not timed."""
    timed = [value for name, value in generation.metrics.items() if name.startswith("seconds/")]
    return sum(timed) if timed else math.nan
