"""The measures of tails against counting with Python's own containers, against scipy, and against laws they should find."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize, stats

from components.measures.tails import (
    SKEW,
    kl_to_real,
    quantile,
    rare_token_mass,
    rare_tokens,
    share_beyond,
    zipf_exponent,
)
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
    real = np.repeat(np.arange(100), np.arange(1, 101)).reshape(50, 101)
    assert rare_token_mass(real, real).value == pytest.approx(0.01, abs=0.002)
    assert rare_token_mass(real, real).value <= 0.01
    assert rare_token_mass(np.full((5, 10), 99), real).value == 0
    assert math.isnan(rare_token_mass(np.empty((0, 9), int), real).value)


def zipfian(blocks: int, random: np.random.Generator, entries: int = 20_000) -> np.ndarray:
    """Blocks of 64 independent tokens whose frequencies fall as text's do."""
    weights = 1 / np.arange(1, entries + 1)
    return random.choice(entries, (blocks, 64), p=weights / weights.sum())


def test_fresh_real_text_has_less_rare_mass_than_its_reference_and_less_the_smaller_that_is():
    """WikiText-2 has 0.0021 beside 512 blocks of it and 0.0152 beside 19,000: only held-out text says what there is to lose."""
    random = np.random.default_rng(0)
    fresh = zipfian(256, random)
    found = [rare_token_mass(fresh, zipfian(size, random)).value for size in (64, 512, 8000)]
    assert found == sorted(found)
    assert found[0] < found[2] / 3


@settings(max_examples=200)
@given(blocks=ids, real=ids, n=st.integers(1, 3), separator=st.none() | st.integers(0, 5))
def test_kl_to_the_real_data_equals_counting_tuples_without_separators(blocks, real, n, separator):
    p, q = (
        Counter(gram for row in part for gram in ngrams(row, n) if separator not in gram) for part in (real, blocks)
    )
    found = kl_to_real(blocks, real, n, separator)
    if not p or not q:
        assert math.isnan(found)
        return
    of_real, of_blocks = (
        np.array([counted[gram] / counted.total() for gram in sorted(set(p) | set(q))]) for counted in (p, q)
    )
    expected = stats.entropy(of_real, (1 - SKEW) * of_blocks + SKEW * of_real)
    assert found == pytest.approx(expected, abs=1e-12)
    assert -1e-12 <= found <= -np.log(SKEW) + 1e-12


@settings(max_examples=200)
@given(blocks=ids.filter(lambda found: len(found) > 1), real=ids.filter(len), n=st.integers(1, 2))
def test_without_one_of_its_blocks_a_set_is_on_average_no_nearer_to_the_real_data(blocks, real, n):
    """Convexity, for any text at all; by induction no smaller set is nearer."""
    fewer = [kl_to_real(np.delete(blocks, row, axis=0), real, n) for row in range(len(blocks))]
    assert np.mean(fewer) >= kl_to_real(blocks, real, n) - 1e-12


def half_counts(blocks: np.ndarray, real: np.ndarray) -> float:
    """KL(real || blocks) with half a count more for every token that either has."""
    kinds = np.unique(np.concatenate([blocks, real]))
    smoothed = [
        np.bincount(np.searchsorted(kinds, part.ravel()), minlength=len(kinds)) + 0.5 for part in (real, blocks)
    ]
    return float(stats.entropy(*smoothed))


@pytest.mark.parametrize("kept", [20_000, 300, 20])
def test_fewer_blocks_of_the_same_text_never_look_nearer_to_the_real_data_which_half_counts_made_them(kept: int):
    """Text that is as real text is, and text of its most frequent tokens alone."""
    random = np.random.default_rng(0)
    real, text = zipfian(512, random), zipfian(2048, random) % kept
    sizes = (25, 128, 512, 2048)
    found = [np.mean([kl_to_real(_some(text, size, random), real, 1) for _ in range(20)]) for size in sizes]
    assert all(fewer >= more - 1e-3 for fewer, more in pairwise(found))
    if kept < 20_000:
        few, many = (half_counts(_some(text, size, random), real) for size in (25, 512))
        assert few < many / 1.5


def _some(blocks: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    return blocks[random.choice(len(blocks), size, replace=False)]


def test_a_separator_that_only_real_text_holds_moves_kl_unless_it_is_left_out():
    random = np.random.default_rng(0)
    real, blocks = zipfian(512, random) + 1, zipfian(512, random) + 1
    marked = np.where(random.uniform(size=real.shape) < 0.03, 0, real)
    for n in (1, 2):
        clean, counted, left_out = (kl_to_real(blocks, *given) for given in ((real, n), (marked, n), (marked, n, 0)))
        assert counted > clean + 0.05
        assert left_out == pytest.approx(clean, abs=0.03)


def test_kl_is_none_for_the_same_counts_and_grows_as_types_are_lost():
    real = np.tile(np.arange(16), (4, 1))
    lost = [np.minimum(real, last) for last in (15, 11, 7, 3)]
    values = [kl_to_real(each, real, 1) for each in lost]
    assert values[0] == pytest.approx(0)
    assert values == sorted(values)
    assert values[-1] > 1


@pytest.mark.parametrize("size", [120, 170, 4000])
def test_of_fresh_real_text_one_in_a_hundred_lies_beyond_the_99th_percentile_whatever_its_number(size: int):
    """numpy's own percentile leaves more beyond it, the fewer the values are."""
    random = np.random.default_rng(0)
    beyond, by_numpy = [], []
    for _ in range(600):
        real, fresh = random.lognormal(size=size), random.lognormal(size=1000)
        beyond.append(share_beyond(fresh, real))
        by_numpy.append((fresh > np.quantile(real, 0.99)).mean())
    deviation = np.std(beyond) / np.sqrt(len(beyond))
    assert np.mean(beyond) == pytest.approx(0.01, abs=4 * deviation)
    if size < 4000:
        assert np.mean(by_numpy) > 0.01 + 6 * deviation


def test_a_quantile_of_few_values_is_the_largest_and_of_none_is_nan():
    assert quantile(np.arange(50.0), 0.99) == 49
    assert quantile(np.arange(99.0), 0.5) == 49
    assert math.isnan(quantile(np.empty(0), 0.5))


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
