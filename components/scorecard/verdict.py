"""From one difference per seed to verdicts that hold together.

A claim says that a difference is above 0, and names the smallest difference worth speaking of. Each
seed gives one difference, of two chains or two generations that share its randomness. Two one-sided
tests are made of every claim, Student's of the mean over seeds: is it above 0? Is it below the
smallest difference worth speaking of?

A claim of equality (with theory) says that a difference is 0, and names the margin within which
that is as good as true. It holds where two one-sided tests both say that the mean lies within the
margin (Schuirmann 1987), which a 95 % interval within the margin shows: that no difference was
found is no proof of none.

Half of the interval, squared, is (t s)^2 / n + (u shared)^2. t is Student's quantile of n - 1
degrees of freedom, u that of the degrees that the shared error is known with: 29, or fewer where a
test split has fewer than 30 blocks. `s` is the seeds'
standard deviation, or `noise` where that is larger: the error that a seed's own difference has
because it was counted on finitely many samples. Seeds cannot vary less than that, though a few may
agree by chance. `shared` is the error that all seeds have in common, such as that of one test
split; it does not shrink with more seeds. Where seeds agree exactly and no error is known, there is
no test: the verdict is open. So it is where the shared error cannot be known, as with one block.

A difference can be infinite: a perplexity overflows, a deviation falls to exactly 0. It counts as
the largest finite difference of its claim, and rules out the verdict that it speaks against. Where
every seed's difference is infinite on one side, the claim is decided.

The two parts have a quantile each, since the first is estimated from few seeds and the second from
many blocks, as in the method of variance estimates recovery (Zou and Donner 2008). One Student's
test of their sum with n - 1 degrees would find next to nothing; with the degrees of Welch and
Satterthwaite it is wrong up to twelve times as often as it says with two seeds.

The p values of all claims that hold, and of all that do not, are corrected for the number of claims
(Holm 1979), so that all verdicts of a table are right together at the level stated. With a single
claim the verdict is what its 95 % interval shows; only that equality does not hold needs one of
97.5 %, since two sides can say so.

Student's and not a bootstrap: over three to five seeds the percentile bootstrap holds the truth far
less often than it says (`tests/test_verdict.py` counts), and an exact sign test cannot come under 1
in 8 to 1 in 32.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaincinv, ndtr, stdtr, stdtrit

from components.measures.errors import BATCHES

LEVEL = 0.025
"""Of each one-sided test: together the two sides of a 95 % interval."""
POWER = 0.8
MOST_SEEDS = 1000
SHARED_DEGREES = BATCHES - 1
"""Degrees of freedom of the shared error: of the batches that the test split is cut into."""
LEAST = 1e-12
"""The smallest p that is distinguished."""
DEVIATIONS = (np.arange(200) + 0.5) / 200
"""Quantiles at which the deviation that other seeds would show is looked at."""
ROUNDING = 1e-12
"""Seeds that differ by less than this share of a difference agree exactly: the rest is floating point."""


class Verdict(StrEnum):
    HOLDS = "holds here"
    NOT = "does not"
    UNKNOWN = "cannot tell"


class Open(StrEnum):
    """Why a verdict is open: what would have to change for a firm one."""

    ONE_SEED = "one seed"
    FEW_SEEDS = "few seeds"
    TEST_SPLIT = "test split"
    THRESHOLD = "threshold"
    TIE = "tie"
    INFINITE = "infinite"


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval, and the p of the two questions; nan with fewer than two seeds.

    `deviation`: of a seed's difference, no less than its own noise. `shared`: the error that all
    seeds have in common, known with `degrees` of freedom. `holds`: p of "the claim does not hold"; `fails`: p of "it does", by as
    much as is worth speaking of. `distances`: how far the mean lies from what the verdict that is
    sooner reached has to rule out; `sides`: how many ways there are to that one.
    """

    mean: float
    deviation: float
    low: float
    high: float
    holds: float
    fails: float
    seeds: int
    shared: float = 0.0
    distances: tuple[float, ...] = ()
    sides: int = 1
    degrees: int = SHARED_DEGREES


