"""Gaussian chains against theory, and the fast way of sampling against the plain one."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from components.families.gaussian import statistics, theory
from components.families.gaussian.family import GaussianFamily, tail_mass
from components.families.gaussian.rows import standard_normal
from components.recursion.loop import make_chain, run_chain
from components.recursion.trajectory import load
from components.regimes import Regime, distinct
from components.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def run(store: Store, family: GaussianFamily, generations: int, regime: Regime | None = None, seed: int = 0):
    chain = make_chain(family, "a condition", regime or Regime("replace"), "scratch", seed)
    generations_ = list(run_chain(chain, family, store, generations))
    trajectory = load(chain, store)
    assert trajectory is not None
    return [generation.metrics for generation in generations_], trajectory.models


def drawn_plainly(chains: int, rows: int, generations: int, ddof: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The oracle: every sample drawn, every moment computed from it; mean and deviation (chains,)."""
    random = np.random.default_rng(seed)
    mean, deviation = np.zeros(chains), np.ones(chains)
    for _ in range(generations + 1):
        sample = random.standard_normal((chains, rows)) * deviation[:, None] + mean[:, None]
        mean, deviation = sample.mean(axis=1), sample.std(axis=1, ddof=ddof)
    return mean, deviation


def test_the_w2_risk_is_that_of_the_papers_theorem(store: Store):
    numbers, _ = run(store, GaussianFamily(chains=100_000, rows=100), 11)
    expected = theory.wasserstein2_squared([100] * 12)
    for generation in (1, 5, 11):
        assert numbers[generation]["wasserstein2_squared/mean"] == pytest.approx(expected[generation], rel=0.03)


def test_the_variance_over_all_chains_grows_by_one_over_m_a_generation(store: Store):
    numbers, _ = run(store, GaussianFamily(chains=100_000, rows=100), 20)
    expected = theory.variance_of_samples([100] * 21)
    assert [one["variance_of_samples"] for one in numbers] == pytest.approx(expected.tolist(), rel=0.01)


@pytest.mark.parametrize(("rows", "ddof"), [(10, 1), (100, 1), (100, 0), (500, 1), (1000, 0)])
def test_the_median_deviation_after_1000_generations_is_that_of_theory(store: Store, rows: int, ddof: int):
    family = GaussianFamily(chains=2000, rows=rows, ddof=ddof, shown=(999,))
    _, models = run(store, family, 999)
    logarithm = np.log(models[999]["factor"][0, 0])
    error = 1.253 * logarithm.std() / np.sqrt(len(logarithm))  # of a median, the law being nearly normal
    assert abs(np.median(logarithm) - np.log(theory.median_deviation([rows] * 1000, ddof)[-1])) < 4 * error


def test_theory_gives_the_reference_medians_within_their_sampling_error():
    """paper.md's were recomputed from few chains: their logarithm's standard deviation is about sqrt(500 / M)."""
    for rows, ddof, median in [(10, 1, 5.6e-26), (100, 1, 0.0090), (500, 1, 0.369), (1000, 1, 0.641), (10, 0, 7.4e-49),
                               (100, 0, 5.9e-5), (500, 0, 0.136), (1000, 0, 0.389)]:  # fmt: skip
        logarithm = np.log(theory.median_deviation([rows] * 1000, ddof)[-1])
        assert abs(logarithm - np.log(median)) < 0.2 * np.sqrt(500 / rows)


@pytest.mark.parametrize("ddof", [0, 1])
def test_sufficient_statistics_follow_the_law_of_plain_sampling(store: Store, ddof: int):
    family = GaussianFamily(chains=10_000, rows=20, ddof=ddof, shown=(15,))
    _, models = run(store, family, 15)
    mean, deviation = drawn_plainly(10_000, 20, 15, ddof, seed=1)
    assert stats.ks_2samp(models[15]["mean"][0], mean).pvalue > 0.001
    assert stats.ks_2samp(models[15]["factor"][0, 0], deviation).pvalue > 0.001


def test_statistics_in_three_dimensions_follow_the_law_of_plain_sampling():
    random = np.random.default_rng(0)
    truth = np.array([[1.0, 0, 0], [0.8, 0.5, 0], [-0.3, 0.2, 2.0]])
    factor = np.repeat(truth[..., None], 10_000, axis=-1)
    fast = statistics.draw(np.ones((3, 10_000)), factor, 7, random)
    plain = statistics.of_rows(np.einsum("ij,jcn->icn", truth, random.standard_normal((3, 10_000, 7))) + 1)
    for i in range(3):
        assert stats.ks_2samp(fast.mean[i], plain.mean[i]).pvalue > 0.001
        for j in range(i + 1):
            assert stats.ks_2samp(fast.factor[i, j], plain.factor[i, j]).pvalue > 0.001


def test_merged_statistics_are_those_of_all_rows_together():
    values = np.random.default_rng(0).normal(3, 2, (2, 5, 30))
    merged = statistics.merge(statistics.of_rows(values[..., :11]), statistics.of_rows(values[..., 11:]))
    whole = statistics.of_rows(values)
    np.testing.assert_allclose(merged.mean, whole.mean)
    np.testing.assert_allclose(merged.factor, whole.factor)


def test_the_fit_is_numpys_mean_and_covariance():
    values = np.random.default_rng(0).normal(size=(3, 4, 25))
    for ddof in (0, 1):
        mean, factor = statistics.fit(statistics.of_rows(values), ddof)
        for chain in range(4):
            np.testing.assert_allclose(mean[:, chain], values[:, chain].mean(axis=1))
            covariance = np.cov(values[:, chain], ddof=ddof)
            np.testing.assert_allclose(factor[..., chain] @ factor[..., chain].T, covariance)


