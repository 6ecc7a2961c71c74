"""The sampling error of a measure: how far it would lie from its value over endless samples, as a standard error."""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Share = TypeVar("Share", float, pd.Series)
BATCHES = 30
"""Batches of neighbours that a set is cut into: enough to know their deviation to an eighth, few enough to be long."""


@dataclass(frozen=True)
class Measured:
    """A measure of a set of blocks, and its standard error over batches of neighbours; nan where it cannot be known."""

    value: float
    error: float


NONE = Measured(float("nan"), float("nan"))


def mean_error(values: NDArray[np.floating]) -> float:
    """Standard error of the mean of independent values (n,); 0 with fewer than two."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def serial_error(values: NDArray[np.floating]) -> float:
    """Standard error of the mean of values (n,) whose neighbours are alike, such as a text's blocks in order.

    By batch means: neighbours lie in one batch, and batches are nearly independent. As independent,
    the 3,768 blocks of 64 words in WikiText-2's test split would have a third of the error: they
    come from some 60 articles.
    """
    batches = np.array_split(values, min(BATCHES, len(values)))
    return mean_error(np.array([batch.mean() for batch in batches]))


def share_in_blocks(counted: NDArray[np.bool_]) -> Measured:
    """Share of true entries among all, and its standard error; `counted` is (blocks, entries).

    Entries of one block belong together, and so do neighbouring blocks: the error is `serial_error`
    and not a binomial's. It is 0 where no block differs from another, such as where no entry is
    true: how certain that is, the blocks do not say.
    """
    if not counted.size:
        return NONE
    blocks = counted.mean(axis=1)
    return Measured(float(blocks.mean()), serial_error(blocks) if len(blocks) > 1 else float("nan"))


def jackknife_error(left_out: NDArray[np.floating]) -> float:
    """Standard error of a measure out of its values without each block in turn, (blocks,); nan with fewer than two.

    Each value, times the blocks that are left, is what its block adds to the measure (Tukey's pseudo-values, but
    for a constant and the sign); neighbours are alike here too. Source: Efron and Stein 1981 (Annals of Statistics
    9:586): too large rather than too small on average.
    """
    return serial_error((len(left_out) - 1) * left_out) if len(left_out) > 1 else float("nan")


def share_error(share: Share, units: float | Share) -> Share:
    """Standard error of a share out of so many independent units.

    A binomial's, at the share with half a unit more of either kind: a count of none, or of all, has
    an error too.
    """
    likely = (units * share + 0.5) / (units + 1)
    return (likely * (1 - likely) / units) ** 0.5


def quantile_error(values: NDArray[np.floating], quantile: float) -> float:
    """Standard error of the share that truly lies beyond a quantile of values (n,) whose neighbours are alike.

    A binomial's, or that over batches where values beyond it come together.
    """
    independent = math.sqrt(quantile * (1 - quantile) / len(values))
    return max(independent, serial_error((values > np.quantile(values, quantile)).astype(float)))


def median_error(values: NDArray[np.floating]) -> float:
    """Standard error of the median of independent values (n,).

    Half the distance of the order statistics that lie half the root of n to either side: between these
    lies the true median in about two cases of three, whatever the distribution.
    """
    ordered, middle, arm = np.sort(values), len(values) / 2, np.sqrt(len(values)) / 2
    low = max(int(np.floor(middle - arm)), 0)
    high = min(int(np.ceil(middle + arm)), len(values) - 1)
    return float(ordered[high] - ordered[low]) / 2
