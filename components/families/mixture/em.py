"""Expectation maximisation of many mixtures at once, with scikit-learn's `GaussianMixture` semantics.

With the features f(x) = (1, x, products of x's coordinates) a component's log density is linear in f, so the
expectation step is one batched matrix product over them, and the maximisation step, whose weighted sums of f are all a
Gaussian needs, is another. Chains that have converged leave the batch.
"""

from dataclasses import dataclass

import numpy as np

from components.families.mixture.initial import Initial, responsibilities
from components.families.mixture.mixture import Mixture

VALUES_AT_ONCE = 2**16
"""Rows worked on together: their features stay in a core's second-level cache."""


@dataclass(frozen=True)
class Recipe:
    """How a mixture is fitted; the names and meanings are scikit-learn's."""

    components: int
    tol: float
    reg_covar: float
    max_iter: int
    init_params: Initial


def fit(rows: np.ndarray, recipe: Recipe, random: np.random.Generator) -> tuple[Mixture, np.ndarray]:
    """Fit a mixture to each chain's rows (chains, n, d).

    Returns:
        The mixtures, and how many steps each took, int (chains,); `max_iter` where it did not converge.
    """
    size = max(1, VALUES_AT_ONCE // rows.shape[1])
    parts, steps = [], []
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        start = responsibilities(part, recipe.components, recipe.init_params, random)
        fitted, taken = _fit(part, start, recipe)
        parts.append(fitted)
        steps.append(taken)
    together = [np.concatenate(arrays) for arrays in zip(*(part.arrays().values() for part in parts), strict=True)]
    return Mixture(*together), np.concatenate(steps)


def _fit(rows: np.ndarray, start: np.ndarray, recipe: Recipe) -> tuple[Mixture, np.ndarray]:
    """From responsibilities `start` (chains, K, n) until the mean log-likelihood of a row gains less than `tol`."""
    chains, n, _ = rows.shape
    centre = rows.mean(axis=1, keepdims=True)  # sums of squares of centred rows lose no digits
    features = _features(rows - centre)
    mixture = _maximise(start, features, n, recipe.reg_covar)
    result = Mixture(*(array.copy() for array in mixture.arrays().values()))
    before, steps, active = np.full(chains, -np.inf), np.full(chains, recipe.max_iter), np.arange(chains)
    for step in range(1, recipe.max_iter + 1):
        bound, given = _expect(mixture, features)
        mixture = _maximise(given, features, n, recipe.reg_covar)
        done = np.abs(bound - before) < recipe.tol
        before = bound
        if done.any() or step == recipe.max_iter:
            for name, array in mixture.arrays().items():
                getattr(result, name)[active] = array
            steps[active[done]] = step
            active, features, before = active[~done], features[~done], before[~done]
            mixture = Mixture(*(array[~done] for array in mixture.arrays().values()))
            if not len(active):
                break
    result.means[:] += centre
    return result, steps


def _features(rows: np.ndarray) -> np.ndarray:
    """(chains, 1 + d + d (d + 1) / 2, n): ones, coordinates, products of coordinates i <= j."""
    chains, n, dimensions = rows.shape
    first, second = np.triu_indices(dimensions)
    features = np.empty((chains, 1 + dimensions + len(first), n))
    features[:, 0] = 1
    features[:, 1 : dimensions + 1] = rows.transpose(0, 2, 1)
    np.multiply(features[:, 1 + first], features[:, 1 + second], out=features[:, dimensions + 1 :])
    return features


def _expect(mixture: Mixture, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean log-likelihood of a row (chains,), and each component's responsibility for each row (chains, K, n)."""
    logarithms = _coefficients(mixture) @ features
    highest = logarithms.max(axis=1, keepdims=True)
    logarithms -= highest
    given = np.exp(logarithms, out=logarithms)
    total = given.sum(axis=1, keepdims=True)
    given /= total
    return (highest + np.log(total)).mean(axis=(1, 2)), given


def _coefficients(mixture: Mixture) -> np.ndarray:
    """Log weight and log density of every component as coefficients of the features, (chains, K, features)."""
    dimensions = mixture.means.shape[-1]
    precisions = np.linalg.inv(mixture.covariances)
    linear = np.einsum("ckde,cke->ckd", precisions, mixture.means)
    constant = (
        np.log(mixture.weights)
        - np.einsum("ckd,ckd->ck", linear, mixture.means) / 2
        - np.log(np.linalg.det(2 * np.pi * mixture.covariances)) / 2
    )
    first, second = np.triu_indices(dimensions)
    quadratic = -precisions[..., first, second] * np.where(first == second, 0.5, 1.0)
    return np.concatenate([constant[..., None], linear, quadratic], axis=-1)


def _maximise(given: np.ndarray, features: np.ndarray, n: int, reg_covar: float) -> Mixture:
    sums = given @ features.transpose(0, 2, 1)
    dimensions = int((np.sqrt(8 * sums.shape[-1] + 1) - 3) / 2)
    mass = sums[..., 0] + 10 * np.finfo(float).eps  # scikit-learn's guard against a component without rows
    means = sums[..., 1 : dimensions + 1] / mass[..., None]
    first, second = np.triu_indices(dimensions)
    covariances = np.empty((*means.shape, dimensions))
    covariances[..., first, second] = sums[..., dimensions + 1 :] / mass[..., None]
    covariances[..., second, first] = covariances[..., first, second]
    covariances -= means[..., :, None] * means[..., None, :]
    covariances[..., range(dimensions), range(dimensions)] += reg_covar
    return Mixture(mass / mass.sum(axis=1, keepdims=True), means, covariances)
