"""The measures of tails against counting with Python's own containers, against scipy, and against laws they should find."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize, stats

from components.measures.tails import SMOOTHING, kl_to_real, rare_token_mass, rare_tokens, zipf_exponent
from tests.test_measures import ngrams

ids = hnp.arrays(np.int32, st.tuples(st.integers(0, 8), st.just(9)), elements=st.integers(0, 5))


@settings(max_examples=200)
@given(real=ids, mass=st.floats(0, 1))
def test_rare_tokens_are_the_most_that_together_stay_within_the_mass_and_none_is_more_frequent_than_another_that_is_not(
    real: np.ndarray, mass: float
):
    counts = Counter(real.ravel().tolist())
    rare = set(rare_tokens(real, mass).tolist())
    assert sum(counts[token] for token in rare) <= mass * real.size
    common = set(counts) - rare
    if common:
        next_one = min(counts[token] for token in common)
        assert all(counts[token] <= next_one for token in rare)
        assert sum(counts[token] for token in rare) + next_one > mass * real.size


def test_the_real_data_has_its_own_rare_mass_and_a_set_without_its_tail_has_none():
    real = np.repeat(np.arange(100), np.arange(1, 101))
    assert rare_token_mass(real, real) == pytest.approx(0.01, abs=0.002)
    assert rare_token_mass(real, real) <= 0.01
    assert rare_token_mass(np.full(50, 99), real) == 0
    assert math.isnan(rare_token_mass(np.empty(0, int), real))


@settings(max_examples=200)
@given(synthetic=ids, real=ids, n=st.integers(1, 3))
def test_kl_to_the_real_data_equals_counting_tuples(synthetic: np.ndarray, real: np.ndarray, n: int):
    p, q = (Counter(gram for row in blocks for gram in ngrams(row, n)) for blocks in (real, synthetic))
    found = kl_to_real(synthetic, real, n)
    if not p or not q:
        assert math.isnan(found)
        return
    both = sorted(set(p) | set(q))
    smoothed = [np.array([counted[gram] + SMOOTHING for gram in both]) for counted in (p, q)]
    assert found == pytest.approx(stats.entropy(*smoothed), abs=1e-12)  # which normalises them


def test_kl_is_none_for_the_same_counts_and_grows_as_types_are_lost():
    real = np.tile(np.arange(16), (4, 1))
    lost = [np.minimum(real, last) for last in (15, 11, 7, 3)]
    values = [kl_to_real(each, real, 1) for each in lost]
    assert values[0] == pytest.approx(0)
    assert values == sorted(values)
    assert values[-1] > 1


def test_sequences_of_two_lengths_are_not_compared():
    with pytest.raises(ValueError, match="one length"):
        kl_to_real(np.zeros((1, 4), int), np.zeros((1, 5), int), 1)


@settings(max_examples=50)
@given(counts=st.lists(st.integers(1, 1000), min_size=2, max_size=40).filter(lambda found: len(set(found)) > 1))
def test_zipfs_exponent_is_where_the_likelihood_is_greatest(counts: list[int]):
    tokens = np.repeat(np.arange(len(counts)), counts)
    ordered = np.array(sorted(counts, reverse=True))

    def surprise(s: float) -> float:
        weights = np.arange(1, len(counts) + 1) ** -s
        return -float(ordered @ np.log(weights / weights.sum()))

    expected = optimize.minimize_scalar(surprise, bounds=(-1, 20), method="bounded", options={"xatol": 1e-9})
    assert zipf_exponent(tokens).exponent == pytest.approx(expected.x, abs=1e-4)


@pytest.mark.parametrize("exponent", [0.7, 1.0, 1.5])
def test_zipfs_interval_holds_the_exponent_of_independent_tokens_about_as_often_as_it_says(exponent: float):
    """Few ranks and many tokens, so that the ranks are known."""
    weights = np.arange(1, 31) ** -exponent
    random = np.random.default_rng(0)
    found = [zipf_exponent(random.choice(30, 20_000, p=weights / weights.sum())) for _ in range(200)]
    held = np.mean([one.low <= exponent <= one.high for one in found])
    assert 0.9 <= held <= 1
    assert np.mean([one.exponent for one in found]) == pytest.approx(exponent, abs=0.01)


def test_one_kind_of_token_has_no_exponent():
    assert math.isnan(zipf_exponent(np.zeros(10, int)).exponent)
