"""What a sweep asks of a trial: how far its chains collapsed, and what that cost.

`collapse` is the log of the last generation's error over generation 0's, averaged over the trial's seeds. For language
models the error is the perplexity on the real test split, so it is nats a token lost, and exp(collapse) is how many times
the perplexity rose. It is what a sweep reports. What it proposes, prunes and chooses by is `validation_collapse`, the same
on the validation split.
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
STEERING = {"collapse": "validation_collapse"}
"""By objective, the number that Optuna gets and that trials are compared by, where it is not the reported one."""
ERROR, VALIDATION = "error/", "validation/"
"""Of a report's numbers by seed: the error that is reported, and the one that is chosen by."""


def numbers(chains: Sequence[Sequence[Generation]], block: int) -> dict[str, float]:
    """What a trial reports at its last generation so far.

    The objectives, `validation_collapse`, and by seed `error/<seed>` and `validation/<seed>`.

    Args:
        chains: the generations of every seed's chain, as many for each.
        block: pieces of real data a row: tokens of a block, 1 for other families.
    """
    risk, seeds = RISKS[chains[0][0].chain.family], len(chains)
    lost = {
        name: sum(risk.lost(one[0].metrics[metric], one[-1].metrics[metric]) for one in chains) / seeds
        for name, metric in (("collapse", risk.metric), (STEERING["collapse"], risk.steering))
    }
    return {
        **lost,
        "cost": sum(block * real_rows(one[: end + 1]) for one in chains for end in range(1, len(one))) / seeds,
        "seconds": sum(seconds(generation) for one in chains for generation in one),
        **{f"{ERROR}{one[-1].chain.seed}": one[-1].metrics[risk.metric] for one in chains},
        **{f"{VALIDATION}{one[-1].chain.seed}": one[-1].metrics[risk.steering] for one in chains},
    }


def diverged(seeds: Sequence[int], last: int, why: str) -> dict[str, float | str]:
    """What a trial reports at its last generation whose chains did not get there: no error is larger.

    Args:
        why: what the chain that diverged said, kept as `diverged`.
    """
    without_bound = dict.fromkeys((*STEERING, *STEERING.values()), math.inf)
    without_bound |= {f"{kind}{seed}": math.inf for kind in (ERROR, VALIDATION) for seed in seeds}
    return {"generation": last, **without_bound, "cost": math.nan, "seconds": math.nan, "diverged": why}


def errors(numbers: Mapping[str, float], kind: str = ERROR) -> dict[int, float]:
    """A report's errors by seed: those reported, or with VALIDATION those chosen by."""
    parts = (name.partition(kind) for name in numbers)
    return {int(seed): numbers[f"{kind}{seed}"] for before, found, seed in parts if found and not before}


def mean_error(numbers: Mapping[str, float], kind: str = ERROR) -> float:
    """A report's error, mean over seeds; nan where there is no report."""
    found = errors(numbers, kind)
    return sum(found.values()) / len(found) if found else math.nan


def steering(numbers: Mapping[str, float], objectives: Sequence[str]) -> list[float]:
    """What a report says of the objectives to Optuna and to pruning; infinite where there is no number."""
    found = [numbers[STEERING.get(name, name)] for name in objectives]
    return [math.inf if math.isnan(value) else value for value in found]


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