def above_zero(
    differences: Sequence[float],
    smallest: float,
    noise: Sequence[float] = (),
    shared: float = 0.0,
    degrees: int = SHARED_DEGREES,
) -> Estimate:
    """Student's interval and tests of paired differences, one per seed, that are claimed to be above 0.

    Args:
        differences: one per seed; infinite where a number has no bound.
        smallest: the smallest difference worth speaking of.
        noise: the standard error that each difference has from its own finite counts; none where not known.
        shared: the standard error that all differences have in common; nan or infinite where it cannot be known.
        degrees: the degrees of freedom that `shared` is known with.
    """
    if not np.isfinite(differences).all():
        return _infinite(above_zero, differences, smallest, noise, shared, degrees)
    student = _Student.of(differences, smallest, noise, shared, degrees)
    holds, fails = student.p_above(0.0), student.p_below(smallest)
    return student.estimate(holds, fails, (max(student.mean, smallest - student.mean),))


def equals_zero(
    differences: Sequence[float],
    margin: float,
    noise: Sequence[float] = (),
    shared: float = 0.0,
    degrees: int = SHARED_DEGREES,
) -> Estimate:
    """The same of differences that are claimed to be 0, to within `margin`."""
    if not np.isfinite(differences).all():
        return _infinite(equals_zero, differences, margin, noise, shared, degrees)
    student = _Student.of(differences, margin, noise, shared, degrees)
    holds = max(student.p_above(-margin), student.p_below(margin))
    fails = min(2 * min(student.p_above(margin), student.p_below(-margin)), 1.0)
    if abs(student.mean) < margin:
        return student.estimate(holds, fails, (margin - student.mean, margin + student.mean))
    return student.estimate(holds, fails, (abs(student.mean) - margin,), sides=2)


def _infinite(
    test: Callable[..., Estimate],
    differences: Sequence[float],
    smallest: float,
    noise: Sequence[float],
    shared: float,
    degrees: int,
) -> Estimate:
    """Test differences that include infinite ones; `test` is `above_zero` or `equals_zero`."""
    values = np.asarray(differences, float)
    up, down = bool((values == np.inf).any()), bool((values == -np.inf).any())
    mean = math.nan if up and down else math.inf if up else -math.inf
    finite = values[np.isfinite(values)]
    if len(finite):
        found = test(np.clip(values, finite.min(), finite.max()), smallest, noise, shared, degrees)
    else:
        found = Estimate(mean, math.inf, math.nan, math.nan, math.nan, math.nan, len(values), shared, degrees=degrees)
    holds, fails = found.holds, found.fails
    undecided = 1.0 if len(values) > 1 else math.nan
    if len(values) > 1 and not len(finite) and up != down:
        holds = fails = LEAST
    if down or test is equals_zero:
        holds = undecided
    if up and (down or test is above_zero):
        fails = undecided
    return replace(
        found,
        mean=mean,
        low=-math.inf if down else found.low,
        high=math.inf if up else found.high,
        holds=holds,
        fails=fails,
    )


