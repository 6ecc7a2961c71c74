"""Verdicts over seeds: against scipy, against simulation of what they promise, and against the rivals they were chosen over."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from components.scorecard.verdict import LEVEL, Verdict, estimate, holm, seeds_needed, verdicts

DRAWS = 1000


def test_the_interval_is_students_and_the_tests_agree_with_it():
    values = [0.3, 0.5, 0.1, 0.4]
    found = estimate(values, 0.05)
    half = stats.t.ppf(0.975, 3) * np.std(values, ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((np.mean(values) - half, np.mean(values) + half))
    assert found.above == pytest.approx(stats.ttest_1samp(values, 0, alternative="greater").pvalue)
    assert found.below == pytest.approx(stats.ttest_1samp(values, 0.05, alternative="less").pvalue)
    assert (found.above < LEVEL) == (found.low > 0)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holms_step_down_rejects_as_its_definition_says(p: list[float]):
    adjusted = holm(p)
    rejected = set()
    for place, index in enumerate(np.argsort(p, kind="stable")):
        if p[index] * (len(p) - place) >= LEVEL:
            break
        rejected.add(index)
    assert set(np.flatnonzero(adjusted < LEVEL)) == rejected


def test_one_seed_is_no_test_and_corrects_for_nothing():
    assert np.isnan(holm([math.nan, 0.01])).tolist() == [True, False]
    assert holm([math.nan, 0.01])[1] == 0.01
    assert verdicts([estimate([1.0], 0.1)]) == [Verdict.UNKNOWN]


def test_what_does_not_vary_is_decided():
    assert verdicts([estimate([2.0, 2.0], 0.1)]) == [Verdict.HOLDS]
    assert verdicts([estimate([-2.0, -2.0], 0.1)]) == [Verdict.NOT]
    assert verdicts([estimate([0.05, 0.05], 0.1)]) == [Verdict.HOLDS]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_of_claims_that_are_all_false_one_is_seldom_said_to_hold(seeds: int):
    """Eight claims, none of which is true: at most one study in forty says that any holds."""
    random = np.random.default_rng(seeds)
    wrong = 0
    for _ in range(DRAWS):
        found = verdicts([estimate(row, 0.5) for row in random.normal(0, 1, (8, seeds))])
        wrong += Verdict.HOLDS in found
    assert wrong / DRAWS <= LEVEL + 3 * math.sqrt(LEVEL / DRAWS)


def test_a_difference_as_large_as_the_smallest_is_seldom_said_not_to_be():
    random = np.random.default_rng(1)
    wrong = sum(
        Verdict.NOT in verdicts([estimate(row, 0.5) for row in random.normal(0.5, 1, (8, 5))]) for _ in range(DRAWS)
    )
    assert wrong / DRAWS <= LEVEL + 3 * math.sqrt(LEVEL / DRAWS)


def test_a_small_difference_that_is_well_measured_holds_or_does_not_and_one_that_is_not_stays_open():
    random = np.random.default_rng(2)
    assert verdicts([estimate(random.normal(0, 0.01, 5), 0.5)]) == [Verdict.NOT]
    assert verdicts([estimate(random.normal(1, 0.01, 5), 0.5)]) == [Verdict.HOLDS]
    assert verdicts([estimate([-3.0, 3.5, 0.2], 0.5)]) == [Verdict.UNKNOWN]


@pytest.mark.parametrize("seeds", [3, 5])
def test_students_interval_holds_the_mean_as_often_as_it_says_where_a_bootstraps_does_not(seeds: int):
    random = np.random.default_rng(seeds)
    rows = random.normal(1, 1, (300, seeds))
    ours = np.mean([found.low <= 1 <= found.high for found in (estimate(row, 0) for row in rows)])
    assert ours == pytest.approx(0.95, abs=0.04)
    held = 0
    for row in rows:
        low, high = stats.bootstrap(
            (row,), np.mean, vectorized=True, n_resamples=999, method="percentile", rng=random
        ).confidence_interval
        held += low <= 1 <= high
    assert held / len(rows) < 0.9


def test_the_seeds_said_to_be_needed_decide_four_times_in_five():
    found = estimate(np.random.default_rng(3).normal(0.6, 1, 4), 0.1)
    needed = seeds_needed(found, claims=3)
    assert needed is not None
    random = np.random.default_rng(4)
    rows = random.normal(found.mean, found.deviation, (DRAWS, needed))
    p = stats.ttest_1samp(rows, 0, axis=1, alternative="greater").pvalue
    assert np.mean(p < LEVEL / 3) == pytest.approx(0.8, abs=0.05)


def test_where_nothing_varies_or_one_seed_ran_no_number_of_seeds_is_named():
    assert seeds_needed(estimate([1.0], 0.1), 2) is None
    assert seeds_needed(estimate([1.0, 1.0], 0.1), 2) is None
