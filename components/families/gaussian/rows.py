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
