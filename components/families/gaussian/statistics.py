"""Sufficient statistics of Gaussian samples: drawn directly, merged, and fitted.

A fit reads nothing of a sample but its mean and its scatter, whose laws are known: of n draws from N(mu, L L') the mean
is N(mu, L L' / n) and, apart from it, the scatter is L A A' L' with Bartlett's lower-triangular A (squared diagonal
chi-square with n-1, n-2, ... degrees of freedom, standard normals below it). Two draws a chain and generation in place
of n, and the same law.

Chains stand last in every array, so that each operation runs over contiguous memory: mean (d, chains), factors
(d, d, chains), lower-triangular.
"""

from dataclasses import dataclass

import numpy as np

from components.recursion.family import Arrays


@dataclass(frozen=True)
class Statistics:
    """Of `rows` draws a chain: their `mean` (d, chains), and `factor` (d, d, chains) with scatter = factor factor'."""

    rows: int
    mean: np.ndarray
    factor: np.ndarray

    def arrays(self) -> Arrays:
        return {"rows": np.array(self.rows), "mean": self.mean, "factor": self.factor}

    @classmethod
    def of(cls, arrays: Arrays) -> "Statistics":
        return cls(int(arrays["rows"]), arrays["mean"], arrays["factor"])


def draw(mean: np.ndarray, factor: np.ndarray, rows: int, random: np.random.Generator) -> Statistics:
    """Statistics of `rows` draws from N(mean, factor factor') in every chain; `rows` is at least 2."""
    dimensions, chains = mean.shape
    bartlett = np.zeros_like(factor)
    for i in range(dimensions):
        freedom = rows - 1 - i
        if freedom > 0:  # fewer draws than dimensions: the scatter is singular
            bartlett[i, i] = np.sqrt(2 * random.standard_gamma(freedom / 2, size=chains))
        for j in range(i):
            bartlett[i, j] = random.standard_normal(chains)
    noise = random.standard_normal((dimensions, chains)) / np.sqrt(rows)
    return Statistics(rows, mean + _times_vector(factor, noise), _times(factor, bartlett))


def of_rows(values: np.ndarray) -> Statistics:
    """Statistics of draws that are there: values (d, chains, n)."""
    mean = values.mean(axis=-1)
    centred = values - mean[..., None]
    scatter = np.einsum("icn,jcn->ijc", centred, centred)
    return Statistics(values.shape[-1], mean, cholesky(scatter))


def merge(one: Statistics, other: Statistics) -> Statistics:
    """Statistics of both sets together (Chan, Golub and LeVeque 1979)."""
    rows = one.rows + other.rows
    apart = other.mean - one.mean
    mean = one.mean + apart * (other.rows / rows)
    between = apart[:, None] * apart[None] * (one.rows * other.rows / rows)
    return Statistics(rows, mean, cholesky(_squared(one.factor) + _squared(other.factor) + between))


def fit(statistics: Statistics, ddof: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and factor of the Gaussian fitted: covariance = scatter / (rows - ddof); 1 is unbiased, 0 maximum likelihood."""
    return statistics.mean, statistics.factor / np.sqrt(statistics.rows - ddof)


def cholesky(matrices: np.ndarray) -> np.ndarray:
    """Lower-triangular factors of positive semi-definite matrices (d, d, chains)."""
    factor = np.zeros_like(matrices)
    for j in range(len(matrices)):
        square = matrices[j, j] - (factor[j, :j] ** 2).sum(axis=0)
        factor[j, j] = np.sqrt(np.maximum(square, 0))
        below = matrices[j + 1 :, j] - (factor[j + 1 :, :j] * factor[j, :j]).sum(axis=1)
        np.divide(below, factor[j, j], out=factor[j + 1 :, j], where=factor[j, j] > 0)
    return factor


def _times(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Products of lower-triangular matrices (d, d, chains)."""
    product = np.zeros_like(left)
    for i in range(len(left)):
        for j in range(i + 1):
            for k in range(j, i + 1):
                product[i, j] += left[i, k] * right[k, j]
    return product


def _times_vector(factor: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return np.stack([(factor[i, : i + 1] * vector[: i + 1]).sum(axis=0) for i in range(len(factor))])


def _squared(factor: np.ndarray) -> np.ndarray:
    return np.einsum("ikc,jkc->ijc", factor, factor)
