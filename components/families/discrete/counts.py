"""Samples of a discrete distribution by their counts: which outcome came how often says all that a fit reads.

Counts are int64 (chains, K), outcomes last.
"""

import numpy as np


def draw(probabilities: np.ndarray, rows: int, random: np.random.Generator) -> np.ndarray:
    """Counts of `rows` draws from each chain's distribution (chains, K)."""
    return random.multinomial(rows, probabilities)


def pick(counts: np.ndarray, rows: int, random: np.random.Generator) -> np.ndarray:
    """Counts of `rows` different rows of each chain's data, every such set as likely as any other.

    Multivariate hypergeometric, outcome by outcome: numpy's own takes one chain at a time.

    Raises:
        ValueError: a chain has fewer rows.
    """
    picked = np.zeros_like(counts)
    others, wanted = counts.sum(axis=1), np.full(len(counts), rows)
    if (others < rows).any():
        raise ValueError(f"{rows} rows cannot be picked of {others.min()}")
    for outcome in range(counts.shape[1]):
        others -= counts[:, outcome]
        picked[:, outcome] = random.hypergeometric(counts[:, outcome], others, wanted)
        wanted -= picked[:, outcome]
    return picked
