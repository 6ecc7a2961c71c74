"""Discrete chains against theory: absorption, where chains end, support and heterozygosity by generation."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from components.families.discrete import counts, theory
from components.families.discrete.family import DiscreteFamily
from components.recursion.loop import make_chain, run_chain
from components.recursion.trajectory import load
from components.regimes import Regime
from components.store import Store

UNIFORM = (0.1,) * 10
ZIPF = tuple((1 / np.arange(1, 101) / (1 / np.arange(1, 101)).sum()).tolist())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def run(store: Store, family: DiscreteFamily, generations: int, regime: Regime | None = None, seed: int = 0):
    chain = make_chain(family, "a condition", regime or Regime("replace"), "scratch", seed)
    numbers = [generation.metrics for generation in run_chain(chain, family, store, generations)]
    trajectory = load(chain, store)
    assert trajectory is not None
    assert trajectory.past.newest is not None
    return numbers, trajectory.past.newest.place["probabilities"]


@pytest.mark.parametrize(("rows", "generations"), [(10, 150), (100, 1200)])
def test_ten_uniform_outcomes_are_one_after_less_than_twice_as_many_fits_as_rows(
    store: Store, rows: int, generations: int
):
    numbers, _ = run(store, DiscreteFamily(chains=1000, rows=rows, probabilities=UNIFORM), generations)
    fits = 1 + sum(1 - one["absorbed"] for one in numbers)
    assert numbers[-1]["absorbed"] > 0.99
    assert 1.7 * rows < fits < 1.95 * rows
    assert fits == pytest.approx(theory.absorption_time(np.array(UNIFORM), rows), rel=0.1)


def test_a_chain_ends_in_an_outcome_with_the_outcomes_original_probability(store: Store):
    truth = (0.05, 0.15, 0.3, 0.5)
    _, models = run(store, DiscreteFamily(chains=4000, rows=8, probabilities=truth), 120)
    ended = models[models.max(axis=1) == 1]
    assert len(ended) > 3990
    assert stats.chisquare(ended.sum(axis=0), np.array(truth) * len(ended)).pvalue > 0.001


def test_the_probability_that_two_draws_differ_falls_by_one_over_m_a_fit(store: Store):
    numbers, _ = run(store, DiscreteFamily(chains=4000, rows=50, probabilities=ZIPF), 60)
    expected = theory.heterozygosity(np.array(ZIPF), 50, 60)
    assert [one["heterozygosity/mean"] for one in numbers] == pytest.approx(expected.tolist(), rel=0.03)


def test_of_a_hundred_zipf_outcomes_forty_are_left_after_one_fit_and_twelve_after_ten(store: Store):
    numbers, _ = run(store, DiscreteFamily(chains=4000, rows=100, probabilities=ZIPF), 10)
    assert numbers[0]["support/mean"] == pytest.approx(theory.support(np.array(ZIPF), 100), rel=0.01)
    assert numbers[0]["support/mean"] == pytest.approx(41.5, rel=0.02)
    assert numbers[9]["support/mean"] == pytest.approx(12.5, rel=0.03)


def test_the_tail_goes_before_the_bulk(store: Store):
    """Rare outcomes die out while their mass, taken together, is on average what it was."""
    numbers, models = run(store, DiscreteFamily(chains=4000, rows=100, probabilities=ZIPF), 10)
    assert numbers[10]["rarest_half/mean"] == pytest.approx(numbers[0]["rarest_half/mean"], abs=0.02)
    alive = (models > 0).mean(axis=0)
    assert alive[:2].min() > 0.75
    assert alive[50:].max() < 0.1


def test_picked_rows_follow_the_law_of_numpys_multivariate_hypergeometric():
    data = np.array([5, 0, 12, 3, 20])
    random = np.random.default_rng(0)
    ours = counts.pick(np.tile(data, (20_000, 1)), 9, random)
    numpys = random.multivariate_hypergeometric(data, 9, size=20_000)
    assert (ours.sum(axis=1) == 9).all()
    assert (ours <= data).all()
    for outcome in (0, 2, 3, 4):
        values = np.arange(10)
        table = [[(sample[:, outcome] == value).sum() for value in values] for sample in (ours, numpys)]
        used = np.sum(table, axis=0) > 10
        assert stats.chi2_contingency(np.array(table)[:, used]).pvalue > 0.001
    np.testing.assert_allclose(np.cov(ours.T), np.cov(numpys.T), atol=0.1)


def test_all_rows_picked_are_all_rows_and_more_are_refused():
    data = np.array([[3, 0, 2], [1, 1, 3]])
    np.testing.assert_array_equal(counts.pick(data, 5, np.random.default_rng(0)), data)
    with pytest.raises(ValueError, match="6 rows cannot be picked of 5"):
        counts.pick(data, 6, np.random.default_rng(0))


@pytest.mark.parametrize("regime", [Regime("accumulate"), Regime("replace", 0.1)])
def test_keeping_real_rows_or_accumulating_stops_the_drift(store: Store, regime: Regime):
    family = DiscreteFamily(chains=500, rows=50, probabilities=UNIFORM)
    replaced, _ = run(store, family, 300)
    kept, _ = run(store, family, 300, regime)
    assert replaced[300]["absorbed"] > 0.9
    assert kept[300]["absorbed"] < 0.01
    assert kept[300]["heterozygosity/mean"] > 0.5


def test_a_subsample_drifts_slower_than_replacing(store: Store):
    family = DiscreteFamily(chains=500, rows=50, probabilities=UNIFORM)
    replaced, _ = run(store, family, 100)
    subsampled, _ = run(store, family, 100, Regime("subsample"))
    assert subsampled[100]["heterozygosity/mean"] > 2 * replaced[100]["heterozygosity/mean"]


@pytest.mark.parametrize(
    "regime", [Regime("replace"), Regime("accumulate"), Regime("subsample"), Regime("replace", 0.3)]
)
def test_a_chain_stopped_and_made_longer_equals_one_that_was_not(store: Store, tmp_path: Path, regime: Regime):
    family = DiscreteFamily(chains=20, rows=30, probabilities=UNIFORM, shown=(0, 3, 9))
    whole, models = run(store, family, 9, regime)
    other = Store.open(str(tmp_path / "other"))
    run(other, family, 4, regime)
    longer, longer_models = run(other, family, 9, regime)
    assert longer == whole
    np.testing.assert_array_equal(models, longer_models)
