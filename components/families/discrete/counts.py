"""Samples of a discrete distribution by their counts: which outcome came how often says all that a fit reads.

Counts are int64 (chains, K), outcomes last.
"""

import numpy as np

from components.regimes import distinct


def draw(probabilities: np.ndarray, rows: int, random: np.random.Generator) -> np.ndarray:
    """Counts of `rows` draws from each chain's distribution (chains, K)."""
    return random.multinomial(rows, probabilities)


def pick(counts: np.ndarray, rows: int, random: np.random.Generator) -> np.ndarray:
    """Return counts (chains, K) of `rows` different rows of each chain's data, every such set as likely as any other.

    The rows themselves are drawn by number, and their outcomes looked up: what that costs goes by rows, not by outcomes.
    All chains have equally many rows.

    Raises:
        ValueError: a chain has fewer rows.
    """
    chains, outcomes = counts.shape
    population = int(counts[0].sum())
    if population < rows:
        raise ValueError(f"{rows} rows cannot be picked of {population}")
    if 2 * rows > population:  # what is left is the smaller set
        return counts - pick(counts, population - rows, random)
    before = (
        np.arange(chains)[:, None] * population
    )  # rows of the chains before, which make one long line of all of them
    chosen = distinct(population, rows, chains, random) + before
    ends = counts.cumsum(axis=1) + before
    found = np.searchsorted(ends.ravel(), chosen.ravel(), side="right")
    return np.bincount(found, minlength=counts.size).reshape(chains, outcomes)
