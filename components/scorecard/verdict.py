"""From paired differences over seeds to verdicts that hold together.

A claim says that a difference is above nought, and names the smallest that would be worth speaking of. Each seed gives
one difference, of two chains or two generations that share its randomness. Two one-sided tests are asked of every
claim, Student's of the mean over seeds: is it above nought? Is it below the smallest worth speaking of? Either's
answers are corrected for the number of claims (Holm 1979), so that all verdicts of a study are right together at the
level stated, and with a single claim the verdict is what its 95 % interval shows.

Student's and not a bootstrap: over three to five seeds the percentile bootstrap holds the truth far less often than it says
(`tests/test_verdict.py` counts), and an exact sign test cannot come under 1 in 8 to 1 in 32.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.special import stdtr, stdtrit
from scipy.stats import nct

LEVEL = 0.025
"""Of each one-sided test: together the two sides of a 95 % interval."""
POWER = 0.8
MOST_SEEDS = 1000


class Verdict(StrEnum):
    HOLDS = "holds here"
    NOT = "does not"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval, and the p of the two questions; nan with fewer than two seeds.

    `above`: p of "the mean is not above nought"; `below`: p of "the mean is not below the smallest worth speaking of".
    """

    mean: float
    deviation: float
    low: float
    high: float
    above: float
    below: float
    seeds: int


def estimate(differences: Sequence[float], smallest: float) -> Estimate:
    """Student's interval and tests of paired differences, one a seed."""
    values = np.asarray(differences, float)
    mean, seeds = float(values.mean()), len(values)
    if seeds < 2:
        return Estimate(mean, math.nan, math.nan, math.nan, math.nan, math.nan, seeds)
    deviation = float(values.std(ddof=1))
    if deviation == 0:  # Student's test has no answer; a difference that no seed changes has one
        return Estimate(mean, 0.0, mean, mean, float(mean <= 0), float(mean >= smallest), seeds)
    error, freedom = deviation / math.sqrt(seeds), seeds - 1
    arm = float(stdtrit(freedom, 1 - LEVEL)) * error
    above, below = (float(stdtr(freedom, at)) for at in (-mean / error, (mean - smallest) / error))
    return Estimate(mean, deviation, mean - arm, mean + arm, above, below, seeds)


def verdicts(estimates: Sequence[Estimate]) -> list[Verdict]:
    """Of claims that are judged together. Those of one seed are no test, and correct for nothing."""
    above, below = (holm([getattr(one, side) for one in estimates]) for side in ("above", "below"))
    return [
        Verdict.HOLDS if yes < LEVEL else Verdict.NOT if no < LEVEL else Verdict.UNKNOWN
        for yes, no in zip(above, below, strict=True)
    ]


def holm(p: Sequence[float]) -> np.ndarray:
    """Adjusted p values (Holm 1979): rejecting those below a level keeps the chance of any false rejection below it.

    nan (no test) stays nan and does not count.
    """
    values = np.asarray(p, float)
    adjusted = np.full(len(values), np.nan)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def seeds_needed(found: Estimate, claims: int) -> int | None:
    """How many seeds would decide: `holds here` four times in five if the difference is what it was here, or a `does not`.

    Reckoned with the deviation found here, at the level of the strictest of `claims` tests; nothing with one seed, and where
    a thousand would not do.
    """
    if math.isnan(found.deviation) or found.deviation == 0 or found.mean == 0:
        return None
    effect = abs(found.mean) / found.deviation
    counts = np.arange(2, MOST_SEEDS + 1)
    critical = stdtrit(counts - 1, 1 - LEVEL / claims)
    enough = counts[nct.sf(critical, counts - 1, effect * np.sqrt(counts)) >= POWER]
    return int(enough[0]) if len(enough) else None
