"""The figures of the Gaussian study: errors of the estimates, densities, the W2 risk and Var(X^n) beside theory."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from components.config.small_families import GaussianCondition, GaussianSettings
from components.families.gaussian import theory
from components.figures import style
from components.figures.curves import Curve, Panel, draw_curves
from components.figures.files import Drawing, write_figures
from components.figures.table import by_generation
from components.recursion.records import Chain
from components.recursion.trajectory import Trajectory

CAPTIONS = {
    "gaussian_errors": "Distance of the estimated mean and deviation from the true ones by generation; the line is the "
    "mean over chains, the band holds nine of ten chains.",
    "gaussian_densities": "Densities of models of one chain beside the original: first the tails are lost, then the variance.",
    "gaussian_risk": "E[W2^2] to the original by generation, with its standard error; dashed is 3/2 (1/M_0 + ... + 1/M_n).",
    "gaussian_variance": "Variance of a draw of generation n's samples over all chains, and the median deviation of "
    "one; dashed is 1 + 1/M_0 + ... + 1/M_n, and in grey the original's 1.",
    "gaussian_one_shot": "Error of the mean and the deviation estimated once from M draws, for M from 10 to 10 million.",
}
_X = "generation + 1 (fits so far)"
_COLOURS = dict(zip(("replace", "subsample", "accumulate"), style.CONDITION_COLOURS, strict=False))
TABLE_GENERATIONS = (0, 1, 5, 11, 100)
LEAST_DENSITY = 1e-5


def closing_table(metrics: pd.DataFrame, settings: GaussianSettings) -> pd.DataFrame:
    """A row for each condition and some of its generations: W2^2 beside theory, the median deviation, Var(X^n)."""
    wide = _over_seeds(metrics)
    last = wide.groupby("condition")["generation"].transform("max")  # its chains may have stopped early
    wide = wide[wide["generation"].isin(TABLE_GENERATIONS) | (wide["generation"] == last)]
    rows = []
    for row in wide.to_dict("records"):
        condition, index = settings.conditions[row["condition"]], int(row["generation"])
        known = _has_theory(condition, settings)
        fitted = _fitted_rows(condition, index + 1)
        rows.append(
            {
                "condition": row["condition"],
                "generation": index,
                "W2^2": row["wasserstein2_squared/mean"],
                "W2^2_std": row["wasserstein2_squared/standard_error"],
                "theory": float(theory.wasserstein2_squared(fitted)[-1]) if known else float("nan"),
                "median sigma": row["deviation/median"],
                "Var(X^n)": row["variance_of_samples"],
                "theory of Var": float(theory.variance_of_samples(fitted)[-1]) if known else float("nan"),
            }
        )
    return pd.DataFrame(rows)


def save_all(
    metrics: pd.DataFrame,
    folder: Path,
    settings: GaussianSettings,
    models: Callable[[], Mapping[Chain, Trajectory | None]],
) -> list[Path]:
    """Write every figure as picture and page. `models` gives a chain's trajectory, for the densities."""
    wide = _over_seeds(metrics)
    drawn = {
        "gaussian_errors": _errors(wide, settings),
        "gaussian_risk": _risk(wide, settings),
        "gaussian_variance": _variance(wide, settings),
    }
    if settings.dimensions == 1:
        drawn["gaussian_densities"] = _densities(models(), settings)
        drawn["gaussian_one_shot"] = _one_shot(settings)
    return write_figures(drawn, folder)


