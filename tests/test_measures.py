"""The diversity measures against counting with Python's own containers, and against values known by hand."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from components.measures.calibration import expected_calibration_error
from components.measures.diversity import (
    compression_ratio,
    distinct_n,
    distinct_n_per_sequence,
    ngram_entropy,
    repetition_4,
    self_bleu,
    share_found,
    vocabulary_coverage,
)
from components.measures.errors import share_in_blocks
from components.measures.modes import distinct_modes, distinct_modes_error, find_modes
from components.measures.spread import QUANTILES, spread
from components.measures.tails import rare_token_mass

small_ids = st.integers(0, 3)
any_ids = st.integers(0, 2**31 - 1)
blocks_of_ids = st.sampled_from([small_ids, any_ids, small_ids | any_ids]).flatmap(
    lambda ids: hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=ids)
)


def ngrams(sequence: np.ndarray, n: int) -> list[tuple[int, ...]]:
    tokens = sequence.tolist()
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


@settings(max_examples=200)
@given(blocks=blocks_of_ids, n=st.integers(1, 7))
def test_distinct_n_equals_counting_tuples(blocks: np.ndarray, n: int) -> None:
    counted = Counter(ngram for sequence in blocks for ngram in ngrams(sequence, n))
    expected = len(counted) / counted.total() if counted else math.nan
    assert distinct_n(blocks, n) == pytest.approx(expected, nan_ok=True)


@settings(max_examples=200)
@given(blocks=blocks_of_ids)
def test_repetition_4_equals_remembering_what_was_seen(blocks: np.ndarray) -> None:
    shares = []
    for sequence in blocks:
        seen: set[tuple[int, ...]] = set()
        repeats = 0
        for ngram in ngrams(sequence, 4):
            repeats += ngram in seen
            seen.add(ngram)
        shares.append(repeats / (len(sequence) - 3) if len(sequence) >= 4 else math.nan)
    assert repetition_4(blocks) == pytest.approx(float(np.mean(shares)), nan_ok=True)


@settings(max_examples=100)
@given(synthetic=blocks_of_ids, real=blocks_of_ids)
def test_vocabulary_coverage_equals_intersecting_sets(synthetic: np.ndarray, real: np.ndarray) -> None:
    known = set(real.ravel().tolist())
    assert vocabulary_coverage(synthetic, real) == pytest.approx(
        len(known & set(synthetic.ravel().tolist())) / len(known)
    )


def test_ngrams_do_not_cross_from_one_sequence_to_the_next() -> None:
    blocks = np.array([[1, 2], [2, 1], [1, 2]], dtype=np.int32)
    assert distinct_n(blocks, 2) == pytest.approx(2 / 3)  # flattened, (2, 2) and (1, 1) would be counted too


def test_a_phrase_said_over_and_over_counts_as_repetition_and_one_said_by_every_sequence_does_not() -> None:
    phrase = np.tile(np.array([5, 6, 7, 8], dtype=np.int32), 16)
    assert repetition_4(np.stack([phrase] * 3)) == pytest.approx(
        57 / 61
    )  # 61 4-grams in 64 tokens, 4 of them different
    everyone_says_the_same = np.stack([np.arange(64, dtype=np.int32)] * 100)
    assert repetition_4(everyone_says_the_same) == 0
    assert distinct_n(everyone_says_the_same, 3) == pytest.approx(1 / 100)


def test_ngrams_of_the_largest_ids_do_not_collide() -> None:
    largest = 2**31 - 1
    blocks = np.array([[0, 0, 0, 0, largest], [largest, 0, 0, 0, 0], [0, largest, 0, 0, 0]], dtype=np.int32)
    assert distinct_n(blocks, 5) == 1


def test_sequences_too_short_for_an_ngram_give_nan() -> None:
    short = np.ones((3, 2), dtype=np.int32)
    assert math.isnan(distinct_n(short, 3))
    assert math.isnan(repetition_4(short))
    assert math.isnan(distinct_n(np.empty((0, 64), dtype=np.int32), 1))
    assert math.isnan(vocabulary_coverage(short, short[:0]))


def test_padding_ids_and_flat_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="-100"):
        distinct_n(np.array([[1, -100]]), 1)
    with pytest.raises(ValueError, match="shape"):
        repetition_4(np.arange(64))


def test_measuring_leaves_the_blocks_as_they_were() -> None:
    blocks = np.random.default_rng(0).integers(0, 9, (20, 12), dtype=np.int32)
    before = blocks.copy()
    distinct_n(blocks, 4), repetition_4(blocks), vocabulary_coverage(blocks, blocks)
    np.testing.assert_array_equal(blocks, before)


@pytest.mark.parametrize("count", [1, 2, 3, 500])
def test_the_spread_over_chains_has_numpys_mean_and_quantiles(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    numbers = spread("error", values)
    assert numbers.pop("error/mean") == pytest.approx(values.mean())
    expected = {f"error/{name}": np.quantile(values, quantile) for name, quantile in QUANTILES.items()}
    assert numbers == pytest.approx(expected)


@settings(max_examples=200)
@given(blocks=blocks_of_ids, n=st.integers(1, 5))
def test_distinct_n_per_sequence_is_the_mean_of_counting_each(blocks: np.ndarray, n: int) -> None:
    shares = [len(set(found)) / len(found) for row in blocks if (found := ngrams(row, n))]
    expected = float(np.mean(shares)) if shares else math.nan
    assert distinct_n_per_sequence(blocks, n) == pytest.approx(expected, nan_ok=True)


@settings(max_examples=200)
@given(blocks=blocks_of_ids, n=st.integers(1, 5))
def test_the_entropy_of_ngrams_is_scipys_of_their_counts_and_its_error_that_of_leaving_each_sequence_out(
    blocks: np.ndarray, n: int
) -> None:
    def entropy(rows: np.ndarray) -> float:
        counted = Counter(ngram for sequence in rows for ngram in ngrams(sequence, n))
        return float(stats.entropy(list(counted.values()))) if counted else math.nan

    found, count = ngram_entropy(blocks, n), len(blocks)
    assert found.value == pytest.approx(entropy(blocks), nan_ok=True, abs=1e-12)
    left_out = np.array([entropy(np.delete(blocks, row, axis=0)) for row in range(count)])
    expected = np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum()) if count > 1 else math.nan
    assert found.error == pytest.approx(expected, nan_ok=True, abs=1e-9)


def by_topics(blocks: int, random: np.random.Generator, alike: int = 1) -> np.ndarray:
    """Text-like blocks: frequencies that fall as Zipf's, and one topic for so many neighbouring blocks."""
    weights = 1 / np.arange(1, 3001)
    tokens = random.choice(3000, (blocks, 64), p=weights / weights.sum())
    topic = np.repeat(random.integers(0, 40, (blocks // alike, 1)), alike, axis=0)
    return np.where(random.uniform(size=tokens.shape) < 0.5, tokens, 3000 + topic * 50 + tokens % 50)


@pytest.mark.parametrize("count", [64, 200])
def test_the_standard_errors_are_the_deviation_of_sets_that_are_drawn_again(count: int) -> None:
    random = np.random.default_rng(0)
    real = by_topics(400, random)
    sets = [by_topics(count, random) for _ in range(300)]
    for measure in (
        lambda blocks: ngram_entropy(blocks, 1),
        lambda blocks: ngram_entropy(blocks, 2),
        lambda blocks: rare_token_mass(blocks, real, 0.05),
    ):
        found = [measure(blocks) for blocks in sets]
        deviation = np.std([one.value for one in found], ddof=1)
        assert 0.9 < np.mean([one.error for one in found]) / deviation < 1.3  # a jackknife errs on the large side


def test_neighbours_that_speak_of_one_thing_widen_the_standard_errors() -> None:
    random = np.random.default_rng(0)
    real = by_topics(400, random)
    sets = [by_topics(400, random, alike=8) for _ in range(200)]
    for measure in (lambda blocks: ngram_entropy(blocks, 1), lambda blocks: rare_token_mass(blocks, real, 0.05)):
        found = [measure(blocks) for blocks in sets]
        deviation = np.std([one.value for one in found], ddof=1)
        assert 0.85 < np.mean([one.error for one in found]) / deviation < 1.3


def test_the_error_of_a_share_is_that_of_a_mean_over_blocks() -> None:
    counted = np.repeat(np.array([[True], [False], [True], [True]]), 50, axis=1)  # four blocks are four draws, not 200
    found = share_in_blocks(counted)
    assert found.value == 0.75
    assert found.error == pytest.approx(0.25)
    assert math.isnan(share_in_blocks(counted[:1]).error)
    assert math.isnan(share_in_blocks(counted[:0]).value)


@settings(max_examples=200)
@given(
    pair=st.integers(1, 9).flatmap(lambda width: st.tuples(*[hnp.arrays(np.int32, (3, width), elements=small_ids)] * 2))
)
def test_what_was_copied_is_what_a_set_of_tuples_holds(pair: tuple[np.ndarray, np.ndarray]) -> None:
    synthetic, reference = pair
    known = {ngram for row in reference for ngram in ngrams(row, 3)}
    own = [ngram for row in synthetic for ngram in ngrams(row, 3)]
    expected = float(np.mean([ngram in known for ngram in own])) if own else math.nan
    assert share_found(synthetic, reference, 3) == pytest.approx(expected, nan_ok=True)


def test_text_that_repeats_itself_compresses_more_and_the_ratio_is_bytes_over_bytes() -> None:
    random = np.random.default_rng(0)
    noise = ["".join("abcdefghijklmnop"[letter] for letter in random.integers(0, 16, 60)) for _ in range(200)]
    assert 1.6 < compression_ratio(noise) < 2  # letters that cannot be foreseen: four bits each at best
    assert compression_ratio([noise[0]] * 200) > 50
    assert math.isnan(compression_ratio([]))


# self-BLEU


def bleu(text: list[str], references: list[list[str]]) -> float:
    """Papineni et al. 2002 with effective order and exponential smoothing (Chen and Cherry 2014, method 3), counted plainly."""
    logs, halvings = [], 0
    for n in range(1, 5):
        own = Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))
        if not own:
            break
        known: Counter[tuple[str, ...]] = Counter()
        for other in references:
            known |= Counter(tuple(other[i : i + n]) for i in range(len(other) - n + 1))
        found = (own & known).total()
        if n == 1 and not found:
            return 0.0
        halvings += not found
        logs.append(math.log(found / own.total() if found else 0.5**halvings / own.total()))
    closest = min((abs(len(other) - len(text)), len(other)) for other in references)[1]
    return math.exp(sum(logs) / len(logs) + min(0, 1 - closest / len(text)))


words = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(words, min_size=2, max_size=6))
def test_self_bleu_is_the_mean_of_each_text_against_the_others(texts: list[list[str]]) -> None:
    expected = [bleu(text, texts[:i] + texts[i + 1 :]) for i, text in enumerate(texts)]
    assert self_bleu([" ".join(text) for text in texts]) == pytest.approx(float(np.mean(expected)), abs=1e-9)


