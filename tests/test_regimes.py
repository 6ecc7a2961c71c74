"""What the next generation sees: index arithmetic that must hold for every family."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.regimes import FRESH, REAL, Regime, compose, gather


def draw(regime: Regime, sizes: list[int], seed: int = 0, reserve: int = 0):
    return compose(regime, sizes, np.random.default_rng(seed), reserve=reserve)


@given(st.integers(1, 200), st.floats(0, 1), st.integers(1, 6), st.integers(0, 2**32))
def test_replace_keeps_exactly_the_share_of_real_rows_asked_for(rows, fraction, generation, seed):
    composition = draw(Regime("replace", fraction), [rows] * (generation + 1), seed)
    assert (composition.source == REAL).sum() == round(fraction * rows)
    assert set(composition.source.tolist()) <= {REAL, generation - 1}
    assert composition.row.tolist() == list(range(rows))


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6))
def test_accumulate_trains_on_every_row_of_every_generation_once(sizes):
    composition = draw(Regime("accumulate"), sizes)
    pairs = set(zip(composition.source.tolist(), composition.row.tolist(), strict=True))
    assert pairs == {(source - 1, row) for source, size in enumerate(sizes) for row in range(size)}
    assert len(composition.row) == sum(sizes)


@given(st.integers(1, 50), st.integers(1, 6), st.integers(0, 2**32))
def test_subsample_draws_as_many_rows_as_the_real_data_has_and_none_twice(rows, generation, seed):
    composition = draw(Regime("subsample"), [rows] * (generation + 1), seed)
    pairs = list(zip(composition.source.tolist(), composition.row.tolist(), strict=True))
    assert len(pairs) == len(set(pairs)) == rows


def test_subsample_draws_evenly_from_the_pool_of_all_generations():
    sizes = [1000] * 5
    shares = np.mean(
        [[(draw(Regime("subsample"), sizes, seed).source == s).mean() for s in range(-1, 4)] for seed in range(200)],
        axis=0,
    )
    # hypergeometric: the standard error of a share over 200 draws of 1000 out of 5000 is about 0.0008
    assert np.allclose(shares, 0.2, atol=0.004)


@pytest.mark.parametrize("name", ["replace", "subsample", "accumulate"])
def test_generation_0_is_trained_on_the_real_data_in_order(name):
    composition = draw(Regime(name), [7])
    assert composition.source.tolist() == [REAL] * 7
    assert composition.row.tolist() == list(range(7))
    assert composition.weights(0) == (0.0, 0.0, 1.0)


def test_the_weights_are_the_papers_alpha_beta_gamma_and_sum_to_one():
    assert draw(Regime("replace", 0.1), [100] * 4).weights(3) == (0.9, 0.0, 0.1)
    assert draw(Regime("accumulate"), [100] * 4).weights(3) == (0.25, 0.5, 0.25)


def test_the_same_seed_draws_the_same_rows_and_another_seed_others():
    first, again, other = (draw(Regime("replace", 0.5), [100, 100], seed).source for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_gathering_takes_each_row_from_the_data_set_it_names():
    real, synthetic = np.arange(20).reshape(10, 2), -np.arange(20).reshape(10, 2)
    composition = draw(Regime("replace", 0.3), [10, 10])
    training = gather(composition, {REAL: real, 0: synthetic})
    expected = [
        (real if source == REAL else synthetic)[row]
        for source, row in zip(composition.source, composition.row, strict=True)
    ]
    assert (training == np.array(expected)).all()


@given(st.integers(1, 120), st.integers(1, 120), st.integers(1, 300), st.floats(0, 1), st.integers(0, 2**32))
def test_where_samples_are_more_or_fewer_than_rows_each_is_taken_as_often_as_any_other(
    real, samples, rows, share, seed
):
    random = np.random.default_rng(seed)
    if rows != real and round(share * rows) > real:
        with pytest.raises(ValueError, match="larger sample"):
            compose(Regime("replace", share), [real, samples], random, rows)
        return
    composition = compose(Regime("replace", share), [real, samples], random, rows)
    kept, written = (composition.row[composition.source == source] for source in (REAL, 0))
    assert (len(kept), len(composition.row)) == (round(share * rows), rows)
    assert len(set(kept.tolist())) == len(kept)
    if rows != samples and len(written):
        times = np.bincount(written, minlength=samples)
        assert times.max() - times.min() <= 1
    assert written.max(initial=0) < samples


@given(st.integers(1, 60), st.floats(0, 0.5), st.floats(0, 0.5), st.integers(1, 5), st.integers(0, 2**32))
def test_fresh_rows_are_real_ones_that_no_generation_has_seen(rows, kept, fresh, generations, seed):
    random, seen, count = np.random.default_rng(seed), [], round(fresh * rows)
    if count + round(kept * rows) > rows:
        return
    for generation in range(1, generations + 1):
        sizes = [rows] * (generation + 1)
        composition = compose(Regime("replace", kept, fresh), sizes, random, reserve=generations * count)
        new, written = composition.source == FRESH, composition.source == generation - 1
        assert new.sum() == count
        assert (composition.source == REAL).sum() == round(kept * rows)
        assert (composition.row[written] == np.flatnonzero(written)).all()
        assert composition.weights(generation)[2] == pytest.approx((count + round(kept * rows)) / rows)
        seen += composition.row[new].tolist()
    assert sorted(seen) == list(range(generations * count))


def test_a_reserve_that_is_used_up_is_an_error():
    with pytest.raises(ValueError, match="3 rows of the reserve are seen, 3 more are wanted, and it has 5"):
        draw(Regime("replace", 0.0, 0.3), [10] * 3, reserve=5)


def test_a_real_fraction_beyond_one_is_refused():
    with pytest.raises(ValueError, match="real_fraction"):
        Regime("replace", 1.5)