@dataclass(frozen=True)
class _Student:
    """A mean over seeds, the deviation of a seed's number about it (nan with one seed), and the error common to all."""

    mean: float
    deviation: float
    seeds: int
    shared: float
    degrees: int

    @classmethod
    def of(
        cls, differences: Sequence[float], unit: float, noise: Sequence[float], shared: float, degrees: int
    ) -> "_Student":
        """`unit`: a difference worth speaking of; what is beside it no more than rounding is none."""
        values = np.asarray(differences, float)
        if len(values) < 2:
            return cls(float(values.mean()), math.nan, len(values), shared, degrees)
        scatter = float(values.std(ddof=1))
        if scatter <= ROUNDING * max(float(np.abs(values).max()), unit):
            scatter = 0.0
        counting = math.sqrt(float(np.mean(np.square(noise)))) if len(noise) else 0.0
        return cls(float(values.mean()), max(scatter, counting), len(values), shared, degrees)

    def p_above(self, bound: float) -> float:
        """p of "the mean is not above `bound`"."""
        return self._p(self.mean - bound)

    def p_below(self, bound: float) -> float:
        """p of "the mean is not below `bound`"."""
        return self._p(bound - self.mean)

    def _p(self, distance: float) -> float:
        """The level at which a one-sided interval just reaches so far.

        Of a tie 1, the most cautious p: it is a test that decides nothing, and the others are
        corrected for it.
        """
        if self.seeds < 2:
            return math.nan
        if not math.isfinite(self.shared) or math.isinf(self.deviation) or not (self.deviation or self.shared):
            return 1.0
        if not self.shared:
            return float(stdtr(self.seeds - 1, -distance / self.deviation * math.sqrt(self.seeds)))
        if abs(distance) <= self.arm(0.5):
            return 0.5
        if abs(distance) >= self.arm(LEAST):
            p = LEAST
        else:
            p = math.exp(brentq(lambda log: self.arm(math.exp(log)) - abs(distance), math.log(LEAST), math.log(0.5)))
        return p if distance > 0 else 1 - p

    def arm(self, level: float) -> float:
        """How far a one-sided interval at this level reaches from the mean."""
        return _arm(self.deviation, self.shared, self.degrees, self.seeds, level)

    def estimate(self, holds: float, fails: float, distances: tuple[float, ...], sides: int = 1) -> Estimate:
        arm = self.arm(LEVEL) if self.seeds > 1 else 0.0
        interval = (self.mean - arm, self.mean + arm) if arm else (math.nan, math.nan)
        return Estimate(
            self.mean, self.deviation, *interval, holds, fails, self.seeds, self.shared, distances, sides, self.degrees
        )


def _arm(deviation: float | np.ndarray, shared: float, degrees: int, seeds: int, level: float) -> Any:
    of_seeds, of_split = (-stdtrit(freedom, level) for freedom in (seeds - 1, degrees))
    return np.sqrt((of_seeds * deviation) ** 2 / seeds + (of_split * shared) ** 2)


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


def seeds_needed(found: Estimate, claims: int) -> tuple[int | None, Open]:
    """How many seeds would decide, in four studies of five, if mean and errors stay as they are; else why none would.

    At the level of the strictest of `claims` tests. None with one seed, where a difference is
    infinite, where seeds agree exactly and no error is known, and where even a thousand would not
    do: because of the error that all seeds share, or because the mean is too close to what would
    have to be ruled out.
    """
    if found.seeds < 2:
        return None, Open.ONE_SEED
    if not math.isfinite(found.mean):
        return None, Open.INFINITE
    if not math.isfinite(found.shared):
        return None, Open.TEST_SPLIT
    if found.deviation == 0 and found.shared == 0:
        return None, Open.TIE
    counts = range(2, MOST_SEEDS + 1)
    if (needed := bisect_left(counts, POWER, key=lambda seeds: _power(found, claims, seeds, found.shared))) < len(
        counts
    ):
        return counts[needed], Open.FEW_SEEDS
    without = _power(found, claims, MOST_SEEDS, shared=0.0)
    return None, Open.TEST_SPLIT if found.shared and without >= POWER else Open.THRESHOLD


def _power(found: Estimate, claims: int, seeds: int, shared: float) -> float:
    """The chance to decide with so many seeds, where the error that all of them have in common is `shared`.

    The mean is normal about what it was here; the deviation that the seeds then show goes by
    chi-squared.
    """
    if min(found.distances) <= 0:
        return 0.0
    half = (seeds - 1) / 2
    deviations = found.deviation * np.sqrt(gammaincinv(half, DEVIATIONS) / half)
    reach = _arm(deviations, shared, found.degrees, seeds, LEVEL / claims / found.sides)
    error = math.sqrt(found.deviation**2 / seeds + shared**2)
    if not error:  # seeds agree, and only the shared error, which is left out here, keeps the verdict open
        return 1.0
    return 1 - sum(float(ndtr((reach - far) / error).mean()) for far in found.distances)
