"""The sweep's answers in words, each with its interval and the number of seeds behind it; and as numbers."""

import math

from components.sweep.curve import Curves, Estimate
from components.sweep.objectives import Measure

KEPT = 0.1
"""The paper's real fraction."""


def answers(curves: Curves | None, measure: Measure, threshold: float, generations: int) -> list[str]:
    """What a person asked: how much is lost, what a tenth of real data is worth, how much is enough, what epochs do."""
    if curves is None:
        return [
            "No curve: too few completed trials of different real fractions. More trials, or pruning=None, give one."
        ]
    if len(curves.seeds) == 1:
        return ["One seed gives no interval, so nothing is claimed here: give seeds=3."]
    epochs = "" if math.isnan(curves.epochs) else f" at {curves.epochs:.3g} epochs"
    lost, gain = curves.without_real_data(), curves.gain(KEPT)
    least, doubling = curves.least_fraction(threshold), curves.doubling_epochs()
    kept = lost.value - gain.value
    found = [
        f"Without real data, {generations} generations{epochs} lose {_words(lost)} nats{_times(measure, lost.value)}.",
        f"Keeping {KEPT:.0%} real data {'lowers' if gain.value > 0 else 'raises'} that loss by "
        f"{_words(gain, absolute=True)} nats{_to(measure, kept)}{_unsure(gain)}.",
        f"The least real fraction that keeps collapse under {threshold:g} is {_words(least)}.",
    ]
    if not math.isnan(curves.epochs):
        more = "raise" if doubling.value > 0 else "lower"
        found.append(
            f"Twice the epochs {more} the loss without real data by {_words(doubling, absolute=True)} nats{_unsure(doubling)}."
        )
    return found


def numbers(curves: Curves | None, threshold: float) -> dict[str, float]:
    """The same for MLflow: estimate and both ends of each interval."""
    if curves is None or len(curves.seeds) == 1:
        return {}
    estimates = {
        "collapse_without_real_data": curves.without_real_data(),
        "gain_of_a_tenth": curves.gain(KEPT),
        "least_real_fraction": curves.least_fraction(threshold),
    }
    if not math.isnan(curves.epochs):
        estimates["doubling_epochs"] = curves.doubling_epochs()
    return {
        f"answer/{name}{end}": value
        for name, each in estimates.items()
        for end, value in (("", each.value), ("_low", each.low), ("_high", each.high))
    }


def _words(estimate: Estimate, absolute: bool = False) -> str:
    value, low, high = estimate.value, estimate.low, estimate.high
    if absolute and value < 0:
        value, low, high = -value, -high, -low
    return f"{value:.3g} (95 % interval {low:.3g} to {high:.3g}, {estimate.seeds} seeds)"


def _unsure(estimate: Estimate) -> str:
    return "; the interval holds 0, so this is no finding" if estimate.low <= 0 <= estimate.high else ""


def _times(measure: Measure, lost: float) -> str:
    return f": {measure.name} rises {math.exp(lost):.3g}-fold" if not measure.in_nats else ""


def _to(measure: Measure, kept: float) -> str:
    return f", to {math.exp(kept):.3g}-fold" if not measure.in_nats else ""