def test_a_row_is_the_same_whenever_it_is_read_and_rows_are_standard_normal():
    key, counters = np.uint64(7), np.arange(200_000, dtype=np.uint64)
    values = standard_normal(key, counters)
    np.testing.assert_array_equal(values[[5, 99_999]], standard_normal(key, counters[[5, 99_999]]))
    assert stats.kstest(values, "norm").pvalue > 0.001
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.01
    assert abs(np.corrcoef(values, standard_normal(np.uint64(8), counters))[0, 1]) < 0.01


@pytest.mark.parametrize(("population", "rows"), [(10, 3), (10, 8), (10, 10), (1000, 300)])
def test_rows_are_drawn_without_replacement_and_each_as_often(population: int, rows: int):
    chosen = distinct(population, rows, 5000, np.random.default_rng(0))
    assert chosen.shape == (5000, rows)
    assert (np.diff(np.sort(chosen, axis=1), axis=1) > 0).all()
    counts = np.bincount(chosen.ravel(), minlength=population)
    expected = 5000 * rows / population
    spread = np.sqrt(expected * (1 - rows / population))
    assert (np.abs(counts - expected) <= 5 * spread).all()


def test_a_subsampled_generation_holds_rows_of_earlier_ones_as_they_were(store: Store):
    """With two rows out of a pool of four, generation 1's mean is that of two of the four rows, by their own values."""
    family = GaussianFamily(chains=2000, rows=2, shown=(0, 1))
    _, models = run(store, family, 1, Regime("subsample"))
    same = np.isclose(models[0]["mean"][0], models[1]["mean"][0], rtol=1e-12)
    assert same.mean() == pytest.approx(1 / 6, abs=0.03)  # both real rows were drawn again: 1 of the 6 pairs


@pytest.mark.parametrize("regime", [Regime("replace"), Regime("accumulate"), Regime("replace", 0.3)], ids=str)
def test_a_chain_holds_no_more_in_later_generations_whether_it_accumulates_or_not(store: Store, regime: Regime):
    def held(generations: int) -> int:
        family = GaussianFamily(chains=10, rows=50)
        chain = make_chain(family, "a condition", regime, "scratch", 0)
        list(run_chain(chain, family, store, generations))
        trajectory = load(chain, store)
        assert trajectory is not None
        assert trajectory.past.pool.trained is not None
        return sum(array.nbytes for array in trajectory.past.pool.trained.values())

    assert held(60) == held(3) > 0


def test_keeping_real_rows_or_accumulating_bounds_the_risk(store: Store):
    replaced, _ = run(store, GaussianFamily(chains=2000, rows=100), 200)
    kept, _ = run(store, GaussianFamily(chains=2000, rows=100), 200, Regime("replace", 0.1))
    accumulated, _ = run(store, GaussianFamily(chains=2000, rows=100), 200, Regime("accumulate"))
    risk = "wasserstein2_squared/mean"
    assert replaced[200][risk] > 2
    assert kept[200][risk] < 0.15
    assert accumulated[200][risk] < 1.5 / 100 * np.pi**2 / 6 * 1.1  # 3/2 sum of 1/M n^2 and less


@pytest.mark.parametrize(("growth", "bounded"), [(0.0, False), (1.0, False), (2.0, True)])
def test_the_risk_stays_finite_only_if_the_sample_grows_faster_than_linearly(
    store: Store, growth: float, bounded: bool
):
    numbers, _ = run(store, GaussianFamily(chains=4000, rows=100, growth=growth), 400)
    risk = [one["wasserstein2_squared/mean"] for one in numbers]
    rows = np.round(100 * np.arange(1, 402) ** growth)
    if growth:
        assert risk[400] == pytest.approx(theory.wasserstein2_squared(rows)[400], rel=0.1)
    assert (risk[400] < 1.05 * risk[100]) == bounded


@pytest.mark.parametrize(
    "regime", [Regime("replace"), Regime("accumulate"), Regime("subsample"), Regime("replace", 0.3)]
)
@pytest.mark.parametrize("dimensions", [1, 3])
def test_a_chain_stopped_and_made_longer_equals_one_that_was_not(
    store: Store, tmp_path: Path, regime: Regime, dimensions: int
):
    family = GaussianFamily(chains=20, rows=10, dimensions=dimensions, shown=(0, 3, 9))
    whole, models = run(store, family, 9, regime)
    other = Store.open(str(tmp_path / "other"))
    run(other, family, 4, regime)
    longer, longer_models = run(other, family, 9, regime)
    assert longer == whole
    assert models.keys() == longer_models.keys()
    assert all((models[g][name] == longer_models[g][name]).all() for g in models for name in models[g])


def test_the_tail_is_the_mass_where_the_truth_has_its_outer_hundredth():
    mean, deviation = np.array([0.0, 0.0, 3.0, -3.0, 0.0]), np.array([1.0, 2.0, 0.5, 0.0, 0.0])
    edge = stats.norm.ppf(0.995)
    expected = [
        stats.norm.cdf(-edge, m, s) + stats.norm.sf(edge, m, s) for m, s in zip(mean[:3], deviation[:3], strict=True)
    ]
    assert tail_mass(mean, deviation).tolist() == pytest.approx([*expected, 1.0, 0.0])
    assert expected[0] == pytest.approx(0.01)


def test_generation_0_has_the_truths_tail_and_a_narrow_chain_has_lost_it(store: Store):
    numbers, _ = run(store, GaussianFamily(chains=4000, rows=50), 150)
    assert numbers[0]["tail/mean"] == pytest.approx(0.01, rel=0.3)
    assert numbers[150]["tail/median"] < 0.001
