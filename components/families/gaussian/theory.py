"""What the paper's theory says of a Gaussian chain (section on one-dimensional Gaussians; its theorem on the W2 risk)."""

from collections.abc import Sequence

import numpy as np
from scipy.special import digamma


def sample_sizes(rows: int, growth: float, generations: int) -> np.ndarray:
    """Rows that generations 0, 1, ... (generations,) are fitted on: round(rows (i + 1)^growth); exact for `replace`."""
    return np.round(rows * np.arange(1, generations + 1) ** growth)


def wasserstein2_squared(rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """E[W2^2] of generations 0, 1, ..., each fitted on `rows` (generations,) draws from the one before; sigma = 1.

    First order in 1/M, unbiased fits, one dimension: 3/2 (1/M_0 + ... + 1/M_n). Finite for all n only if the sum is:
    only if M_i grows faster than linearly.
    """
    return 1.5 * np.cumsum(1 / np.asarray(rows, float))


def variance_of_samples(rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """Var(X^n) of a draw from the model of generation n over all chains: 1 + 1/M_0 + ... + 1/M_n; exact for ddof = 1."""
    return 1 + np.cumsum(1 / np.asarray(rows, float))


def median_deviation(rows: Sequence[int] | np.ndarray, ddof: int) -> np.ndarray:
    """Median of sigma_hat of generations 0, 1, ...; sigma = 1, one dimension.

    log sigma_hat is a sum of independent terms 1/2 log(chi2(M-1) / (M - ddof)), so its median is its mean, digamma's,
    but for a skewness that goes with the square root of the generations.
    """
    rows = np.asarray(rows, float)
    return np.exp(np.cumsum((digamma((rows - 1) / 2) - np.log((rows - ddof) / 2)) / 2))
