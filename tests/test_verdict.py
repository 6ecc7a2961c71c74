"""Verdicts over seeds: against scipy, against simulation of what they promise, and against the rivals they were chosen over."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from components.measures.errors import serial_error
from components.scorecard.verdict import (
    LEVEL,
    SHARED_DEGREES,
    Estimate,
    Open,
    Verdict,
    above_zero,
    equals_zero,
    holm,
    seeds_needed,
    verdicts,
)

DRAWS = 1000


def test_the_interval_is_students_and_the_tests_agree_with_it():
    values = [0.3, 0.5, 0.1, 0.4]
    found = above_zero(values, 0.05)
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
    assert verdicts([above_zero([1.0], 0.1)]) == [Verdict.UNKNOWN]


@pytest.mark.parametrize(
    "differences", [[2.0, 2.0], [-2.0, -2.0], [0.0, 0.0, 0.0], [0.45, 0.45 + 1e-16], [1e-17, 3e-17]]
)
def test_seeds_that_agree_to_the_last_digit_decide_nothing_where_no_error_is_known(differences: list[float]):
    for found in (above_zero(differences, 0.1), equals_zero(differences, 0.1)):
        assert verdicts([found]) == [Verdict.UNKNOWN]
        assert math.isnan(found.low)
        assert math.isnan(found.high)


def test_a_tie_counts_among_the_tests_that_the_others_are_corrected_for():
    sure = above_zero([0.3, 0.5, 0.1, 0.4], 0.05)
    assert verdicts([sure]) == [Verdict.HOLDS]  # p = .016
    assert verdicts([sure, above_zero([1.0, 1.0], 0.05)]) == [Verdict.UNKNOWN, Verdict.UNKNOWN]


def test_the_noise_of_a_seeds_own_counts_is_a_floor_under_the_deviation_of_seeds():
    noise = [0.3, 0.4]
    tied = above_zero([2.0, 2.0], 0.1, noise)
    arm = stats.t.ppf(0.975, 1) * math.sqrt((0.3**2 + 0.4**2) / 2 / 2)
    assert (tied.low, tied.high) == pytest.approx((2 - arm, 2 + arm))
    scattered = above_zero([1.0, 3.0], 0.1, noise)
    assert scattered == above_zero([1.0, 3.0], 0.1)


def test_an_error_that_all_seeds_share_is_added_to_the_interval_with_the_quantile_of_its_own_degrees():
    found = above_zero([0.3, 0.5, 0.1, 0.4], 0.05, shared=0.1)
    of_seeds = stats.t.ppf(0.975, 3) * np.std([0.3, 0.5, 0.1, 0.4], ddof=1) / 2
    arm = math.hypot(of_seeds, stats.t.ppf(0.975, SHARED_DEGREES) * 0.1)
    assert (found.low, found.high) == pytest.approx((0.325 - arm, 0.325 + arm))
    alone = above_zero([0.2, 0.2], 0.05, shared=0.1)
    assert alone.holds == pytest.approx(stats.t.sf(2, SHARED_DEGREES))
    assert alone.fails == pytest.approx(stats.t.cdf(1.5, SHARED_DEGREES))


@given(
    st.lists(st.floats(-1, 1), min_size=2, max_size=6),
    st.floats(1e-3, 1),
    st.floats(-1, 1),
)
def test_p_is_the_level_whose_interval_just_reaches_the_bound(values: list[float], shared: float, bound: float):
    """Checked where p is neither 0 nor 1 to rounding: the p of shifted values against the interval at level p."""
    found = above_zero(np.array(values) - bound, 0.1, shared=shared)
    p = min(found.holds, 1 - found.holds)
    if 1e-9 < p < 0.4999:
        student, of_split = stats.t.isf(p, len(values) - 1), stats.t.isf(p, SHARED_DEGREES)
        reach = math.sqrt((student * found.deviation) ** 2 / len(values) + (of_split * shared) ** 2)
        assert reach == pytest.approx(abs(found.mean), rel=1e-6)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("level", [LEVEL, LEVEL / 8])
@pytest.mark.parametrize("ratio", [0.05, 0.2, 1, 5])
def test_with_an_error_that_all_seeds_share_what_is_false_is_no_oftener_said_to_hold_than_stated(
    seeds: int, level: float, ratio: float
):
    """The mean is 0, the shared error `ratio` times that of the seeds. At the level of one claim, and of eight."""
    draws = 200_000
    random = np.random.default_rng([seeds, round(level * 1e6), round(ratio * 100)])
    mean = random.normal(0, 1 / math.sqrt(seeds), draws) + random.normal(0, ratio / math.sqrt(seeds), draws)
    deviation = np.sqrt(random.chisquare(seeds - 1, draws) / (seeds - 1))
    shared = ratio * np.sqrt(random.chisquare(SHARED_DEGREES, draws) / SHARED_DEGREES)
    arms = stats.t.isf(level, seeds - 1) * deviation, stats.t.isf(level, SHARED_DEGREES) * shared
    wrong = np.mean(mean > np.hypot(*arms) / math.sqrt(seeds))
    assert wrong <= level + 3 * math.sqrt(level / draws)
    first = above_zero([0.0] + [0.1] * (seeds - 1), 0.05, shared=ratio)  # the code's arm is that of the formula above
    reach = math.hypot(
        stats.t.isf(LEVEL, seeds - 1) * first.deviation / math.sqrt(seeds), stats.t.isf(LEVEL, SHARED_DEGREES) * ratio
    )
    assert first.high - first.mean == pytest.approx(reach)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_of_claims_that_are_all_false_one_is_seldom_said_to_hold(seeds: int):
    """Eight claims, none of which is true: at most one study in forty says that any holds."""
    random = np.random.default_rng(seeds)
    wrong = 0
    for _ in range(DRAWS):
        found = verdicts([above_zero(row, 0.5) for row in random.normal(0, 1, (8, seeds))])
        wrong += Verdict.HOLDS in found
    assert wrong / DRAWS <= LEVEL + 3 * math.sqrt(LEVEL / DRAWS)


def test_a_difference_as_large_as_the_smallest_is_seldom_said_not_to_be():
    random = np.random.default_rng(1)
    wrong = sum(
        Verdict.NOT in verdicts([above_zero(row, 0.5) for row in random.normal(0.5, 1, (8, 5))]) for _ in range(DRAWS)
    )
    assert wrong / DRAWS <= LEVEL + 3 * math.sqrt(LEVEL / DRAWS)


def test_a_small_difference_that_is_well_measured_holds_or_does_not_and_one_that_is_not_stays_open():
    random = np.random.default_rng(2)
    assert verdicts([above_zero(random.normal(0, 0.01, 5), 0.5)]) == [Verdict.NOT]
    assert verdicts([above_zero(random.normal(1, 0.01, 5), 0.5)]) == [Verdict.HOLDS]
    assert verdicts([above_zero([-3.0, 3.5, 0.2], 0.5)]) == [Verdict.UNKNOWN]


@pytest.mark.parametrize("seeds", [3, 5])
def test_students_interval_holds_the_mean_as_often_as_it_says_where_a_bootstraps_does_not(seeds: int):
    random = np.random.default_rng(seeds)
    rows = random.normal(1, 1, (300, seeds))
    ours = np.mean([found.low <= 1 <= found.high for found in (above_zero(row, 0) for row in rows)])
    assert ours == pytest.approx(0.95, abs=0.04)
    held = 0
    for row in rows:
        low, high = stats.bootstrap(
            (row,), np.mean, vectorized=True, n_resamples=999, method="percentile", rng=random
        ).confidence_interval
        held += low <= 1 <= high
    assert held / len(rows) < 0.9


def test_the_seeds_said_to_be_needed_decide_four_times_in_five():
    found = above_zero(np.random.default_rng(3).normal(0.6, 1, 4), 0.1)
    needed, because = seeds_needed(found, claims=3)
    assert because is Open.FEW_SEEDS
    assert needed is not None
    random = np.random.default_rng(4)
    rows = random.normal(found.mean, found.deviation, (DRAWS, needed))
    p = stats.ttest_1samp(rows, 0, axis=1, alternative="greater").pvalue
    assert np.mean(p < LEVEL / 3) == pytest.approx(0.8, abs=0.05)


def test_where_no_number_of_seeds_would_decide_the_reason_is_named():
    assert seeds_needed(above_zero([1.0], 0.1), 2) == (None, Open.ONE_SEED)
    assert seeds_needed(above_zero([1.0, 1.0], 0.1), 2) == (None, Open.TIE)
    assert seeds_needed(above_zero([0.4, 0.6, 0.5], 0.1, shared=0.3), 2) == (None, Open.TEST_SPLIT)
    assert seeds_needed(above_zero([0.5, 0.5], 0.1, shared=0.3), 2) == (None, Open.TEST_SPLIT)
    assert seeds_needed(equals_zero([0.1, 0.3 + 1e-6], 0.2), 2) == (None, Open.THRESHOLD)


def test_the_seeds_said_to_be_needed_beside_a_shared_error_decide_four_times_in_five():
    found = above_zero([0.2, 0.9, 0.4, 0.9], 0.1, shared=0.1)
    needed, because = seeds_needed(found, claims=1)
    assert because is Open.FEW_SEEDS
    assert needed is not None
    random = np.random.default_rng(8)
    rows = random.normal(found.mean, found.deviation, (DRAWS, needed)) + random.normal(0, 0.1, (DRAWS, 1))
    decided = np.mean([above_zero(row, 0.1, shared=0.1).holds < LEVEL for row in rows])
    assert decided == pytest.approx(0.8, abs=0.06)


# equality, to within a margin


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.floats(0.05, 1))
def test_equality_holds_just_where_the_95_per_cent_interval_lies_within_the_margin(values: list[float], margin: float):
    found = equals_zero(values, margin)
    if found.deviation > 1e-6:
        below = stats.ttest_1samp(values, margin, alternative="less").pvalue
        above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
        assert found.holds == pytest.approx(max(below, above), abs=1e-9)
    inside = -margin < found.low and found.high < margin
    assert (verdicts([found]) == [Verdict.HOLDS]) == inside
    if verdicts([found]) == [Verdict.NOT]:
        assert found.low > margin or found.high < -margin


def test_no_difference_found_is_no_equality_and_a_sure_one_beyond_the_margin_is_none():
    assert verdicts([equals_zero([0.3, -0.4, 0.2], 0.1)]) == [Verdict.UNKNOWN]
    assert verdicts([equals_zero([0.02, -0.01, 0.01], 0.1)]) == [Verdict.HOLDS]
    assert verdicts([equals_zero([0.52, 0.49, 0.51], 0.1)]) == [Verdict.NOT]
    assert verdicts([equals_zero([-0.52, -0.49, -0.51], 0.1)]) == [Verdict.NOT]
    assert verdicts([equals_zero([0.0], 0.1)]) == [Verdict.UNKNOWN]
    assert verdicts([equals_zero([0.0, 1e-9], 0.1), equals_zero([0.1, 0.1], 0.1)]) == [Verdict.HOLDS, Verdict.UNKNOWN]


@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize(("mean", "margin", "never"), [(0.5, 0.5, "holds"), (0.5, 0.5, "fails"), (0.0, 1e-9, "fails")])
def test_of_equalities_at_the_edge_of_their_margin_one_is_seldom_decided_wrongly(
    seeds: int, mean: float, margin: float, never: str
):
    """At the margin neither answer is right; with hardly any margin nothing is beyond it on either side."""
    wanted = Verdict.HOLDS if never == "holds" else Verdict.NOT
    random = np.random.default_rng(seeds)
    wrong = sum(
        wanted in verdicts([equals_zero(row, margin) for row in random.normal(mean, 0.3, (8, seeds))])
        for _ in range(DRAWS)
    )
    assert wrong / DRAWS <= LEVEL + 3 * math.sqrt(LEVEL / DRAWS)


@pytest.mark.parametrize(("centre", "verdict"), [(0.05, Verdict.HOLDS), (0.6, Verdict.NOT)])
def test_the_seeds_said_to_be_needed_decide_an_equality_four_times_in_five(centre: float, verdict: Verdict):
    found = equals_zero([centre - 0.3, centre + 0.3, centre], 0.3)
    needed, _ = seeds_needed(found, claims=1)
    assert needed is not None
    rows = np.random.default_rng(5).normal(found.mean, found.deviation, (DRAWS, needed))
    decided = np.mean([verdicts([equals_zero(row, 0.3)]) == [verdict] for row in rows])
    assert decided == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("centre", [-0.1, 0.15])
def test_the_seeds_said_to_be_needed_deny_four_times_in_five_what_is_nearer_to_denial(centre: float):
    found = above_zero([centre - 0.4, centre + 0.4, centre], 0.5)
    needed, _ = seeds_needed(found, claims=1)
    assert needed is not None
    rows = np.random.default_rng(6).normal(found.mean, found.deviation, (DRAWS, needed))
    denied = np.mean([found.fails < LEVEL for found in (above_zero(row, 0.5) for row in rows)])
    assert denied == pytest.approx(0.8, abs=0.06)


# infinite differences, and a shared error that cannot be known


@pytest.mark.parametrize("finite", [[-0.03, -0.031, -0.029, -0.03], [0.3, 0.31, 0.29, 0.3]])
def test_a_seed_whose_difference_is_infinite_rules_out_the_verdict_that_it_speaks_against(finite: list[float]):
    up, down = above_zero([*finite, math.inf], 0.01), above_zero([*finite, -math.inf], 0.01)
    without = above_zero([*finite, max(finite)], 0.01)
    assert verdicts([up]) == [Verdict.HOLDS if finite[0] > 0 else Verdict.UNKNOWN]
    assert verdicts([down]) == [Verdict.NOT if finite[0] < 0 else Verdict.UNKNOWN]
    assert (up.mean, up.high, up.low, up.holds) == (math.inf, math.inf, without.low, without.holds)
    assert (down.mean, down.low) == (-math.inf, -math.inf)
    assert verdicts([above_zero([*finite, math.inf, -math.inf], 0.01)]) == [Verdict.UNKNOWN]
    assert verdicts([equals_zero([0.0, 0.001, -0.001, math.inf], 0.1)]) == [Verdict.UNKNOWN]
    assert seeds_needed(above_zero([-0.3, -0.31, math.inf], 0.01), 2) == (None, Open.INFINITE)


def test_where_all_differences_are_infinite_on_one_side_the_claim_is_decided():
    assert verdicts([above_zero([math.inf] * 2, 0.01)]) == [Verdict.HOLDS]
    assert verdicts([above_zero([-math.inf] * 2, 0.01)]) == [Verdict.NOT]
    assert verdicts([equals_zero([math.inf] * 2, 0.01)]) == [Verdict.NOT]
    assert verdicts([above_zero([math.inf, -math.inf], 0.01)]) == [Verdict.UNKNOWN]
    assert verdicts([above_zero([math.inf], 0.01)]) == [Verdict.UNKNOWN]


def test_a_shared_error_that_cannot_be_known_decides_nothing():
    found = above_zero([0.3, 0.31, 0.29], 0.01, shared=math.nan)
    assert verdicts([found]) == [Verdict.UNKNOWN]
    assert math.isnan(found.low)
    assert seeds_needed(found, 1) == (None, Open.TEST_SPLIT)


@pytest.mark.parametrize("blocks", [2, 3, 5, 10])
def test_a_small_test_split_is_wrong_no_more_often_than_stated(blocks: int):
    """Its error comes from as many batches as it has blocks, and has one degree of freedom less."""
    random, wrong = np.random.default_rng(blocks), 0
    for _ in range(400):
        losses = random.normal(0, 1, blocks)
        found = above_zero(losses.mean() + random.normal(0, 0.01, 3), 0.01, (), serial_error(losses), blocks - 1)
        wrong += found.holds < LEVEL
    assert wrong / 400 < LEVEL + 3 * math.sqrt(LEVEL / 400)


ANY = st.one_of(st.floats(-3, 3), st.sampled_from([math.inf, -math.inf, 0.0]))
ERROR = st.one_of(st.floats(0, 2), st.sampled_from([math.inf, math.nan, 0.0]))


@given(
    differences=st.lists(ANY, min_size=1, max_size=6),
    noise=st.lists(ERROR, max_size=3),
    shared=ERROR,
    degrees=st.integers(1, 100),
    test=st.sampled_from([above_zero, equals_zero]),
)
def test_whatever_a_study_measured_there_is_a_verdict_and_never_a_crash(
    differences: list[float], noise: list[float], shared: float, degrees: int, test: Callable[..., Estimate]
):
    found = test(differences, 0.01, noise, shared, degrees)
    for p in (found.holds, found.fails):
        assert math.isnan(p) == (len(differences) < 2) or 0 <= p <= 1
    if not math.isfinite(shared) and len(differences) > 1 and any(map(math.isfinite, differences)):
        assert verdicts([found]) == [Verdict.UNKNOWN]
    needed, why = seeds_needed(found, claims=3)
    assert needed is None or (needed >= 2 and why is Open.FEW_SEEDS)
