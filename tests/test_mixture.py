"""Mixture chains: batched EM against scikit-learn's, closed forms against integration, collapse against the reference."""

from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats
from sklearn.mixture import GaussianMixture

from components.families.mixture import em
from components.families.mixture.family import MixtureFamily, tail_share
from components.families.mixture.initial import responsibilities
from components.families.mixture.mixture import Mixture, draw, moments, squared_l2
from components.recursion.loop import make_chain, run_chain
from components.recursion.trajectory import load
from components.regimes import Regime
from components.store import Store

ONE, TWO = ((0.0, 0.0),), ((-2.0, 0.0), (2.0, 0.0))
RECIPE = em.Recipe(components=2, tol=1e-5, reg_covar=1e-6, max_iter=2000, init_params="kmeans")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def run(store: Store, family: MixtureFamily, generations: int, regime: Regime | None = None, seed: int = 0):
    chain = make_chain(family, "a condition", regime or Regime("replace"), "scratch", seed)
    numbers = [generation.metrics for generation in run_chain(chain, family, store, generations)]
    trajectory = load(chain, store)
    assert trajectory is not None
    return numbers, trajectory.models


def random_mixture(chains: int, components: int, seed: int, dimensions: int = 2) -> Mixture:
    random = np.random.default_rng(seed)
    factors = random.normal(size=(chains, components, dimensions, dimensions))
    covariances = factors @ factors.transpose(0, 1, 3, 2) + 0.3 * np.eye(dimensions)
    weights = random.dirichlet(np.full(components, 5.0), size=chains)
    return Mixture(weights, random.normal(scale=3, size=(chains, components, dimensions)), covariances)


