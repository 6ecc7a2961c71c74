"""Verdicts over seeds: against scipy, against simulation of what they promise, and against the rivals they were chosen over."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from components.scorecard.verdict import LEVEL, Verdict, above_nought, holm, nought, seeds_needed, verdicts

DRAWS = 1000


def test_the_interval_is_students_and_the_tests_agree_with_it():
    values = [0.3, 0.5, 0.1, 0.4]
    found = above_nought(values, 0.05)
    half = stats.t.ppf(0.975, 3) * np.std(values, ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((np.mean(values) - half, np.mean(values) + half))
    assert found.holds == pytest.approx(stats.ttest_1samp(values, 0, alternative="greater").pvalue)
    assert found.fails == pytest.approx(stats.ttest_1samp(values, 0.05, alternative="less").pvalue)
    assert (found.holds < LEVEL) == (found.low > 0)


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
    assert verdicts([above_nought([1.0], 0.1)]) == [Verdict.UNKNOWN]


def test_what_does_not_vary_is_decided():
    assert verdicts([above_nought([2.0, 2.0], 0.1)]) == [Verdict.HOLDS]
    assert verdicts([above_nought([-2.0, -2.0], 0.1)]) == [Verdict.NOT]
    assert verdicts([above_nought([0.05, 0.05], 0.1)]) == [Verdict.HOLDS]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_of_claims_that_are_all_false_one_is_seldom_said_to_hold(seeds: int):
    """Eight claims, none of which is true: at most one study in forty says that any holds."""
    random = np.random.default_rng(seeds)
    wrong = 0
    for _ in range(DRAWS):
        found = verdicts([above_nought(row, 0.5) for row in random.normal(0, 1, (8, seeds))])
        wrong += Verdict.HOLDS in found
    assert wrong / DRAWS <= LEVEL + 3 * math.sqrt(LEVEL / DRAWS)


def test_a_difference_as_large_as_the_smallest_is_seldom_said_not_to_be():
    random = np.random.default_rng(1)
    wrong = sum(
        Verdict.NOT in verdicts([above_nought(row, 0.5) for row in random.normal(0.5, 1, (8, 5))]) for _ in range(DRAWS)
    )
    assert wrong / DRAWS <= LEVEL + 3 * math.sqrt(LEVEL / DRAWS)


def test_a_small_difference_that_is_well_measured_holds_or_does_not_and_one_that_is_not_stays_open():
    random = np.random.default_rng(2)
    assert verdicts([above_nought(random.normal(0, 0.01, 5), 0.5)]) == [Verdict.NOT]
    assert verdicts([above_nought(random.normal(1, 0.01, 5), 0.5)]) == [Verdict.HOLDS]
    assert verdicts([above_nought([-3.0, 3.5, 0.2], 0.5)]) == [Verdict.UNKNOWN]


@pytest.mark.parametrize("seeds", [3, 5])
def test_students_interval_holds_the_mean_as_often_as_it_says_where_a_bootstraps_does_not(seeds: int):
    random = np.random.default_rng(seeds)
    rows = random.normal(1, 1, (300, seeds))
    ours = np.mean([found.low <= 1 <= found.high for found in (above_nought(row, 0) for row in rows)])
    assert ours == pytest.approx(0.95, abs=0.04)
    held = 0
    for row in rows:
        low, high = stats.bootstrap(
            (row,), np.mean, vectorized=True, n_resamples=999, method="percentile", rng=random
        ).confidence_interval
        held += low <= 1 <= high
    assert held / len(rows) < 0.9


def test_the_seeds_said_to_be_needed_decide_four_times_in_five():
    found = above_nought(np.random.default_rng(3).normal(0.6, 1, 4), 0.1)
    needed = seeds_needed(found, claims=3)
    assert needed is not None
    random = np.random.default_rng(4)
    rows = random.normal(found.mean, found.deviation, (DRAWS, needed))
    p = stats.ttest_1samp(rows, 0, axis=1, alternative="greater").pvalue
    assert np.mean(p < LEVEL / 3) == pytest.approx(0.8, abs=0.05)


def test_where_nothing_varies_or_one_seed_ran_no_number_of_seeds_is_named():
    assert seeds_needed(above_nought([1.0], 0.1), 2) is None
    assert seeds_needed(above_nought([1.0, 1.0], 0.1), 2) is None


# equality, to within a margin


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.floats(0.05, 1))
def test_equality_holds_just_where_the_95_per_cent_interval_lies_within_the_margin(values: list[float], margin: float):
    found = nought(values, margin)
    if found.deviation > 1e-6:
        below = stats.ttest_1samp(values, margin, alternative="less").pvalue
        above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
        assert found.holds == pytest.approx(max(below, above), abs=1e-9)
    inside = -margin < found.low and found.high < margin
    assert (verdicts([found]) == [Verdict.HOLDS]) == inside
    if verdicts([found]) == [Verdict.NOT]:
        assert found.low > margin or found.high < -margin


def test_no_difference_found_is_no_equality_and_a_sure_one_beyond_the_margin_is_none():
    assert verdicts([nought([0.3, -0.4, 0.2], 0.1)]) == [Verdict.UNKNOWN]
    assert verdicts([nought([0.02, -0.01, 0.01], 0.1)]) == [Verdict.HOLDS]
    assert verdicts([nought([0.52, 0.49, 0.51], 0.1)]) == [Verdict.NOT]
    assert verdicts([nought([-0.52, -0.49, -0.51], 0.1)]) == [Verdict.NOT]
    assert verdicts([nought([0.0], 0.1)]) == [Verdict.UNKNOWN]
    assert verdicts([nought([0.0, 0.0], 0.1), nought([0.1, 0.1], 0.1)]) == [Verdict.HOLDS, Verdict.UNKNOWN]


@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize(("mean", "margin", "never"), [(0.5, 0.5, "holds"), (0.5, 0.5, "fails"), (0.0, 1e-9, "fails")])
def test_of_equalities_at_the_edge_of_their_margin_one_is_seldom_decided_wrongly(
    seeds: int, mean: float, margin: float, never: str
):
    """At the margin neither answer is right; with hardly any margin nothing is beyond it on either side."""
    wanted = Verdict.HOLDS if never == "holds" else Verdict.NOT
    random = np.random.default_rng(seeds)
    wrong = sum(
        wanted in verdicts([nought(row, margin) for row in random.normal(mean, 0.3, (8, seeds))]) for _ in range(DRAWS)
    )
    assert wrong / DRAWS <= LEVEL + 3 * math.sqrt(LEVEL / DRAWS)


@pytest.mark.parametrize(("centre", "verdict"), [(0.05, Verdict.HOLDS), (0.6, Verdict.NOT)])
def test_the_seeds_said_to_be_needed_decide_an_equality_four_times_in_five(centre: float, verdict: Verdict):
    found = nought([centre - 0.3, centre + 0.3, centre], 0.3)
    needed = seeds_needed(found, claims=1)
    assert needed is not None
    rows = np.random.default_rng(5).normal(found.mean, found.deviation, (DRAWS, needed))
    decided = np.mean([verdicts([nought(row, 0.3)]) == [verdict] for row in rows])
    assert decided == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("centre", [-0.1, 0.15])
def test_the_seeds_said_to_be_needed_deny_four_times_in_five_what_is_nearer_to_denial(centre: float):
    found = above_nought([centre - 0.4, centre + 0.4, centre], 0.5)
    needed = seeds_needed(found, claims=1)
    assert needed is not None
    rows = np.random.default_rng(6).normal(found.mean, found.deviation, (DRAWS, needed))
    denied = np.mean([found.fails < LEVEL for found in (above_nought(row, 0.5) for row in rows)])
    assert denied == pytest.approx(0.8, abs=0.06)
