"""What a sweep says of real data: the curve of collapse against the real fraction, and what it answers, with intervals.

    collapse(f, e) = a (e / e0)^b (1 - f) / sqrt(1 + f / k)

`a` is the collapse without real data at e0 epochs, about half of it is left at f = 3 k, `b` is how it grows with epochs; at f = 1
every generation is fitted on real data, and nothing is lost by definition. The shape is an observation (docs/results).

The curve is fitted to the trials' means over seeds. An estimate's variance has two parts: how the trials scatter about the
curve (T - p degrees of freedom), and how much seeds differ in the height of theirs (S - 1). Since all seeds have the same
trials, a seed's height is its trials' together, and what a trial does to all seeds widens the first part only. Degrees of
freedom of the sum are Welch's and Satterthwaite's, intervals Student's, functions of the parameters by the delta method.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq, curve_fit
from scipy.stats import t as student

CONFIDENCE = 0.95
FRACTIONS = np.unique(np.concatenate([np.linspace(0, 0.1, 41), np.linspace(0.1, 1, 91)]))
LOW, HIGH = np.array([np.log(1e-6), np.log(1e-5), -5.0]), np.array([np.log(50.0), np.log(100.0), 5.0])
"""Of log a, log k, b: no collapse is larger, none bends earlier."""
STEP = 1e-4


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval (nan with one seed, and where seeds and trials agree to the last digit)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """The fitted curve.

    `parameters`: log a, log k and, where epochs were searched, b (p,); `covariance` theirs (p, p), of `trials` - p degrees of
    freedom. `heights`: each seed's own height, as a factor of the curve's (seeds,). `epochs`: e0, nan where not searched.
    """

    parameters: np.ndarray
    covariance: np.ndarray
    heights: np.ndarray
    seeds: Sequence[int]
    trials: int
    epochs: float

    def line(self) -> pd.DataFrame:
        """The curve at e0 epochs with its band: real_fraction, mean, low, high."""
        found = [self._at(fraction) for fraction in FRACTIONS]
        columns = {"mean": [one.value for one in found], "low": [one.low for one in found]}
        return pd.DataFrame({"real_fraction": FRACTIONS, **columns, "high": [one.high for one in found]})

    def by_seed(self) -> pd.DataFrame:
        """The curve at every seed's own height: seed, real_fraction, collapse."""
        mean = _shape(FRACTIONS, *self.parameters[:2])
        frames = [
            pd.DataFrame({"seed": seed, "real_fraction": FRACTIONS, "collapse": height * mean})
            for seed, height in zip(self.seeds, self.heights, strict=True)
        ]
        return pd.concat(frames, ignore_index=True)

    def without_real_data(self) -> Estimate:
        """Collapse at e0 epochs, in nats."""
        return self.estimate(lambda values: float(np.exp(values[0])))

    def gain(self, fraction: float) -> Estimate:
        """By how many nats keeping this fraction of real data lowers the collapse, against keeping none."""
        return self.estimate(lambda values: float(np.exp(values[0]) - _shape(fraction, *values[:2])))

    def least_fraction(self, threshold: float) -> Estimate:
        """The least real fraction that keeps the collapse under `threshold` nats."""
        value = _where(threshold, *self.parameters[:2])
        if len(self.seeds) == 1:
            return Estimate(value, np.nan, np.nan)
        # Where the band's lower and upper edge come under it: the fractions whose own interval holds the threshold.
        return Estimate(
            value, self._under(threshold, lambda one: one.low), self._under(threshold, lambda one: one.high)
        )

    def _at(self, fraction: float) -> Estimate:
        return self.estimate(lambda values: float(_shape(fraction, *values[:2])))

    def _under(self, threshold: float, edge: Callable[[Estimate], float]) -> float:
        """From which fraction on an edge of the band stays under `threshold`; at 1 all of it is 0."""
        above = np.flatnonzero([edge(self._at(fraction)) > threshold for fraction in FRACTIONS])
        if not len(above):
            return 0.0
        last, next_ = FRACTIONS[above[-1]], FRACTIONS[above[-1] + 1]
        return float(brentq(lambda fraction: edge(self._at(fraction)) - threshold, last, next_))

    def doubling_epochs(self) -> Estimate:
        """By how many nats twice the epochs raise the collapse without real data."""
        return self.estimate(lambda values: float(np.exp(values[0]) * (2 ** values[2] - 1)))

    def estimate(self, function: Callable[[np.ndarray], float]) -> Estimate:
        """A function of the parameters with its interval."""
        value, seeds = function(self.parameters), len(self.seeds)
        if seeds == 1:
            return Estimate(value, np.nan, np.nan)
        steps = STEP * np.eye(len(self.parameters))
        gradient = np.array(
            [(function(self.parameters + step) - function(self.parameters - step)) / (2 * STEP) for step in steps]
        )
        of_trials = float(gradient @ self.covariance @ gradient)
        of_seeds = float(gradient[0] ** 2 * self.heights.var(ddof=1) / seeds)  # a seed's height is a factor of a
        variance, freedom = of_trials + of_seeds, self.trials - len(self.parameters)
        if variance == 0:  # known by definition (nothing is lost at f = 1), or seeds and trials that agree by chance
            return Estimate(value, value, value) if not gradient.any() else Estimate(value, np.nan, np.nan)
        degrees = variance**2 / (of_trials**2 / freedom + of_seeds**2 / (seeds - 1))
        arm = float(student.ppf((1 + CONFIDENCE) / 2, degrees) * np.sqrt(variance))
        return Estimate(value, value - arm, value + arm)


