"""The sweep's answers in words, each with its interval and the number of seeds behind it; and as numbers."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from components.measures.risk import Risk
from components.sweep.curve import Curve, Estimate

KEPT = 0.1
"""The paper's real fraction."""


def answers(curve: Curve | None, risk: Risk, threshold: float, generations: int, searched: bool = True) -> list[str]:
    """What a person asked: how much is lost, what a tenth of real data is worth, how much is enough, what epochs do.

    `searched`: whether the real fraction was.
    """
    if not searched:
        return ["No curve of real data: search.real_fraction was not searched."]
    if curve is None:
        return [
            "No curve: nothing collapsed, or too few trials of different real fractions came to their end. "
            "More trials, or pruning=None, bring more of them."
        ]
    if len(curve.seeds) == 1:
        return ["One seed gives no interval, so nothing is claimed here: give seeds=3."]
    epochs = "" if math.isnan(curve.epochs) else f" at {curve.epochs:.3g} epochs"
    lost, gain = curve.without_real_data(), curve.gain(KEPT)
    least = curve.least_fraction(threshold)
    kept = lost.value - gain.value
    behind = f"{len(curve.seeds)} seeds, {curve.trials} trials"
    found = [
        f"Without real data, {generations} generations{epochs} lose {_words(lost, behind)} nats{_times(risk, lost.value)}.",
        f"Keeping {KEPT:.0%} real data {'lowers' if gain.value > 0 else 'raises'} that loss by "
        f"{_words(gain, behind)} nats{_to(risk, kept)}{_unsure(gain)}.",
        f"The least real fraction that keeps collapse under {threshold:g} is {_words(least, behind)}.",
    ]
    if not math.isnan(curve.epochs):
        doubling = curve.doubling_epochs()
        more = "raise" if doubling.value > 0 else "lower"
        found.append(
            f"Twice the epochs {more} the loss without real data by {_words(doubling, behind)} nats{_unsure(doubling)}."
        )
    return found


def left_out(ends: pd.DataFrame) -> list[str]:
    """A sentence on the trials that no curve is fitted to, since they lost without bound in some seed.

    Args:
        ends: trial, seed, real_fraction, collapse, of the trials that came to their end.
    """
    infinite = ends[~np.isfinite(ends["collapse"])]
    trials = [
        f"trial {trial} (real fraction {rows['real_fraction'].iloc[0]:.3g}, seed {', '.join(map(str, rows['seed']))})"
        for trial, rows in infinite.groupby("trial")
    ]
    return [f"The curve leaves out {', '.join(trials)}: the collapse there is infinite."] if trials else []


def how_chosen(risk: Risk, objectives: Sequence[str], threshold: float, best: int | None) -> str:
    """By which numbers the sweep's trials were chosen, which numbers it reports, and which trial it calls the best."""
    if risk.validation:
        said = (
            "Trials were proposed, pruned and chosen by collapse on the validation split. All other numbers are those of "
            "the test split."
        )
    else:
        said = f"The {risk.name} is exact: trials were proposed, pruned and chosen by the numbers that are reported."
    if best is None:
        return f"{said} No trial is the best: none came to its end with finite numbers."
    return f"{said} The best is trial {best}: {best_means(risk, objectives, threshold)}."


def best_means(risk: Risk, objectives: Sequence[str], threshold: float) -> str:
    """What the best trial is (`Books.best`), in words: "the least cost among ..."."""
    collapse = "validation collapse" if risk.validation else "collapse"
    if len(objectives) == 1 or "collapse" not in objectives:
        return f"the least {collapse if objectives[0] == 'collapse' else objectives[0]}"
    other = next(name for name in objectives if name != "collapse")
    return (
        f"the least {other} among those with a {collapse} under {threshold:g} nats, or the least {collapse} if none is"
    )


def table(curve: Curve | None, threshold: float) -> pd.DataFrame:
    """The same as a closing table: what, estimate, 95 % interval; no rows where nothing is claimed."""
    names = {
        "collapse_without_real_data": "collapse without real data (nats)",
        "gain_of_a_tenth": f"what keeping {KEPT:.0%} real data takes off it (nats)",
        "least_real_fraction": f"least real fraction that keeps collapse under {threshold:g}",
        "doubling_epochs": "what twice the epochs add to it (nats)",
    }
    found = numbers(curve, threshold)
    rows = [
        (
            words,
            f"{found[f'answer/{name}']:.3g}",
            f"{found[f'answer/{name}_low']:.3g} to {found[f'answer/{name}_high']:.3g}",
        )
        for name, words in names.items()
        if f"answer/{name}" in found
    ]
    return pd.DataFrame(rows, columns=["what", "estimate", "95 % interval"])


def numbers(curve: Curve | None, threshold: float) -> dict[str, float]:
    """The same for MLflow: estimate and both ends of each interval."""
    if curve is None or len(curve.seeds) == 1:
        return {}
    estimates = {
        "collapse_without_real_data": curve.without_real_data(),
        "gain_of_a_tenth": curve.gain(KEPT),
        "least_real_fraction": curve.least_fraction(threshold),
    }
    if not math.isnan(curve.epochs):
        estimates["doubling_epochs"] = curve.doubling_epochs()
    return {
        f"answer/{name}{end}": value
        for name, each in estimates.items()
        for end, value in (("", each.value), ("_low", each.low), ("_high", each.high))
    }


def _words(estimate: Estimate, behind: str) -> str:
    """What the verb before it says the sign of."""
    value, low, high = estimate.value, estimate.low, estimate.high
    if value < 0:
        value, low, high = -value, -high, -low
    return f"{value:.3g} (95 % interval {low:.3g} to {high:.3g}; {behind})"


def _unsure(estimate: Estimate) -> str:
    return "; the interval holds 0, so this is no finding" if estimate.low <= 0 <= estimate.high else ""


def _times(risk: Risk, lost: float) -> str:
    return f": {risk.name} rises {math.exp(lost):.3g}-fold" if not risk.in_nats else ""


def _to(risk: Risk, kept: float) -> str:
    return f", to {math.exp(kept):.3g}-fold" if not risk.in_nats else ""
