"""What of a synthetic set is passed on, against plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.families.language.selection import BLOCKS_AT_ONCE, GRAM, Selection, kept_as_new, kept_by_surprise


@given(st.lists(st.floats(0, 20), min_size=1, max_size=60), st.floats(0, 0.6), st.floats(0, 0.39))
def test_the_least_and_the_most_surprising_shares_are_dropped_and_no_others(surprise, least, most):
    values = np.array(surprise)
    kept = kept_by_surprise(values, least, most)
    below, above = round(least * len(values)), round(most * len(values))
    if below + above <= len(values):
        assert kept.sum() == len(values) - below - above
    in_order = np.sort(values)
    stays = in_order[below : len(values) - above]
    assert sorted(values[kept].tolist()) == stays.tolist()


def naive(blocks: np.ndarray, threshold: float) -> list[bool]:
    kept: list[set] = []
    answers = []
    for block in blocks.tolist():
        grams = {tuple(block[start : start + GRAM]) for start in range(len(block) - GRAM + 1)}
        new = all(len(grams & other) < threshold * len(grams | other) for other in kept)
        answers.append(new)
        if new:
            kept.append(grams)
    return answers


@given(
    st.integers(1, 40),
    st.integers(2, 4),
    st.integers(GRAM, 14),
    st.sampled_from([0.2, 0.5, 0.8, 1.0]),
    st.integers(0, 2**32),
)
def test_near_duplicates_are_found_as_by_comparing_all_pairs_of_sets(count, vocabulary, length, threshold, seed):
    blocks = np.random.default_rng(seed).integers(0, vocabulary, (count, length))
    assert kept_as_new(blocks, threshold).tolist() == naive(blocks, threshold)


def test_near_duplicates_are_found_across_the_parts_that_are_compared_together():
    random = np.random.default_rng(0)
    blocks = random.integers(0, 50, (2 * BLOCKS_AT_ONCE + 40, 12))
    copied = np.arange(0, len(blocks) - 7, 9)
    blocks[copied + 7] = blocks[copied]
    blocks[BLOCKS_AT_ONCE + 3 :: 31] = 1
    kept = kept_as_new(blocks, 0.8)
    assert kept.tolist() == naive(blocks, 0.8)
    assert 0 < (~kept).sum() < len(blocks)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), {}),
        (Selection(judge="own"), {}),  # without a filter there is nothing to judge
        (Selection(best_of=4), {"best_of": 4}),
        (Selection(drop_most_surprising=0.1, judge="own"), {"drop_most_surprising": 0.1, "judge": "own"}),
    ],
)
def test_only_what_is_asked_for_determines_a_set(selection, expected):
    assert selection.settings == expected
