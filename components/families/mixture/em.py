"""Expectation maximisation of many mixtures at once, with scikit-learn's `GaussianMixture` semantics.

With the features f(x) = (1, x, products of x's coordinates) a component's log density is linear in f, so the
expectation step is one batched matrix product over them, and the maximisation step, whose weighted sums of f are all a
Gaussian needs, is another. Of two components the log odds say all, and one's sums are what the other's leave of all rows':
half the work. Chains that have converged make room in the batch for others.
"""

from dataclasses import dataclass, replace
from functools import cache, reduce

import numpy as np

from components.families.mixture.initial import Initial, responsibilities
from components.families.mixture.mixture import Mixture

VALUES_AT_ONCE = 2**16
"""Rows worked on together: enough for numpy's own cost to vanish, few enough for a processor's caches."""
FEWEST_LIVE = 0.8
"""Share of a batch below which its converged chains are taken out, which copies the others."""


@dataclass(frozen=True)
class Recipe:
    """How a mixture is fitted; the names and meanings are scikit-learn's."""

    components: int
    tol: float
    reg_covar: float
    max_iter: int
    init_params: Initial


@dataclass(frozen=True)
class _Batch:
    """Chains in work: which ones, whether each still is, their features and these added up over rows, their mixtures,
    likelihoods and steps so far."""

    chain: np.ndarray
    live: np.ndarray
    features: np.ndarray
    totals: np.ndarray
    mixture: Mixture
    bound: np.ndarray
    steps: np.ndarray

    def arrays(self) -> list[np.ndarray]:
        head = [self.chain, self.live, self.features, self.totals, self.bound, self.steps]
        return [*head, *self.mixture.arrays().values()]

    @classmethod
    def of(cls, arrays: list[np.ndarray]) -> "_Batch":
        chain, live, features, totals, bound, steps, *mixture = arrays
        return cls(chain, live, features, totals, Mixture(*mixture), bound, steps)

    def living(self) -> "_Batch":
        return _Batch.of([array[self.live] for array in self.arrays()])

    def and_(self, other: "_Batch") -> "_Batch":
        return _Batch.of([np.concatenate(pair) for pair in zip(self.arrays(), other.arrays(), strict=True)])


