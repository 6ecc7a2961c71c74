"""Which trials go on: held against Ray's ASHA for one objective, against the definition of fronts for several."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from components.sweep import pruning


@given(
    st.integers(1, 3),
    st.sampled_from([2, 3, 4]),
    st.lists(st.lists(st.floats(-3, 3), min_size=10, max_size=10), min_size=1, max_size=12),
)
def test_with_one_objective_the_trials_stopped_are_those_that_rays_asha_stops(grace, factor, curves):
    """One trial after the other, generations 1 to 9; both see the same reports."""
    last = 9
    oracle = ASHAScheduler(
        time_attr="generation", metric="collapse", mode="min", max_t=last, grace_period=grace, reduction_factor=factor
    )
    rungs = pruning.rungs(last, grace, factor)
    at: dict[int, list[list[float]]] = {rung: [] for rung in rungs}
    for number, curve in enumerate(curves):
        trial = SimpleNamespace(trial_id=str(number))
        oracle.on_trial_add(None, trial)
        for generation in range(1, last):
            decided = oracle.on_trial_result(None, trial, {"generation": generation, "collapse": curve[generation]})
            stopped = False
            if generation in rungs:
                stopped = pruning.hopeless([curve[generation]], at[generation], factor)
                at[generation].append([curve[generation]])
            assert stopped == (decided == TrialScheduler.STOP)
            if stopped:
                break


def test_rungs_are_the_grace_and_its_multiples_below_the_end():
    assert pruning.rungs(3, 1, 2) == [1, 2]
    assert pruning.rungs(9, 1, 3) == [1, 3]
    assert pruning.rungs(9, 2, 1.5) == [2, 3, 4, 7]
    assert pruning.rungs(1, 1, 2) == []


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=25))
def test_a_front_is_dominated_only_by_the_fronts_before_it(points):
    values = np.array(points, float)
    fronts = pruning.fronts(values)

    def dominated_by(one: int) -> set[int]:
        worse = (values <= values[one]).all(axis=1) & (values < values[one]).any(axis=1)
        return set(fronts[worse].tolist())

    for one, front in enumerate(fronts):
        assert max(dominated_by(one), default=-1) == front - 1


def test_a_trial_that_buys_less_collapse_with_more_real_data_is_not_hopeless():
    frontier = [[2.0, 0.0], [0.5, 100.0], [0.3, 300.0], [0.1, 900.0]]
    assert not any(pruning.hopeless(point, frontier[:place], 2) for place, point in enumerate(frontier))


def test_a_trial_that_many_beat_in_both_is():
    frontier = [[2.0, 0.0], [0.5, 100.0], [0.3, 300.0], [0.1, 900.0]]
    assert pruning.hopeless([2.1, 950.0], frontier, 2)


def test_a_collapse_without_end_is_stopped_by_any_that_has_one():
    assert pruning.hopeless([float("inf")], [[0.1], [0.2], [0.3]], 2)


def test_trials_that_diverged_before_do_not_let_every_other_one_pass():
    """A percentile between an infinite and a finite value is no number, and nothing is below that."""
    infinite = float("inf")
    assert pruning.hopeless([infinite], [[0.1], [infinite]], 2)
    assert pruning.hopeless([infinite, infinite], [[0.1, 5.0], [infinite, infinite], [0.2, 4.0]], 2)
    assert not pruning.hopeless([0.2], [[0.1], [infinite]], 2)
