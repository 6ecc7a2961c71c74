"""The sweep's statistics on synthetic curves whose answers are known."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.stats import t as student

from components.measures.risk import RISKS
from components.sweep import answers, curve, pruning

A, K, B, E0 = 2.0, 0.02, 0.3, 3.0

LANGUAGE = RISKS["language"]


def truth(fraction: np.ndarray | float, epochs: np.ndarray | float = E0) -> np.ndarray | float:
    return A * (np.asarray(epochs) / E0) ** B * (1 - np.asarray(fraction)) / np.sqrt(1 + np.asarray(fraction) / K)


def synthetic(seeds: int, noise: float, random: np.random.Generator, trials: int = 14) -> pd.DataFrame:
    """Trials with the same settings for every seed; epochs whose geometric mean is E0, so that a fit has the same e0."""
    fraction = np.concatenate([[0.0, 0.1], random.uniform(0, 1, trials - 2)])
    logs = random.uniform(-1, 1, trials)
    epochs = E0 * np.exp(logs - logs.mean())
    frames = []
    for seed in range(seeds):
        # A seed loses a little more or less than another one, everywhere; and every trial has its own chance.
        own = truth(fraction, epochs) * np.exp(noise * random.normal()) + noise * random.normal(size=trials)
        frames.append(
            pd.DataFrame(
                {"trial": range(trials), "seed": seed, "real_fraction": fraction, "epochs": epochs, "collapse": own}
            )
        )
    return pd.concat(frames, ignore_index=True)


def test_without_noise_the_curve_is_found_again():
    curves = curve.fit(synthetic(2, 0.0, np.random.default_rng(0)))
    assert curves.epochs == pytest.approx(E0)
    assert curves.without_real_data().value == pytest.approx(A, rel=1e-4)
    assert curves.gain(0.1).value == pytest.approx(A - truth(0.1), rel=1e-4)
    least = curves.least_fraction(0.2)
    assert truth(least.value) == pytest.approx(0.2, rel=1e-3)
    assert curves.doubling_epochs().value == pytest.approx(A * (2**B - 1), rel=1e-3)


@pytest.mark.parametrize(("seeds", "at_least"), [(2, 0.86), (3, 0.89), (5, 0.89)])
def test_the_intervals_hold_the_truth_about_as_often_as_they_say(seeds: int, at_least: float):
    """95 of 100 times with three seeds and more (a share of 150 has a standard error of 1.8 %), 90 with two: of how much
    seeds differ, two say little."""
    random = np.random.default_rng(seeds)
    least = brentq(lambda fraction: truth(fraction) - 0.2, 0, 1)
    expected = [A, A - truth(0.1), least, A * (2**B - 1)]
    held = np.zeros(4)
    for _ in range(150):
        found = curve.fit(synthetic(seeds, 0.03, random))
        estimates = [found.without_real_data(), found.gain(0.1), found.least_fraction(0.2), found.doubling_epochs()]
        held += [one.low <= value <= one.high for one, value in zip(estimates, expected, strict=True)]
    assert (held / 150 > at_least).all(), held / 150


def test_the_intervals_hold_the_truth_nearly_as_often_where_pruning_decides_who_ends():
    """By two objectives, after a generation in which three quarters of the loss are there; docs/decisions.md has the shares."""
    random = np.random.default_rng(11)
    expected, held = [A, A - truth(0.1)], np.zeros(2)
    for _ in range(100):
        runs = synthetic(3, 0.03, random, trials=24)
        means = runs.groupby("trial").agg(collapse=("collapse", "mean"), cost=("real_fraction", "mean"))
        rung = means.assign(collapse=0.75 * means["collapse"] + 0.03 * random.normal(size=24)).to_numpy()
        ended = [one for one in range(24) if not pruning.hopeless(rung[one], rung[:one].tolist(), 2)]
        assert 6 < len(ended) < 24
        survivors = runs[runs["trial"].isin(ended)]
        found = curve.fit(survivors)
        at = np.exp(
            np.log(survivors.drop_duplicates("trial")["epochs"]).mean()
        )  # the curve is given at the survivors' epochs
        scale = (at / E0) ** B
        estimates = [found.without_real_data(), found.gain(0.1)]
        held += [one.low <= value * scale <= one.high for one, value in zip(estimates, expected, strict=True)]
    assert (held / 100 >= 0.84).all(), held


def test_a_band_is_wider_with_fewer_seeds_and_holds_the_mean():
    few, many = (curve.fit(synthetic(seeds, 0.03, np.random.default_rng(1))).line() for seeds in (2, 12))
    for line in (few, many):
        assert (line["low"] <= line["mean"]).all()
        assert (line["mean"] <= line["high"]).all()
    assert (few["high"] - few["low"]).mean() > 1.5 * (many["high"] - many["low"]).mean()


def test_seeds_that_differ_in_height_alone_give_students_interval_over_them():
    runs = synthetic(3, 0.0, np.random.default_rng(2))
    heights = np.array([0.9, 1.0, 1.1])
    found = curve.fit(runs.assign(collapse=runs["collapse"] * heights[runs["seed"]]))
    assert found.heights == pytest.approx(heights)
    for estimate, value in ((found.without_real_data(), A), (found.gain(0.1), A - truth(0.1))):
        arm = student.ppf(0.975, 2) * value * 0.1 / np.sqrt(3)
        assert (estimate.low, estimate.high) == pytest.approx((value - arm, value + arm), rel=1e-3)


def test_trials_that_scatter_alone_give_the_regressions_interval():
    """Every seed the same: Student's, with as many degrees of freedom as trials are left over."""
    random = np.random.default_rng(5)
    runs = synthetic(1, 0.05, random, trials=12).drop(columns="epochs")
    found = curve.fit(pd.concat([runs, runs.assign(seed=1)]))
    freedom, spread = 12 - 2, np.sqrt(found.covariance[0, 0])
    arm = student.ppf(0.975, freedom) * spread * found.without_real_data().value
    assert found.without_real_data().high - found.without_real_data().value == pytest.approx(arm, rel=1e-3)


