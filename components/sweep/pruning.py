"""Which trials are hopeless: asynchronous successive halving (ASHA), for one objective or several.

At every rung (generation `grace`, then `factor` times the last) a trial goes on if it is among the best 1/`factor` of those
that have been there (Li et al. 2018, arXiv 1810.05934). With several objectives the best are those that the fewest fronts
dominate (MO-ASHA: Schmucker et al. 2021, arXiv 2106.12639): a trial that buys less collapse with more real data is not
hopeless. Values are those on the validation split (`objectives.STEERING`). Nothing is remembered here: rungs come from the trials' books, so a sweep that was stopped goes on with all of them.
"""

from collections.abc import Sequence

import numpy as np

LARGEST = 1e300


def rungs(generations: int, grace: int, factor: float) -> list[int]:
    """Generations at which trials are compared; the last one, at which they end anyway, is none."""
    found, rung = [], float(grace)
    while rung < generations:
        found.append(round(rung))
        rung *= factor
    return sorted(set(found))


def hopeless(values: Sequence[float], others: Sequence[Sequence[float]], factor: float) -> bool:
    """Whether a trial with these objectives at a rung (all: the less the better) is to be stopped.

    Args:
        values: its objectives, (k,).
        others: those of the trials that came to this rung before it, (n, k).
    """
    if not others:
        return False
    # Infinite values, of trials that diverged, would make the percentile nan.
    everyone = np.clip(np.array([*others, values], float), -LARGEST, LARGEST)
    rewards = -(everyone[:, 0] if everyone.shape[1] == 1 else fronts(everyone).astype(float))
    return bool(rewards[-1] < np.nanpercentile(rewards[:-1], (1 - 1 / factor) * 100))  # rounded as Ray's ASHA rounds it


def fronts(values: np.ndarray) -> np.ndarray:
    """The front that each of the points (n, k) belongs to: 0 is dominated by none, 1 by those of front 0 only, ..."""
    no_worse = (values[:, None] <= values[None]).all(axis=2)
    better = no_worse & (values[:, None] < values[None]).any(axis=2)
    front, rank = np.full(len(values), -1), 0
    while (left := front < 0).any():
        front[left & ~(better & left[:, None]).any(axis=0)] = rank
        rank += 1
    return front
