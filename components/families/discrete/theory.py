"""What is known of resampling a discrete distribution: it is genetic drift (Wright 1931), M rows being a population."""

import numpy as np
from scipy.special import xlogy


def heterozygosity(probabilities: np.ndarray, rows: int, generations: int) -> np.ndarray:
    """E[1 - sum p_i^2] of the models of generations 0, 1, ...: a factor of 1 - 1/M a fit. Exact, for `replace`."""
    return (1 - (probabilities**2).sum()) * (1 - 1 / rows) ** np.arange(1, generations + 2)


def support(probabilities: np.ndarray, rows: int) -> float:
    """Expected number of different outcomes among `rows` draws: the support of generation 0. Exact."""
    return float((1 - (1 - probabilities) ** rows).sum())


def absorption_time(probabilities: np.ndarray, rows: int) -> float:
    """Mean number of fits until a single outcome is left, for `replace`: -2 M sum (1 - p_i) log(1 - p_i).

    The chain is absorbed once some outcome is fixed, which is outcome i with probability p_i and then takes
    -2 M (1 - p_i) log(1 - p_i) / p_i fits on average (Kimura and Ohta 1969, for 2N = M). The diffusion's, so right to
    first order in 1/M.
    """
    others = 1 - probabilities
    return float(-2 * rows * xlogy(others, others).sum())