def test_self_bleu_compares_a_sample_that_lies_evenly_over_the_texts() -> None:
    same, others = (
        "one and the same text here",
        [" ".join("abcdefghij"[(i * j) % 10] for j in range(9)) for i in range(7)],
    )
    texts = [same if i % 10 == 0 else others[i % 7] for i in range(631)]
    assert self_bleu(texts) == pytest.approx(1)  # of 631 every tenth is looked at
    assert math.isnan(self_bleu([same]))
    assert math.isnan(self_bleu([]))


# calibration


def test_the_calibration_error_is_that_of_counting_bin_by_bin() -> None:
    random = np.random.default_rng(0)
    confidence, correct = random.uniform(0, 1, (40, 25)).astype(np.float32), random.integers(0, 2, (40, 25))
    expected, flat = 0.0, list(zip(confidence.ravel().tolist(), correct.ravel().tolist(), strict=True))
    for low in range(15):
        inside = [(sure, right) for sure, right in flat if low / 15 < sure <= (low + 1) / 15]
        if inside:
            gap = np.mean([right for _, right in inside]) - np.mean([sure for sure, _ in inside])
            expected += len(inside) / len(flat) * abs(gap)
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected)


def test_a_model_that_is_right_as_often_as_it_says_is_calibrated_and_one_that_is_too_sure_is_not() -> None:
    random = np.random.default_rng(1)
    sure = random.uniform(0, 1, 200_000)
    right = random.uniform(0, 1, sure.size) < sure
    assert expected_calibration_error(sure, right) == pytest.approx(0, abs=0.01)
    assert expected_calibration_error((1 + sure) / 2, right) == pytest.approx(0.25, abs=0.01)
    assert expected_calibration_error(np.array([0.0, 1.0]), np.array([0, 1])) == 0
    assert math.isnan(expected_calibration_error(np.empty(0), np.empty(0)))