@pytest.mark.parametrize(
    ("components", "dimensions", "n"), [(1, 2, 50), (2, 2, 300), (3, 2, 400), (2, 1, 100), (2, 4, 300)]
)
def test_from_the_same_start_the_fit_is_scikit_learns(components: int, dimensions: int, n: int):
    rows = draw(random_mixture(6, components, 1, dimensions), n, np.random.default_rng(0))
    start = responsibilities(rows, components, "kmeans", np.random.default_rng(0))
    recipe = em.Recipe(components, 1e-5, 1e-6, 2000, "kmeans")
    ours, steps = em.fit(rows, recipe, np.random.default_rng(0), start)
    for chain in range(6):

        class Given(GaussianMixture):
            def _initialize_parameters(self, X, random_state, xp=None, **others):  # noqa: N803
                self._initialize(X, start[chain].T)  # noqa: B023

        theirs = Given(components, tol=1e-5, reg_covar=1e-6, max_iter=2000).fit(rows[chain])
        assert steps[chain] == theirs.n_iter_
        np.testing.assert_allclose(ours.weights[chain], theirs.weights_, rtol=1e-7)
        np.testing.assert_allclose(ours.means[chain], theirs.means_, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(ours.covariances[chain], theirs.covariances_, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("how", ["kmeans", "k-means++", "random_from_data"])
def test_fits_from_each_start_have_the_law_of_scikit_learns(how: str):
    """One data set, two hundred random starts each: the likelihoods reached have one distribution."""
    data = np.random.default_rng(3).normal(size=(1, 120, 2))
    rows = np.repeat(data, 200, axis=0)
    recipe = em.Recipe(2, 1e-5, 1e-6, 2000, how)  # type: ignore[arg-type]
    ours, _ = em.fit(rows, recipe, np.random.default_rng(0))
    features = em._features(rows)
    reached, _ = em._expect(ours, features, features.sum(axis=-1))
    theirs = [
        GaussianMixture(2, tol=1e-5, max_iter=2000, init_params=how, random_state=seed).fit(data[0]).score(data[0])
        for seed in range(200)
    ]
    assert stats.ks_2samp(np.round(reached, 3), np.round(theirs, 3)).pvalue > 0.001


def test_draws_have_the_mixtures_moments():
    mixture = random_mixture(3, 3, seed=5)
    rows = draw(mixture, 200_000, np.random.default_rng(0))
    mean, covariance = moments(mixture)
    np.testing.assert_allclose(rows.mean(axis=1), mean, atol=0.05)
    for chain in range(3):
        np.testing.assert_allclose(np.cov(rows[chain].T), covariance[chain], rtol=0.05, atol=0.1)


def test_the_squared_l2_distance_is_that_of_numerical_integration():
    one, other = random_mixture(2, 2, seed=1), random_mixture(2, 3, seed=2)
    distances = squared_l2(one, other)

    def density(mixture: Mixture, chain: int, point: tuple[float, float]) -> float:
        parts = zip(mixture.weights[chain], mixture.means[chain], mixture.covariances[chain], strict=True)
        return sum(
            weight * stats.multivariate_normal.pdf(point, mean, covariance) for weight, mean, covariance in parts
        )

    grid = np.linspace(-25, 25, 501)
    points = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1)
    for chain in range(2):
        gap = (density(one, chain, points) - density(other, chain, points)) ** 2  # type: ignore[arg-type]
        expected = integrate.simpson(integrate.simpson(gap, grid), grid)
        assert distances[chain] == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(squared_l2(one, one), 0, atol=1e-12)


def test_a_blob_under_two_components_collapses_within_the_published_orders_of_magnitude(store: Store):
    """paper.md: with 500 rows a squared L2 of 430 to 614 at generation 2000, and a deviation of .013."""
    family = MixtureFamily(chains=4, rows=500, centres=ONE, recipe=RECIPE)
    numbers, _ = run(store, family, 2000)
    assert numbers[0]["squared_l2/median"] < 0.005
    assert 140 < numbers[2000]["squared_l2/median"] < 2000
    assert 0.003 < numbers[2000]["deviation/median"] < 0.05


def test_a_class_that_cannot_hold_the_truth_errs_at_once_and_no_further(store: Store):
    single = em.Recipe(1, 1e-5, 1e-6, 2000, "kmeans")
    poor, _ = run(store, MixtureFamily(4, 20_000, TWO, single), 10)
    rich, _ = run(store, MixtureFamily(4, 100, TWO, RECIPE), 60)
    name = "squared_l2/mean"
    assert poor[0][name] > 2 * rich[0][name]
    assert poor[10][name] == pytest.approx(poor[0][name], rel=0.1)
    assert rich[60][name] > 5 * rich[0][name]


@pytest.mark.parametrize("regime", [Regime("accumulate"), Regime("replace", 0.2)])
def test_keeping_real_rows_or_accumulating_bounds_the_distance(store: Store, regime: Regime):
    family = MixtureFamily(chains=10, rows=60, centres=TWO, recipe=RECIPE)
    replaced, _ = run(store, family, 60)
    kept, _ = run(store, family, 60, regime)
    assert kept[60]["squared_l2/mean"] < replaced[60]["squared_l2/mean"] / 3


@pytest.mark.parametrize(
    "regime", [Regime("replace"), Regime("accumulate"), Regime("subsample"), Regime("replace", 0.3)]
)
def test_a_chain_stopped_and_made_longer_equals_one_that_was_not(store: Store, tmp_path: Path, regime: Regime):
    family = MixtureFamily(chains=5, rows=30, centres=TWO, recipe=RECIPE, shown=(0, 3, 9))
    whole, models = run(store, family, 9, regime)
    other = Store.open(str(tmp_path / "other"))
    run(other, family, 4, regime)
    longer, longer_models = run(other, family, 9, regime)
    assert longer == whole
    assert all((models[g][name] == longer_models[g][name]).all() for g in models for name in models[g])


def test_the_tail_is_what_lies_further_from_every_centre_than_a_hundredth_of_a_unit_gaussian_does():
    centres = np.array([[-3.0, 0.0], [3.0, 0.0]])
    random = np.random.default_rng(0)
    rows = random.normal(size=(3, 40_000, 2))
    rows[1] *= 0.2
    rows[2] = 4
    assert tail_share(rows, centres[:1] * 0)[:2].tolist() == pytest.approx([0.01, 0.0], abs=0.002)
    assert tail_share(rows + centres[1], centres).tolist() == pytest.approx([0.01, 0.0, 1.0], abs=0.002)
