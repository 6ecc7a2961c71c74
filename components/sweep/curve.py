"""What a sweep says of real data: the curve of collapse against the real fraction, and what it answers, with intervals.

    collapse(f, e) = a (e / e0)^b (1 - f) / (1 + f / k)

`a` is the collapse without real data at e0 epochs, `k` the real fraction that about halves it, `b` how it grows with epochs;
at f = 1 every generation is fitted on real data, and nothing is lost by definition. A curve is fitted to each seed's own
trials; an estimate is the mean over seeds, its interval Student's over them. All seeds have the same trials (paired), so
what they share cancels in differences. What the curve's shape misses is in no interval: look at the figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import curve_fit
from scipy.stats import t as student

CONFIDENCE = 0.95
FRACTIONS = np.unique(np.concatenate([np.linspace(0, 0.1, 41), np.linspace(0.1, 1, 91)]))
LARGEST = 50.0  # nats, and powers: no collapse is larger


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval; nan where one seed gives none."""

    value: float
    low: float
    high: float
    seeds: int

    def clipped(self, low: float, high: float) -> "Estimate":
        """Within what is possible."""
        value, lower, upper = np.clip([self.value, self.low, self.high], low, high).tolist()
        return Estimate(value, lower, upper, self.seeds)


@dataclass(frozen=True)
class Curves:
    """A curve a seed: `amplitude` a, `half` k, `power` b, each (seeds,); `epochs` is e0 (nan where epochs were not searched)."""

    seeds: Sequence[int]
    amplitude: np.ndarray
    half: np.ndarray
    power: np.ndarray
    epochs: float

    def collapse(self, fraction: np.ndarray | float) -> np.ndarray:
        """Collapse of every seed at e0 epochs, (seeds, fractions)."""
        return _shape(np.atleast_1d(fraction), self.amplitude[:, None], self.half[:, None])

    def line(self) -> pd.DataFrame:
        """The mean curve with its band: real_fraction, mean, low, high."""
        values = self.collapse(FRACTIONS)
        estimates = [_over_seeds(column) for column in values.T]
        rows = [(each.value, each.low, each.high) for each in estimates]
        return pd.DataFrame(rows, columns=["mean", "low", "high"]).assign(real_fraction=FRACTIONS)

    def by_seed(self) -> pd.DataFrame:
        """Every seed's curve: seed, real_fraction, collapse."""
        frames = [
            pd.DataFrame({"seed": seed, "real_fraction": FRACTIONS, "collapse": values})
            for seed, values in zip(self.seeds, self.collapse(FRACTIONS), strict=True)
        ]
        return pd.concat(frames, ignore_index=True)

    def without_real_data(self) -> Estimate:
        return _over_seeds(self.amplitude)

    def gain(self, fraction: float) -> Estimate:
        """By how many nats keeping this fraction of real data lowers the collapse, against keeping none."""
        return _over_seeds(self.amplitude - self.collapse(fraction)[:, 0])

    def least_fraction(self, threshold: float) -> Estimate:
        """The least real fraction that keeps the collapse under `threshold` nats."""
        needed = (self.amplitude - threshold) / (self.amplitude + threshold / self.half)
        return _over_seeds(np.where(self.amplitude > threshold, needed, 0.0)).clipped(0.0, 1.0)

    def doubling_epochs(self) -> Estimate:
        """By how many nats twice the epochs raise the collapse without real data."""
        return _over_seeds(self.amplitude * (2**self.power - 1))


def fit(runs: pd.DataFrame) -> Curves | None:
    """Curves out of trials that came to their end: seed, real_fraction, collapse, and epochs where they were searched.

    Gives nothing where a seed has fewer trials of different real fractions than the curve has parameters, or no collapse
    at all.
    """
    runs = runs[np.isfinite(runs["collapse"])]
    searched = "epochs" in runs and runs["epochs"].nunique() > 1
    parameters = 3 if searched else 2
    reference = float(np.exp(np.log(runs["epochs"].astype(float)).mean())) if searched else float("nan")
    found, seeds = [], []
    for seed, own in runs.groupby("seed"):
        if own["real_fraction"].nunique() < parameters or len(own) <= parameters or own["collapse"].max() <= 0:
            return None
        ratio = (own["epochs"].astype(float) / reference).to_numpy() if searched else np.ones(len(own))
        found.append(_fit_seed(own["real_fraction"].to_numpy(float), ratio, own["collapse"].to_numpy(float), searched))
        seeds.append(int(str(seed)))
    if not found:
        return None
    amplitude, half, power = np.array(found).T
    return Curves(seeds, amplitude, half, power, reference)


def _shape(fraction: np.ndarray, amplitude: np.ndarray | float, half: np.ndarray | float) -> np.ndarray:
    return amplitude * (1 - fraction) / (1 + fraction / half)


def _fit_seed(
    fraction: np.ndarray, ratio: np.ndarray, collapse: np.ndarray, searched: bool
) -> tuple[float, float, float]:
    """Least squares in (log a, log k, b), from two starts: where points are few the surface has more than one valley."""
    parameters = 3 if searched else 2

    def curve(_: np.ndarray, log_a: float, log_k: float, b: float = 0.0) -> np.ndarray:
        return _shape(fraction, np.exp(log_a), np.exp(log_k)) * ratio**b

    def slopes(_: np.ndarray, log_a: float, log_k: float, b: float = 0.0) -> np.ndarray:
        value = curve(_, log_a, log_k, b)
        return np.stack([value, value * fraction / (np.exp(log_k) + fraction), value * np.log(ratio)], 1)[
            :, :parameters
        ]

    low, high = [np.log(1e-6), np.log(1e-4), -5.0], [np.log(LARGEST), np.log(100.0), 5.0]
    best, least = None, np.inf
    for start in (0.05, 1.0):
        first = [np.log(max(collapse.max(), 1e-3)), np.log(start), 0.0]
        bounds = (low[:parameters], high[:parameters])
        values, _ = curve_fit(curve, fraction, collapse, p0=first[:parameters], jac=slopes, bounds=bounds)
        error = float(((curve(fraction, *values) - collapse) ** 2).sum())
        if error < least:
            best, least = values, error
    assert best is not None
    return float(np.exp(best[0])), float(np.exp(best[1])), float(best[2]) if searched else 0.0


def _over_seeds(values: np.ndarray) -> Estimate:
    """Mean and Student's interval of one value a seed."""
    mean, count = float(values.mean()), len(values)
    if count == 1:
        return Estimate(mean, float("nan"), float("nan"), 1)
    arm = float(student.ppf((1 + CONFIDENCE) / 2, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return Estimate(mean, mean - arm, mean + arm, count)