def fit(
    rows: np.ndarray, recipe: Recipe, random: np.random.Generator, start: np.ndarray | None = None
) -> tuple[Mixture, np.ndarray]:
    """Fit a mixture to each chain's rows (chains, n, d), until the mean log-likelihood of a row gains less than `tol`.

    Args:
        start: responsibilities (chains, K, n) to begin with, in place of what `recipe.init_params` says.

    Returns:
        The mixtures, and how many steps each took, int (chains,); `max_iter` where it did not converge.
    """
    chains, n, dimensions = rows.shape
    size = max(1, VALUES_AT_ONCE // n)
    shape = (chains, recipe.components, dimensions)
    result = Mixture(np.empty(shape[:2]), np.empty(shape), np.empty((*shape, dimensions)))
    steps, centre = np.empty(chains, int), np.ones(n) @ rows / n  # sums of squares of centred rows lose no digits

    def begin(first: int, last: int) -> _Batch:
        part = rows[first:last]
        features = _features(part - centre[first:last, None])
        if start is None:
            given = responsibilities(part, recipe.components, recipe.init_params, random)
        else:
            given = start[first:last]
        count = last - first
        totals = features.sum(axis=-1)
        mixture = _maximise(given @ features.transpose(0, 2, 1), recipe.reg_covar)
        bound, live = np.full(count, -np.inf), np.ones(count, bool)
        return _Batch(np.arange(first, last), live, features, totals, mixture, bound, np.zeros(count, int))

    taken = min(size, chains)
    batch = begin(0, taken)
    while batch.live.any():
        bound, sums = _expect(batch.mixture, batch.features, batch.totals)
        mixture = _maximise(sums, recipe.reg_covar)
        done = batch.live & ((np.abs(bound - batch.bound) < recipe.tol) | (batch.steps + 1 == recipe.max_iter))
        batch = replace(batch, live=batch.live & ~done, mixture=mixture, bound=bound, steps=batch.steps + 1)
        if done.any():
            ended = batch.chain[done]
            steps[ended] = batch.steps[done]
            for name, array in mixture.arrays().items():
                getattr(result, name)[ended] = array[done]
        if np.count_nonzero(batch.live) < FEWEST_LIVE * len(batch.live):
            batch = batch.living()
            if taken < chains:
                more = min(chains, taken + size - len(batch.chain))
                batch, taken = batch.and_(begin(taken, more)), more
    result.means[:] += centre[:, None]
    return result, steps


def _features(rows: np.ndarray) -> np.ndarray:
    """(chains, 1 + d + d (d + 1) / 2, n): ones, coordinates, products of coordinates i <= j."""
    chains, n, dimensions = rows.shape
    first, second, _ = _pairs(dimensions)
    features = np.empty((chains, 1 + dimensions + len(first), n))
    features[:, 0] = 1
    features[:, 1 : dimensions + 1] = rows.transpose(0, 2, 1)
    for place, (i, j) in enumerate(zip(first, second, strict=True), start=dimensions + 1):
        np.multiply(features[:, 1 + i], features[:, 1 + j], out=features[:, place])
    return features


def _expect(mixture: Mixture, features: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean log-likelihood of a row (chains,), and the features' sums weighted by each component's responsibilities
    (chains, K, features)."""
    coefficients = _coefficients(mixture)
    match coefficients.shape[1]:
        case 1:
            return (coefficients[:, 0] * totals).sum(axis=1) / features.shape[-1], totals[:, None]
        case 2:
            return _expect_of_two(mixture.weights, coefficients, features, totals)
    logarithms = coefficients @ features
    highest = reduce(np.maximum, _by_component(logarithms))
    logarithms -= highest[:, None]
    given = np.exp(logarithms, out=logarithms)
    total = reduce(np.add, _by_component(given))
    given /= total[:, None]
    return (highest + np.log(total)).mean(axis=1), given @ features.transpose(0, 2, 1)


def _expect_of_two(
    weights: np.ndarray, coefficients: np.ndarray, features: np.ndarray, totals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """By the log odds o of the lighter component: log(e^a + e^b) = a + max(o, 0) + log(1 + e^-|o|).

    The lighter one's sums are added up, the heavier one's are the rest: the other way round digits would be lost.
    """
    chain, lighter = np.arange(len(weights)), weights.argmin(axis=1)
    heavy = coefficients[chain, 1 - lighter]
    apart = coefficients[chain, lighter] - heavy
    odds = (apart[:, None] @ features)[:, 0]
    likelier = odds > 0
    away = np.abs(odds, out=odds)
    above = (away.sum(axis=1) + (apart * totals).sum(axis=1)) / 2  # the sum of max(o, 0)
    given = np.exp(np.negative(away, out=away), out=away)
    both = given + 1
    np.maximum(given, likelier, out=given)  # 1 there: a masked copy takes ten times as long
    given /= both
    bound = (heavy * totals).sum(axis=1) + above + _sum_of_logarithms(both)
    sums = np.empty_like(coefficients)
    sums[chain, lighter] = light = (given[:, None] @ features.transpose(0, 2, 1))[:, 0]
    sums[chain, 1 - lighter] = totals - light
    return bound / features.shape[-1], sums


def _sum_of_logarithms(values: np.ndarray) -> np.ndarray:
    """Of numbers between 1 and 2, (chains, n): those of products of four, a quarter as many."""
    part = values.shape[1] // 4
    products = values[:, :part] * values[:, part : 2 * part]
    products *= values[:, 2 * part : 3 * part]
    products *= values[:, 3 * part : 4 * part]
    return np.log(products, out=products).sum(axis=1) + np.log(values[:, 4 * part :]).sum(axis=1)


def _by_component(values: np.ndarray) -> list[np.ndarray]:
    """(chains, n) of each component: numpy reduces over a short axis many times slower than it adds whole arrays."""
    return [values[:, component] for component in range(values.shape[1])]


def _coefficients(mixture: Mixture) -> np.ndarray:
    """Log weight and log density of every component as coefficients of the features, (chains, K, features)."""
    dimensions = mixture.means.shape[-1]
    precisions, determinants = _inverses(mixture.covariances)
    linear = (precisions @ mixture.means[..., None])[..., 0]
    constant = (
        np.log(mixture.weights)
        - (linear * mixture.means).sum(axis=-1) / 2
        - (np.log(determinants) + dimensions * np.log(2 * np.pi)) / 2
    )
    first, second, share = _pairs(dimensions)
    return np.concatenate([constant[..., None], linear, -precisions[..., first, second] * share], axis=-1)


def _inverses(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverses and determinants of (..., d, d); of the plane's, which most are, without LAPACK's cost for each."""
    if matrices.shape[-1] != 2:
        return np.linalg.inv(matrices), np.linalg.det(matrices)
    determinants = matrices[..., 0, 0] * matrices[..., 1, 1] - matrices[..., 0, 1] * matrices[..., 1, 0]
    adjugates = matrices[..., ::-1, ::-1].copy()
    adjugates[..., 0, 1] *= -1
    adjugates[..., 1, 0] *= -1
    return adjugates / determinants[..., None, None], determinants


def _maximise(sums: np.ndarray, reg_covar: float) -> Mixture:
    dimensions = int((np.sqrt(8 * sums.shape[-1] + 1) - 3) / 2)
    mass = sums[..., 0] + 10 * np.finfo(float).eps  # scikit-learn's guard against a component without rows
    means = sums[..., 1 : dimensions + 1] / mass[..., None]
    squares = (sums[..., dimensions + 1 :] / mass[..., None])[..., _places(dimensions)]
    covariances = squares - means[..., :, None] * means[..., None, :] + reg_covar * np.eye(dimensions)
    return Mixture(mass / mass.sum(axis=1, keepdims=True), means, covariances)


@cache
def _pairs(dimensions: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of coordinates i <= j, and what a product of them counts for in a quadratic form: a half on the diagonal."""
    first, second = np.triu_indices(dimensions)
    return first, second, np.where(first == second, 0.5, 1.0)


@cache
def _places(dimensions: int) -> np.ndarray:
    """Which pair each entry of a symmetric matrix (d, d) is."""
    first, second, _ = _pairs(dimensions)
    places = np.empty((dimensions, dimensions), np.int64)
    places[first, second] = places[second, first] = np.arange(len(first))
    return places