def test_one_seed_claims_nothing():
    curves = curve.fit(synthetic(1, 0.03, np.random.default_rng(0)))
    assert math.isnan(curves.gain(0.1).low)
    assert answers.answers(curves, LANGUAGE, 0.1, 4) == [
        "One seed gives no interval, so nothing is claimed here: give seeds=3."
    ]
    assert answers.numbers(curves, 0.1) == {}


def test_too_few_trials_give_no_curve():
    runs = synthetic(2, 0.0, np.random.default_rng(0), trials=3)
    assert curve.fit(runs) is None
    assert "too few trials of different real fractions" in answers.answers(None, LANGUAGE, 0.1, 4)[0]


def test_trials_that_went_beyond_all_numbers_are_left_out():
    runs = synthetic(2, 0.0, np.random.default_rng(0))
    broken = pd.DataFrame(
        {"trial": 99, "seed": [0, 1], "real_fraction": 0.5, "epochs": 3.0, "collapse": [np.inf, np.nan]}
    )
    assert curve.fit(pd.concat([runs, broken])).gain(0.1).value == pytest.approx(A - truth(0.1), rel=1e-3)


def test_no_collapse_at_all_gives_no_curve():
    runs = synthetic(2, 0.0, np.random.default_rng(0)).assign(collapse=-0.01)
    assert curve.fit(runs) is None


def test_where_the_threshold_is_never_passed_no_real_data_is_needed():
    assert curve.fit(synthetic(3, 0.0, np.random.default_rng(0))).least_fraction(5.0).value == 0


def test_the_answers_are_sentences_with_intervals_and_seeds():
    said = answers.answers(curve.fit(synthetic(3, 0.02, np.random.default_rng(3))), LANGUAGE, 0.2, 4)
    assert len(said) == 4
    assert said[1].startswith("Keeping 10% real data lowers that loss by 1.")
    assert all("95 % interval" in sentence and "3 seeds" in sentence for sentence in said)
    assert "test perplexity rises" in said[0]


