"""From paired differences over seeds to verdicts that hold together.

A claim says that a difference is above nought, and names the smallest that would be worth speaking of. Each seed gives
one difference, of two chains or two generations that share its randomness. Two one-sided tests are asked of every
claim, Student's of the mean over seeds: is it above nought? Is it below the smallest worth speaking of?

A claim of equality (with theory) says that a difference is nought, and names the margin within which that is as good as
true. It holds where two one-sided tests both say that the mean lies within the margin (Schuirmann 1987), which a 95 %
interval within the margin shows: that no difference was found is no proof of none.

The p of all claims that hold, and of all that do not, are corrected for the number of claims (Holm 1979), so that all
verdicts of a study are right together at the level stated. With a single claim the verdict is what its 95 % interval
shows; only that equality does not hold wants one of 97.5 %, since two sides can say so.

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

    `holds`: p of "the claim does not hold"; `fails`: p of "it does", by as much as is worth speaking of. `distances`: how far
    the mean lies from what the verdict that is sooner reached has to rule out; `sides`: how many ways there are to that one.
    """

    mean: float
    deviation: float
    low: float
    high: float
    holds: float
    fails: float
    seeds: int
    distances: tuple[float, ...] = ()
    sides: int = 1


def above_nought(differences: Sequence[float], smallest: float) -> Estimate:
    """Student's interval and tests of paired differences, one a seed, that are claimed to be above nought."""
    student = _Student.of(differences)
    holds, fails = student.p_above(0.0), student.p_below(smallest)
    return student.estimate(holds, fails, (max(student.mean, smallest - student.mean),))


def nought(differences: Sequence[float], margin: float) -> Estimate:
    """The same of differences that are claimed to be nought, to within `margin`."""
    student = _Student.of(differences)
    holds = max(student.p_above(-margin), student.p_below(margin))
    fails = min(2 * min(student.p_above(margin), student.p_below(-margin)), 1.0)
    if abs(student.mean) < margin:
        return student.estimate(holds, fails, (margin - student.mean, margin + student.mean))
    return student.estimate(holds, fails, (abs(student.mean) - margin,), sides=2)


@dataclass(frozen=True)
class _Student:
    """What seeds say of a mean; where none differs from another, Student's test has no answer, but the number has."""

    mean: float
    deviation: float
    seeds: int

    @classmethod
    def of(cls, differences: Sequence[float]) -> "_Student":
        values = np.asarray(differences, float)
        deviation = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        return cls(float(values.mean()), deviation, len(values))

    def p_above(self, bound: float) -> float:
        """p of "the mean is not above `bound`"."""
        if self.deviation == 0:
            return float(self.mean <= bound)
        return float(stdtr(self.seeds - 1, (bound - self.mean) / self._error)) if self.seeds > 1 else math.nan

    def p_below(self, bound: float) -> float:
        """p of "the mean is not below `bound`"."""
        if self.deviation == 0:
            return float(self.mean >= bound)
        return float(stdtr(self.seeds - 1, (self.mean - bound) / self._error)) if self.seeds > 1 else math.nan

    def estimate(self, holds: float, fails: float, distances: tuple[float, ...], sides: int = 1) -> Estimate:
        arm = float(stdtrit(self.seeds - 1, 1 - LEVEL)) * self._error if self.seeds > 1 else math.nan
        interval = self.mean - arm, self.mean + arm
        return Estimate(self.mean, self.deviation, *interval, holds, fails, self.seeds, distances, sides)

    @property
    def _error(self) -> float:
        return self.deviation / math.sqrt(self.seeds)


def verdicts(estimates: Sequence[Estimate]) -> list[Verdict]:
    """Of claims that are judged together. Those of one seed are no test, and correct for nothing."""
    holds, fails = (holm([getattr(one, side) for one in estimates]) for side in ("holds", "fails"))
    return [
        Verdict.HOLDS if yes < LEVEL else Verdict.NOT if no < LEVEL else Verdict.UNKNOWN
        for yes, no in zip(holds, fails, strict=True)
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
    """How many seeds would decide, four times in five, if the mean and the deviation are what they were here.

    At the level of the strictest of `claims` tests; nothing with one seed, where a thousand would not do, and where the mean
    is just what would have to be ruled out.
    """
    if math.isnan(found.deviation) or found.deviation == 0 or min(found.distances) <= 0:
        return None
    counts = np.arange(2, MOST_SEEDS + 1)
    critical = stdtrit(counts - 1, 1 - LEVEL / claims / found.sides)
    missed = [nct.cdf(critical, counts - 1, far / found.deviation * np.sqrt(counts)) for far in found.distances]
    enough = counts[np.sum(missed, axis=0) <= 1 - POWER]
    return int(enough[0]) if len(enough) else None
