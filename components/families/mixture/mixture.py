"""Mixtures of Gaussians with full covariances, a batch of them at once: density, samples, distance.

Arrays: weights (chains, K), means (chains, K, d), covariances (chains, K, d, d), rows (chains, n, d); float64.
"""

from dataclasses import dataclass

import numpy as np

from components.recursion.family import Arrays


@dataclass(frozen=True)
class Mixture:
    """A mixture a chain."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def arrays(self) -> Arrays:
        return {"weights": self.weights, "means": self.means, "covariances": self.covariances}

    @classmethod
    def of(cls, arrays: Arrays) -> "Mixture":
        return cls(arrays["weights"], arrays["means"], arrays["covariances"])

    def repeated(self, chains: int) -> "Mixture":
        """The first chain's mixture for each of `chains` chains."""
        return Mixture(*(np.repeat(array[:1], chains, axis=0) for array in self.arrays().values()))

    def of_chains(self, chains: slice) -> "Mixture":
        return Mixture(*(array[chains] for array in self.arrays().values()))


def draw(mixture: Mixture, rows: int, random: np.random.Generator) -> np.ndarray:
    """`rows` draws from every chain's mixture, component by component as scikit-learn leaves them."""
    chains, _, dimensions = mixture.means.shape
    counts = random.multinomial(rows, mixture.weights).ravel()
    noise = random.standard_normal((dimensions, chains * rows))
    factors = np.linalg.cholesky(mixture.covariances).reshape(-1, dimensions, dimensions)
    drawn = np.repeat(mixture.means.reshape(-1, dimensions), counts, axis=0)
    for i in range(dimensions):
        for j in range(i + 1):
            drawn[:, i] += np.repeat(factors[:, i, j], counts) * noise[j]
    return drawn.reshape(chains, rows, dimensions)


def squared_l2(one: Mixture, other: Mixture) -> np.ndarray:
    """The integral of (p - q)^2 for each chain, (chains,); in closed form.

    The product of two Gaussians integrates to N(mu_i - mu_j; 0, Sigma_i + Sigma_j).
    """
    weights = np.concatenate([one.weights, -other.weights], axis=1)
    means = np.concatenate([one.means, other.means], axis=1)
    covariances = np.concatenate([one.covariances, other.covariances], axis=1)
    apart = means[:, :, None] - means[:, None]
    together = covariances[:, :, None] + covariances[:, None]
    squared = (apart * np.linalg.solve(together, apart[..., None])[..., 0]).sum(axis=-1)
    scale = np.sqrt(np.linalg.det(2 * np.pi * together))
    return np.einsum("ci,cj,cij->c", weights, weights, np.exp(-squared / 2) / scale)


def moments(mixture: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """Mean (chains, d) and covariance (chains, d, d) of each whole mixture."""
    mean = np.einsum("ck,ckd->cd", mixture.weights, mixture.means)
    apart = mixture.means - mean[:, None]
    within = np.einsum("ck,ckde->cde", mixture.weights, mixture.covariances)
    return mean, within + np.einsum("ck,ckd,cke->cde", mixture.weights, apart, apart)