def test_the_closing_table_has_the_least_real_fraction_with_its_interval():
    found = curve.fit(synthetic(3, 0.02, np.random.default_rng(3)))
    table, least = answers.table(found, 0.2), found.least_fraction(0.2)
    (row,) = table[table["what"].str.contains("least real fraction")].to_numpy().tolist()
    assert row[1:] == [f"{least.value:.3g}", f"{least.low:.3g} to {least.high:.3g}"]
    assert len(answers.table(None, 0.2)) == 0


def test_a_difference_whose_interval_holds_zero_is_called_no_finding():
    runs = synthetic(2, 0.0, np.random.default_rng(4))
    runs["collapse"] = truth(runs["real_fraction"]) + np.random.default_rng(4).normal(0, 0.05, len(runs))
    said = answers.answers(curve.fit(runs), LANGUAGE, 0.2, 4)
    assert "this is no finding" in said[3]


def test_where_epochs_were_not_searched_there_is_an_answer_for_everything_else():
    runs = synthetic(3, 0.02, np.random.default_rng(3)).assign(epochs=E0)
    for table in (runs, runs.drop(columns="epochs")):
        table = table.assign(collapse=truth(table["real_fraction"]) * (1 + 0.01 * table["seed"]))
        said = answers.answers(curve.fit(table), LANGUAGE, 0.2, 4)
        assert len(said) == 3
        assert not any("epochs" in sentence for sentence in said)
        assert not any("epochs" in name for name in answers.numbers(curve.fit(table), 0.2))


def test_the_same_chains_again_tell_nothing_more():
    runs = synthetic(3, 0.05, np.random.default_rng(6))
    again = pd.concat([runs.assign(trial=runs["trial"] + 100 * copy) for copy in range(5)])
    once, often = curve.fit(runs), curve.fit(again)
    assert often.trials == once.trials == 14
    assert often.gain(0.1) == once.gain(0.1)


def test_without_two_fractions_below_one_nothing_says_where_the_curve_bends():
    runs = synthetic(3, 0.0, np.random.default_rng(0))
    ends = runs.assign(real_fraction=np.where(runs["trial"] % 2, 1.0, 0.0))
    ends["collapse"] = truth(ends["real_fraction"], ends["epochs"])
    assert curve.fit(ends) is None


def test_a_choice_without_epochs_of_its_own_is_left_out():
    runs = synthetic(2, 0.0, np.random.default_rng(0))
    unset = pd.DataFrame({"trial": 99, "seed": [0, 1], "real_fraction": 0.5, "epochs": np.nan, "collapse": 9.0})
    assert curve.fit(pd.concat([runs, unset])).trials == 14


def test_the_least_fractions_interval_is_where_the_bands_edges_cross_the_threshold():
    found = curve.fit(synthetic(3, 0.05, np.random.default_rng(7)))
    line, least = found.line(), found.least_fraction(0.3)
    for edge, end in (("low", least.low), ("mean", least.value), ("high", least.high)):
        assert np.interp(end, line["real_fraction"], line[edge]) == pytest.approx(0.3, abs=0.01)
    just_above = found.without_real_data().value * 1.001
    assert found.least_fraction(just_above).value == 0
    assert found.least_fraction(just_above).high > 0  # it may well be passed


def test_an_answer_says_why_there_is_no_curve():
    assert "was not searched" in answers.answers(None, LANGUAGE, 0.1, 4, searched=False)[0]
    assert "nothing collapsed" in answers.answers(None, LANGUAGE, 0.1, 4)[0]


def test_trials_that_lose_without_bound_are_no_part_of_the_curve_and_are_named():
    ends = pd.DataFrame(
        [(0, 0, 0.0, math.inf), (0, 1, 0.0, 1.0), (1, 0, 0.25, 0.5), (1, 1, 0.25, 0.4)],
        columns=["trial", "seed", "real_fraction", "collapse"],
    )
    assert answers.left_out(ends) == [
        "The curve leaves out trial 0 (real fraction 0, seed 0): the collapse there is infinite."
    ]
    assert answers.left_out(ends[ends["trial"] == 1]) == []
