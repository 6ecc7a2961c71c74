"""The very rows of a chain's samples, computed where they are read instead of kept.

A regime that draws rows out of everything so far reads the same row again generations later. Row p of the pool (the real
data first, then every generation's samples) is mean + factor z, where z is a hash of (chain, p) made normal: nothing of
it is stored, so memory and cost of a generation do not grow with the number of generations.
"""

import numpy as np
from scipy.special import ndtri

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def standard_normal(key: np.uint64, counters: np.ndarray) -> np.ndarray:
    """A standard normal for each counter (uint64), always the same one: SplitMix64 (Steele et al. 2014), then the quantile."""
    with np.errstate(over="ignore"):
        bits = (counters + np.uint64(1)) * GOLDEN + key
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
    return ndtri(((bits >> np.uint64(11)) + 0.5) * 2.0**-53)


def distinct(population: int, rows: int, chains: int, random: np.random.Generator) -> np.ndarray:
    """`rows` different numbers below `population` for each chain, every such set as likely as any other; (chains, rows).

    Draws with replacement and draws again what came twice: no number is treated unlike another, so no set is either.
    """
    if 2 * rows > population:  # what is left out is the smaller set
        left_out = distinct(population, population - rows, chains, random)
        kept = np.ones((chains, population), bool)
        np.put_along_axis(kept, left_out, False, axis=1)
        return np.nonzero(kept)[1].reshape(chains, rows)
    drawn = np.sort(random.integers(population, size=(chains, rows)), axis=1)
    again = np.arange(chains)
    while again.size:
        twice = np.zeros((again.size, rows), bool)
        twice[:, 1:] = drawn[again, 1:] == drawn[again, :-1]
        unfinished = twice.any(axis=1)
        again, twice = again[unfinished], twice[unfinished]
        part = drawn[again]
        part[twice] = random.integers(population, size=int(twice.sum()))
        part.sort(axis=1)
        drawn[again] = part
    return drawn