def _over_seeds(metrics: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, whose batches are equally big; the standard error is that of all of them together."""
    wide = by_generation(metrics)
    seeds = metrics.groupby(["condition", "generation"])["seed"].nunique()
    behind = pd.MultiIndex.from_frame(wide[["condition", "generation"]]).map(seeds.to_dict())
    wide["wasserstein2_squared/standard_error"] /= np.sqrt(behind)
    return wide


def _has_theory(condition: GaussianCondition, settings: GaussianSettings) -> bool:
    return (
        condition.regime == "replace"
        and not condition.real_fraction
        and settings.ddof == 1
        and settings.dimensions == 1
    )


def _fitted_rows(condition: GaussianCondition, generations: int) -> np.ndarray:
    return theory.sample_sizes(condition.sample_size, condition.growth, generations)


def _errors(wide: pd.DataFrame, settings: GaussianSettings) -> Drawing:
    panels = []
    sizes = sorted({condition.sample_size for condition in settings.conditions.values() if not condition.growth})
    for size in sizes:
        for measure, label in (("mean_error", "|μ − μ̂|"), ("deviation_error", "|σ − σ̂|")):
            curves = [
                _curve(wide, name, f"{measure}/mean", measure)
                for name, condition in settings.conditions.items()
                if condition.sample_size == size and not condition.growth
            ]
            panels.append(Panel(f"{label}, M = {size:,}", curves, label))
    return draw_curves("Error of the estimates, by generation", _bands(settings), _X, panels)


def _risk(wide: pd.DataFrame, settings: GaussianSettings) -> Drawing:
    groups = {
        "constant M": [name for name, one in settings.conditions.items() if one.regime == "replace" and not one.growth],
        "M that grows with the generation": [name for name, one in settings.conditions.items() if one.growth],
        "the other ways to sample": [name for name, one in settings.conditions.items() if one.regime != "replace"],
    }
    panels = []
    for title, names in groups.items():
        curves = []
        for place, name in enumerate(names):
            colour = style.CONDITION_COLOURS[place % len(style.CONDITION_COLOURS)]
            rows = wide[wide["condition"] == name]
            x, y = rows["generation"].to_numpy() + 1, rows["wasserstein2_squared/mean"].to_numpy()
            error = 2 * rows["wasserstein2_squared/standard_error"].to_numpy()
            curves.append(Curve(name, x, y, colour, y - error, y + error))
            if _has_theory(settings.conditions[name], settings):
                expected = theory.wasserstein2_squared(_fitted_rows(settings.conditions[name], int(x[-1])))[x - 1]
                curves.append(Curve(f"{name}, theory", x, expected, colour, theory=True))
        if curves:
            panels.append(Panel(title, curves, "E[W₂²]"))
    return draw_curves(
        "Risk: squared Wasserstein distance to the original",
        "band: ± 2 standard errors; dashed: theory, first order",
        _X,
        panels,
    )


def _variance(wide: pd.DataFrame, settings: GaussianSettings) -> Drawing:
    curves = []
    names = [name for name, one in settings.conditions.items() if one.regime == "replace" and not one.growth]
    for place, name in enumerate(names):
        colour = style.CONDITION_COLOURS[place % len(style.CONDITION_COLOURS)]
        rows = wide[wide["condition"] == name]
        x = rows["generation"].to_numpy() + 1
        curves.append(Curve(name, x, rows["variance_of_samples"].to_numpy(), colour))
        if _has_theory(settings.conditions[name], settings):
            expected = theory.variance_of_samples(_fitted_rows(settings.conditions[name], int(x[-1])))[x - 1]
            curves.append(Curve(f"{name}, theory", x, expected, colour, theory=True))
    medians = [
        replace(_curve(wide, name, "deviation/median", "deviation"), colour=style.CONDITION_COLOURS[place])
        for place, name in enumerate(names[: len(style.CONDITION_COLOURS)])
    ]
    for drawn in (curves, medians):
        x = np.unique(np.concatenate([curve.x for curve in drawn])) if drawn else np.empty(0)
        drawn.append(Curve("original", x, np.ones(len(x)), style.FAINT, theory=True))
    panels = [
        Panel("Var(Xⁿ) over all chains", curves, "variance"),
        Panel("σ̂ of one chain", medians, "deviation (median, 90 %)"),
    ]
    return draw_curves("The variance of all chains grows, each chain's own vanishes", _bands(settings), _X, panels)


def _densities(models: Mapping[Chain, Trajectory | None], settings: GaussianSettings) -> Drawing:
    """The smallest sample of each way to sample: where most is lost."""
    fewest = min(condition.sample_size for condition in settings.conditions.values())
    wide = np.linspace(-4, 4, 401)
    panels = []
    for chain, trajectory in models.items():
        condition = settings.conditions[chain.condition]
        if trajectory is None or condition.growth or condition.sample_size > fewest:
            continue
        shown = sorted(index for index in trajectory.models if index < len(trajectory.metrics))
        colours = style.generation_colours(shown)
        curves = [Curve("original", wide, norm.pdf(wide), style.FAINT, theory=True)]
        for index in shown:
            model = trajectory.models[index]
            mean, deviation = model["mean"][0, 0], max(abs(model["factor"][0, 0, 0]), 1e-300)
            x = np.unique(np.concatenate([wide, mean + deviation * np.linspace(-6, 6, 201)]))
            density = norm.pdf(x, mean, deviation)
            seen = (density > LEAST_DENSITY) & (np.abs(x) <= 4)
            curves.append(Curve(f"generation {index}", x[seen], density[seen], colours[index]))
        panels.append(Panel(chain.condition, curves, "density"))
    return draw_curves(
        "Models of one chain beside the original", "the first chain of the first seed", "x", panels, False, True
    )


def _one_shot(settings: GaussianSettings) -> Drawing:
    """The statistical error alone: estimates from M real draws, by their own laws, for any M."""
    random = np.random.default_rng(settings.seeds[0])
    sizes = np.unique(np.round(10 ** np.linspace(1, 7, 25)).astype(int))
    mean = np.abs(random.standard_normal((len(sizes), 10_000))) / np.sqrt(sizes)[:, None]
    freedom = (sizes - 1)[:, None]
    deviation = np.abs(np.sqrt(2 * random.standard_gamma(freedom / 2, (len(sizes), 10_000)) / freedom) - 1)
    curves = []
    for name, errors, colour in (
        ("|μ − μ̂|", mean, style.CONDITION_COLOURS[0]),
        ("|σ − σ̂|", deviation, style.CONDITION_COLOURS[1]),
    ):
        low, high = np.quantile(errors, [0.05, 0.95], axis=1)
        curves.append(Curve(name, sizes, errors.mean(axis=1), colour, low, high, marked=True))
    note = "mean and the middle 90 % of 10,000 estimates"
    return draw_curves("Estimated once, from M draws", note, "M", [Panel("No recursion", curves, "error")])


def _curve(wide: pd.DataFrame, condition: str, column: str, band: str) -> Curve:
    rows = wide[wide["condition"] == condition]
    regime = condition.split("-")[0]
    low, high = rows[f"{band}/p05"].to_numpy(), rows[f"{band}/p95"].to_numpy()
    colour = _COLOURS.get(regime, style.CONDITION_COLOURS[3])
    return Curve(condition, rows["generation"].to_numpy() + 1, rows[column].to_numpy(), colour, low, high)


def _bands(settings: GaussianSettings) -> str:
    chains = settings.chains * len(settings.seeds)
    return f"line: mean (or median) over up to {chains:,} chains; band: nine of ten of them"