def fit(runs: pd.DataFrame) -> Curve | None:
    """The curve out of trials that came to their end: trial, seed, real_fraction, collapse, and epochs where searched.

    Left out are trials with a number that is none in any seed, or without epochs where those were searched, and all but one
    of those that ran the same chains: the same numbers again tell nothing more. Gives nothing where there are no more
    trials than parameters, where these do not determine them, or where nothing collapsed.
    """
    table = runs.pivot_table(index="trial", columns="seed", values="collapse", dropna=False)
    table = table.loc[np.isfinite(table.to_numpy()).all(axis=1)]
    settings = runs.drop_duplicates("trial").set_index("trial").loc[table.index]
    settings = settings[[name for name in ("real_fraction", "epochs") if name in settings]].dropna()
    new = ~settings.join(table.loc[settings.index].add_prefix("seed ")).duplicated()
    settings = settings[new]
    table = table.loc[settings.index]
    searched = "epochs" in settings and settings["epochs"].nunique() > 1
    parameters = 3 if searched else 2
    if len(table) <= parameters or table.to_numpy().max() <= 0:
        return None
    fraction = settings["real_fraction"].to_numpy(float)
    logs = np.log(settings["epochs"].to_numpy(float)) if searched else np.zeros(len(table))
    fitted = _fit(fraction, logs - logs.mean(), table.mean(axis=1).to_numpy(), parameters)
    if fitted is None:
        return None
    values, covariance = fitted
    curve = _shape(fraction, *values[:2]) * np.exp((values[2] if searched else 0.0) * (logs - logs.mean()))
    heights = (table.to_numpy() * curve[:, None]).sum(axis=0) / (curve**2).sum()
    epochs = float(np.exp(logs.mean())) if searched else float("nan")
    return Curve(values, covariance, heights, [int(str(seed)) for seed in table.columns], len(table), epochs)


def _shape(fraction: np.ndarray | float, log_a: float, log_k: float) -> np.ndarray:
    return np.exp(log_a) * (1 - np.asarray(fraction)) / np.sqrt(1 + np.asarray(fraction) / np.exp(log_k))


def _where(threshold: float, log_a: float, log_k: float) -> float:
    """The real fraction at which the curve is at `threshold`: (1 - f)^2 = (threshold / a)^2 (1 + f / k), its root in 0..1."""
    share = (threshold / np.exp(log_a)) ** 2
    if share >= 1:
        return 0.0
    half = 1 + share / np.exp(log_k) / 2
    return float(half - np.sqrt(half**2 - (1 - share)))


def _fit(
    fraction: np.ndarray, logs: np.ndarray, collapse: np.ndarray, parameters: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Least squares, from two starts: where trials are few the surface has more than one valley.

    Nothing where the trials do not determine the parameters: without two fractions below 1, for one, there is no bend.
    """

    def curve(_: np.ndarray, log_a: float, log_k: float, b: float = 0.0) -> np.ndarray:
        return _shape(fraction, log_a, log_k) * np.exp(b * logs)

    def slopes(_: np.ndarray, log_a: float, log_k: float, b: float = 0.0) -> np.ndarray:
        value = curve(_, log_a, log_k, b)
        return np.stack([value, value * fraction / (np.exp(log_k) + fraction) / 2, value * logs], 1)[:, :parameters]

    found = []
    for start in (0.02, 0.5):
        first = [np.log(max(collapse.max(), 1e-3)), np.log(start), 0.0][:parameters]
        bounds = (LOW[:parameters], HIGH[:parameters])
        values, covariance = curve_fit(curve, fraction, collapse, p0=first, jac=slopes, bounds=bounds)
        found.append((float(((curve(fraction, *values) - collapse) ** 2).sum()), values, covariance))
    _, values, covariance = min(found, key=lambda one: one[0])
    determined = np.linalg.matrix_rank(slopes(fraction, *values)) == parameters
    return (values, covariance) if determined else None
