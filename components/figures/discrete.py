"""The figures of the discrete study: support, absorption and heterozygosity by generation, and where chains end."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from components.config.small_families import DiscreteSettings
from components.families.discrete import theory
from components.figures import notation, style
from components.figures.curves import Curve, Panel, draw_curves
from components.figures.files import Drawing, write_figures
from components.figures.table import by_generation
from components.recursion.records import Chain
from components.recursion.trajectory import Trajectory

CAPTIONS = {
    "discrete_support": "Outcomes that can still occur, by generation; the line is the mean over chains, the band "
    "holds nine of ten; dashed: those of the real data.",
    "discrete_absorption": "Share of chains with a single outcome left; dotted where theory puts the mean time to that.",
    "discrete_heterozygosity": "Probability that two draws of a model differ; dashed is the exact expectation, a "
    "factor of 1 - 1/M per fit, and in grey that of the real data.",
    "discrete_ends": "Share of chains that end in each outcome, with its 95 % interval, beside the outcome's original probability.",
}
_X = "generation + 1 (fits so far)"
TABLE_GENERATIONS = (0, 1, 10, 100)
SHOWN_OUTCOMES = 20

Truths = Mapping[str, np.ndarray]
"""By condition, the probabilities (K,) of its real data."""


def closing_table(metrics: pd.DataFrame, settings: DiscreteSettings, truths: Truths) -> pd.DataFrame:
    """A row for each condition and some of its generations: support, heterozygosity and absorption beside theory.

    The mean number of fits until absorption is the sum over generations of the share not absorbed yet: with chains that
    are not, at least that.
    """
    wide = by_generation(metrics)
    rows = []
    for condition in notation.conditions_of(wide):
        part = wide[wide["condition"] == condition].set_index("generation")
        drifts, truth = _drifts(condition, settings), truths[condition]
        last = int(part.index.max())  # the condition's own: its chains may have stopped early
        size = settings.conditions[condition].sample_size
        expected = theory.heterozygosity(truth, size, last)
        numbers = part.to_dict("index")
        for index in sorted({*TABLE_GENERATIONS, last} & {int(generation) for generation in part.index}):
            row, end = numbers[index], index == last
            rows.append(
                {
                    "condition": condition,
                    "generation": index,
                    "support": row["support/mean"],
                    "theory of support": theory.support(truth, size) if index == 0 else float("nan"),
                    "P(two differ)": row["heterozygosity/mean"],
                    "theory": float(expected[index]) if drifts else float("nan"),
                    "absorbed": row["absorbed"],
                    "mean absorption": _mean_absorption(part) if end and row["absorbed"] > 0 else float("nan"),
                    "theory of it": theory.absorption_time(truth, size) if end and drifts else float("nan"),
                }
            )
    return pd.DataFrame(rows)


def save_all(
    metrics: pd.DataFrame,
    folder: Path,
    settings: DiscreteSettings,
    truths: Truths,
    trajectories: Callable[[], Mapping[Chain, Trajectory | None]],
) -> list[Path]:
    """Write every figure as picture and page. `trajectories`: every chain as the store has it, for where chains end."""
    wide = by_generation(metrics)
    drawn = {
        "discrete_support": _support(wide, settings, truths),
        "discrete_absorption": _absorption(wide, settings, truths),
        "discrete_heterozygosity": _heterozygosity(wide, settings, truths),
    }
    if ends := _ends(trajectories(), settings, truths):
        drawn["discrete_ends"] = ends
    return write_figures(drawn, folder)


def _support(wide: pd.DataFrame, settings: DiscreteSettings, truths: Truths) -> Drawing:
    panels = []
    for title, names in _panels(settings).items():
        curves = [
            Curve(name, x, rows["support/mean"].to_numpy(), colour, *_band(rows, "support"))
            for name, rows, x, colour in _of(wide, names)
        ]
        curves += _of_real(names, curves, truths, lambda truth: float((truth > 0).sum()))
        panels.append(Panel(title, curves, "support"))
    return draw_curves("Outcomes that can still occur", _note(settings), _X, panels)


def _absorption(wide: pd.DataFrame, settings: DiscreteSettings, truths: Truths) -> Drawing:
    panels = []
    for title, names in _panels(settings).items():
        curves = []
        for name, rows, x, colour in _of(wide, names):
            curves.append(Curve(name, x, rows["absorbed"].to_numpy(), colour))
            if _drifts(name, settings):
                mean = theory.absorption_time(truths[name], settings.conditions[name].sample_size)
                if mean <= x[-1]:
                    line = np.array([mean, mean]), np.array([0.0, 1.0])
                    curves.append(Curve(f"{name}, mean in theory", *line, colour, theory=True))
        panels.append(Panel(title, curves, "share of chains absorbed"))
    return draw_curves("Chains with a single outcome left", _note(settings), _X, panels, log_y=False)


def _heterozygosity(wide: pd.DataFrame, settings: DiscreteSettings, truths: Truths) -> Drawing:
    panels = []
    for title, names in _panels(settings).items():
        curves = []
        for name, rows, x, colour in _of(wide, names):
            curves.append(
                Curve(name, x, rows["heterozygosity/mean"].to_numpy(), colour, *_band(rows, "heterozygosity"))
            )
            if _drifts(name, settings):
                size = settings.conditions[name].sample_size
                expected = theory.heterozygosity(truths[name], size, int(x[-1]) - 1)[x - 1]
                curves.append(Curve(f"{name}, theory", x, expected, colour, theory=True))
        curves += _of_real(names, curves, truths, lambda truth: float(1 - truth @ truth))
        panels.append(Panel(title, curves, "1 − Σ pᵢ²"))
    return draw_curves(
        "The probability that two draws differ", _note(settings) + "; dashed: theory, exact", _X, panels, log_y=False
    )


def _ends(
    trajectories: Mapping[Chain, Trajectory | None], settings: DiscreteSettings, truths: Truths
) -> Drawing | None:
    """Ends of the chains that drift until they are absorbed, and mostly have been."""
    panels = []
    for name in settings.conditions:
        models = [
            trajectory.past.newest.place["probabilities"]
            for chain, trajectory in trajectories.items()
            if chain.condition == name and trajectory is not None and trajectory.past.newest is not None
        ]
        if not models or not _drifts(name, settings):
            continue
        absorbed = np.concatenate(models)
        absorbed = absorbed[absorbed.max(axis=1) == 1]
        if not len(absorbed):
            continue
        ends, truth = absorbed.sum(axis=0).astype(int), truths[name]
        shown = np.sort(np.argsort(-truth, kind="stable")[:SHOWN_OUTCOMES])
        intervals = [binomtest(int(ends[i]), len(absorbed)).proportion_ci(method="wilson") for i in shown]
        low, high = np.array([(interval.low, interval.high) for interval in intervals]).T
        share = ends[shown] / len(absorbed)
        curves = [
            Curve(f"{len(absorbed):,} chains", shown + 1, share, style.CONDITION_COLOURS[0], low, high, marked=True),
            Curve("original probability", shown + 1, truth[shown], style.INK, theory=True),
        ]
        panels.append(Panel(name, curves, "share of chains that end there"))
    note = f"band: 95 % interval (Wilson); the {SHOWN_OUTCOMES} likeliest outcomes at most"
    return draw_curves("Where chains end", note, "outcome", panels, log_x=False, log_y=False) if panels else None


def _of(wide: pd.DataFrame, names: list[str]) -> list[tuple[str, pd.DataFrame, np.ndarray, str]]:
    """Of each condition its name, its rows, its x and its colour."""
    parts = []
    for place, name in enumerate(names):
        rows = wide[wide["condition"] == name]
        if len(rows):
            colour = style.CONDITION_COLOURS[place % len(style.CONDITION_COLOURS)]
            parts.append((name, rows, rows["generation"].to_numpy() + 1, colour))
    return parts


def _of_real(
    names: Sequence[str], curves: Sequence[Curve], truths: Truths, measure: Callable[[np.ndarray], float]
) -> list[Curve]:
    """The real data's own value as a line; as several where a panel's conditions resample unlike data."""
    values = sorted({round(measure(truths[name]), 12) for name in names})
    along = np.unique(np.concatenate([curve.x for curve in curves])) if curves else np.empty(0)
    return [
        Curve(
            "real data" if len(values) == 1 else f"real data: {value:.3g}",
            along,
            np.full(len(along), value),
            style.FAINT,
            theory=True,
        )
        for value in values
    ]


def _panels(settings: DiscreteSettings) -> dict[str, list[str]]:
    """Conditions by what they resample."""
    groups: dict[str, list[str]] = {}
    for name, one in settings.conditions.items():
        kind = "given" if one.probabilities else f"{one.distribution}, K = {one.outcomes}"
        groups.setdefault(kind, []).append(name)
    return groups


def _drifts(name: str, settings: DiscreteSettings) -> bool:
    """Whether the condition is the plain resampling that theory is about."""
    condition = settings.conditions[name]
    return condition.regime == "replace" and not condition.real_fraction


def _band(rows: pd.DataFrame, measure: str) -> tuple[np.ndarray, np.ndarray]:
    return rows[f"{measure}/p05"].to_numpy(), rows[f"{measure}/p95"].to_numpy()


def _mean_absorption(rows: pd.DataFrame) -> float:
    return 1 + float((1 - rows["absorbed"]).sum())  # the real data is not absorbed; then a fit a generation


def _note(settings: DiscreteSettings) -> str:
    chains = settings.chains * len(settings.seeds)
    return f"line: mean over up to {chains:,} chains; band: nine of ten of them"
