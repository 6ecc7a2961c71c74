"""The sweep's statistics on synthetic curves whose answers are known."""

import math

import numpy as np
import pandas as pd
import pytest

from components.sweep import answers, curve
from components.sweep.objectives import MEASURES

A, K, B, E0 = 2.0, 0.06, 0.3, 3.0
LANGUAGE = MEASURES["language"]


def truth(fraction: np.ndarray | float, epochs: np.ndarray | float = E0) -> np.ndarray | float:
    return A * (np.asarray(epochs) / E0) ** B * (1 - np.asarray(fraction)) / (1 + np.asarray(fraction) / K)


def synthetic(seeds: int, noise: float, random: np.random.Generator, trials: int = 14) -> pd.DataFrame:
    """Trials with the same settings for every seed; epochs whose geometric mean is E0, so that a fit has the same e0."""
    fraction = np.concatenate([[0.0, 0.1], random.uniform(0, 1, trials - 2)])
    logs = random.uniform(-1, 1, trials)
    epochs = E0 * np.exp(logs - logs.mean())
    frames = []
    for seed in range(seeds):
        # A seed loses a little more or less than another one, everywhere; and every trial has its own chance.
        own = truth(fraction, epochs) * np.exp(noise * random.normal()) + noise * random.normal(size=trials)
        frames.append(pd.DataFrame({"seed": seed, "real_fraction": fraction, "epochs": epochs, "collapse": own}))
    return pd.concat(frames, ignore_index=True)


def test_without_noise_the_curve_is_found_again():
    curves = curve.fit(synthetic(2, 0.0, np.random.default_rng(0)))
    assert curves.epochs == pytest.approx(E0)
    assert curves.without_real_data().value == pytest.approx(A, rel=1e-4)
    assert curves.gain(0.1).value == pytest.approx(A - truth(0.1), rel=1e-4)
    least = curves.least_fraction(0.2)
    assert truth(least.value) == pytest.approx(0.2, rel=1e-3)
    assert curves.doubling_epochs().value == pytest.approx(A * (2**B - 1), rel=1e-3)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_intervals_hold_the_truth_as_often_as_they_say(seeds):
    """95 of 100 times, for each of the three answers; 200 sweeps, so a share has a standard error of 1.5 %."""
    random = np.random.default_rng(seeds)
    least = (A - 0.2) / (A + 0.2 / K)
    held = np.zeros(3)
    for _ in range(200):
        curves = curve.fit(synthetic(seeds, 0.03, random))
        for place, (estimate, value) in enumerate(
            [
                (curves.without_real_data(), A),
                (curves.gain(0.1), A - truth(0.1)),
                (curves.least_fraction(0.2), least),
            ]
        ):
            held[place] += estimate.low <= value <= estimate.high
    assert (held / 200 > 0.89).all(), held / 200


def test_a_band_is_wider_with_fewer_seeds_and_holds_the_mean():
    few, many = (curve.fit(synthetic(seeds, 0.03, np.random.default_rng(1))).line() for seeds in (2, 10))
    for line in (few, many):
        assert (line["low"] <= line["mean"]).all()
        assert (line["mean"] <= line["high"]).all()
    assert (few["high"] - few["low"]).mean() > 3 * (many["high"] - many["low"]).mean()


def test_seeds_are_paired_what_a_trial_does_to_all_of_them_widens_no_interval():
    """A scatter of the trials that all seeds share, against one that each seed has for itself."""
    random = np.random.default_rng(2)
    runs = synthetic(3, 0.005, random)
    shared = runs.assign(collapse=runs["collapse"] + np.tile(0.1 * random.normal(size=14), 3))
    own = runs.assign(collapse=runs["collapse"] + 0.1 * random.normal(size=42))
    widths = [estimate.high - estimate.low for estimate in (curve.fit(each).gain(0.1) for each in (shared, own))]
    assert widths[0] < widths[1] / 3


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
    assert "too few completed trials" in answers.answers(None, LANGUAGE, 0.1, 4)[0]


def test_trials_that_went_beyond_all_numbers_are_left_out():
    runs = synthetic(2, 0.0, np.random.default_rng(0))
    broken = pd.DataFrame({"seed": [0, 1], "real_fraction": 0.5, "epochs": 3.0, "collapse": [np.inf, np.nan]})
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


def test_a_difference_whose_interval_holds_zero_is_called_no_finding():
    runs = synthetic(2, 0.0, np.random.default_rng(4))
    runs["collapse"] = truth(runs["real_fraction"]) + np.random.default_rng(4).normal(0, 0.05, len(runs))
    said = answers.answers(curve.fit(runs), LANGUAGE, 0.2, 4)
    assert "this is no finding" in said[3]