# modes


def balls(centres: np.ndarray, each: int, seed: int = 0) -> np.ndarray:
    return np.repeat(centres, each, axis=0) + np.random.default_rng(seed).normal(0, 0.05, (len(centres) * each, 2))


CORNERS = np.array([[0.0, 0.0], [1, 0], [0, 1], [1, 1]])


def test_as_many_modes_are_told_apart_as_points_lie_in() -> None:
    modes = find_modes(balls(CORNERS, 50), 4)
    for count in (1, 2, 3, 4):
        assert distinct_modes(balls(CORNERS[:count], 30, seed=1), modes) == pytest.approx(count, abs=0.01)


def test_modes_that_entangle_are_told_apart_no_longer() -> None:
    modes, real = find_modes(balls(CORNERS, 50), 4), balls(CORNERS, 50, seed=1)
    nearer = [distinct_modes((1 - share) * real + share * 0.5, modes) for share in (0, 0.8, 0.9, 0.97, 1)]
    assert nearer == sorted(nearer, reverse=True)
    assert nearer[0] == pytest.approx(4, abs=0.01)
    assert nearer[-1] == pytest.approx(1, abs=0.01)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_the_error_of_the_number_of_modes_is_that_of_many_sets() -> None:
    random = np.random.default_rng(0)
    modes = find_modes(balls(CORNERS, 50), 4)
    sets = [random.normal(0, 1, (200, 2)) * 3 for _ in range(300)]
    errors = np.mean([distinct_modes_error(points, modes) for points in sets])
    assert errors == pytest.approx(np.std([distinct_modes(points, modes) for points in sets]), rel=0.15)
    assert np.isnan(distinct_modes_error(np.empty((0, 2)), modes))


def test_modes_are_found_in_few_points_and_in_equal_ones_and_the_same_ones_every_time() -> None:
    assert len(find_modes(balls(CORNERS, 1), 10).centres) == 2
    assert distinct_modes(np.zeros((3, 2)), find_modes(np.zeros((5, 2)))) == pytest.approx(1)
    once, again = (find_modes(balls(CORNERS, 50), 7) for _ in range(2))
    np.testing.assert_array_equal(once.centres, again.centres)
    assert math.isnan(distinct_modes(np.empty((0, 2)), once))
