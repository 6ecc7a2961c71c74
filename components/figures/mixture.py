"""The figures of the mixture study: snapshots of one chain (the paper's figure 7), distances, functional beside statistical error."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure
from plotly.subplots import make_subplots

from components.config.small_families import MixtureSettings
from components.families.mixture.mixture import Mixture, draw
from components.figures import notation, style
from components.figures.curves import Curve, Panel, draw_curves
from components.figures.files import Drawing, write_figures
from components.figures.table import by_generation
from components.recursion.records import Chain
from components.recursion.trajectory import Trajectory

CAPTIONS = {
    "mixture_snapshots": "Samples of one chain's models (blue) over the real data's (grey), with two-sigma ellipses of the "
    "components: the modes lose their shape and drift, then all of it shrinks to a point.",
    "mixture_distance": "Squared L2 distance of the models to the truth by generation; the line is the median over chains, "
    "the band holds nine of ten.",
    "mixture_errors": "Functional error, of a class that cannot hold the truth, is there at once and stays; statistical "
    "error, of a few samples, compounds.",
}
_X = "generation + 1 (fits so far)"
TABLE_GENERATIONS = (0, 50, 350)
POINTS = 400

Trajectories = Mapping[Chain, Trajectory | None]


def closing_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """A row for each condition and some of its generations."""
    wide = by_generation(metrics)
    wide = wide[wide["generation"].isin([*TABLE_GENERATIONS, wide["generation"].max()])]
    columns = {
        "condition": wide["condition"],
        "generation": wide["generation"],
        "squared L2 (median)": wide["squared_l2/median"],
        "5 %": wide["squared_l2/p05"],
        "95 %": wide["squared_l2/p95"],
        "deviation (median)": wide["deviation/median"],
        "EM steps": wide["em/steps"],
    }
    return pd.DataFrame(columns)


def save_all(
    metrics: pd.DataFrame,
    folder: Path,
    settings: MixtureSettings,
    truths: Mapping[str, Mixture],
    trajectories: Callable[[], Trajectories],
) -> list[Path]:
    """Write every figure as picture and page. `trajectories`: every chain as the store has it, for the snapshots."""
    wide = by_generation(metrics)
    drawn = {"mixture_distance": _distance(wide, settings)}
    if snapshots := _snapshots(trajectories(), settings, truths):
        drawn["mixture_snapshots"] = snapshots
    if errors := _errors(wide, settings):
        drawn["mixture_errors"] = errors
    return write_figures(drawn, folder)


def _distance(wide: pd.DataFrame, settings: MixtureSettings) -> Drawing:
    groups: dict[str, list[str]] = {}
    for name, one in settings.conditions.items():
        truth = "one blob at the origin" if one.blobs == 1 else "two Gaussians"
        groups.setdefault(f"{truth}, fitted with {one.components}", []).append(name)
    panels = [Panel(title, _curves(wide, names), "squared L2 distance") for title, names in groups.items()]
    return draw_curves("Distance of the models to the truth", _note(settings), _X, panels)


def _errors(wide: pd.DataFrame, settings: MixtureSettings) -> Drawing | None:
    """One panel for the two errors: the largest sample of a class too poor, the smallest of one that holds the truth."""
    plain = {
        name: one
        for name, one in settings.conditions.items()
        if one.blobs == 2 and one.regime == "replace" and not one.real_fraction
    }
    poor = [name for name, one in plain.items() if one.components < 2]
    rich = [name for name, one in plain.items() if one.components >= 2]
    if not poor or not rich:
        return None
    chosen = [max(poor, key=lambda name: plain[name].sample_size), min(rich, key=lambda name: plain[name].sample_size)]
    labels = [
        f"functional: one Gaussian on two, {plain[chosen[0]].sample_size:,} samples",
        f"statistical: two Gaussians on two, {plain[chosen[1]].sample_size:,} samples",
    ]
    panel = Panel("", _curves(wide, chosen, labels), "squared L2 distance to the truth")
    return draw_curves("Two ways to err: at once, or more with every generation", _note(settings), _X, [panel])


def _curves(wide: pd.DataFrame, names: Sequence[str], labels: Sequence[str] | None = None) -> list[Curve]:
    curves = []
    for place, name in enumerate(names):
        rows = wide[wide["condition"] == name]
        if not len(rows):
            continue
        low, median, high = (rows[f"squared_l2/{part}"].to_numpy() for part in ("p05", "median", "p95"))
        colour = style.CONDITION_COLOURS[place % len(style.CONDITION_COLOURS)]
        label = labels[place] if labels else name
        curves.append(Curve(label, rows["generation"].to_numpy() + 1, median, colour, low, high))
    return curves


def _snapshots(trajectories: Trajectories, settings: MixtureSettings, truths: Mapping[str, Mixture]) -> Drawing | None:
    """A row for each truth: its smallest sample under two components, the first chain of the first seed."""
    rows: list[tuple[str, Mixture, dict[int, Mixture]]] = []
    for blobs in (1, 2):
        names = [
            name
            for name, one in settings.conditions.items()
            if one.blobs == blobs and one.components == 2 and one.regime == "replace" and not one.real_fraction
        ]
        if not names:
            continue
        name = min(names, key=lambda each: settings.conditions[each].sample_size)
        for chain, trajectory in trajectories.items():
            if chain.condition == name and chain.seed == settings.seeds[0] and trajectory is not None:
                models = {
                    index: Mixture.of(model).of_chains(slice(0, 1))
                    for index, model in sorted(trajectory.models.items())
                    if index <= settings.generations
                }
                rows.append((name, truths[name], models))
    if not rows:
        return None
    shown = sorted({index for _, _, models in rows for index in models})
    return _snapshots_picture(rows, shown), _snapshots_page(rows, shown)


_SNAPSHOTS = "One chain's models, by generation"
_SNAPSHOTS_NOTE = (
    "grey: real data; blue: samples of the generation's model; orange: two-sigma ellipses of its components"
)
_ROWS = Sequence[tuple[str, Mixture, dict[int, Mixture]]]


def _snapshots_picture(rows: _ROWS, shown: Sequence[int]) -> Figure:
    figure = style.panels(len(shown), len(rows), 2.5, 2.7, _SNAPSHOTS, _SNAPSHOTS_NOTE)
    for line, (name, truth, models) in enumerate(rows):
        real = _points(truth)
        for place, index in enumerate(shown):
            axes = figure.add_subplot(len(rows), len(shown), line * len(shown) + place + 1)
            style.dress(axes, f"generation {index}" if line == 0 else "", None, name if place == 0 else None)
            axes.scatter(real[:, 0], real[:, 1], s=3, color=style.REAL, linewidths=0)
            if index in models:
                points = _points(models[index])
                axes.scatter(points[:, 0], points[:, 1], s=3, color=style.CONDITION_COLOURS[0], linewidths=0, alpha=0.7)
                for ellipse in _ellipses(models[index]):
                    axes.plot(*ellipse, color=style.CONDITION_COLOURS[1], linewidth=1.6)
            axes.set(xlim=_limits(real, 0), ylim=_limits(real, 1))
            axes.set_aspect("equal", adjustable="box")
    return figure


def _snapshots_page(rows: _ROWS, shown: Sequence[int]) -> go.Figure:
    titles = [f"generation {index}" for index in shown] + [""] * len(shown) * (len(rows) - 1)
    figure = make_subplots(
        len(rows), len(shown), subplot_titles=titles, horizontal_spacing=0.015, vertical_spacing=0.08
    )
    for line, (name, truth, models) in enumerate(rows, start=1):
        real = _points(truth)
        for place, index in enumerate(shown, start=1):
            clouds = [(real, style.REAL, "real data")]
            if index in models:
                clouds.append((_points(models[index]), style.CONDITION_COLOURS[0], "samples"))
            for points, colour, label in clouds:
                marker = {"size": 3, "color": colour}
                cloud = go.Scatter(x=points[:, 0], y=points[:, 1], mode="markers", marker=marker, name=label)
                figure.add_trace(cloud.update(showlegend=False, hoverinfo="skip"), line, place)
            for x, y in _ellipses(models[index]) if index in models else []:
                ellipse = go.Scatter(
                    x=x, y=y, mode="lines", line={"color": style.CONDITION_COLOURS[1]}, name="component"
                )
                figure.add_trace(ellipse.update(showlegend=False), line, place)
            figure.update_xaxes(range=_limits(real, 0), row=line, col=place)
            figure.update_yaxes(range=_limits(real, 1), row=line, col=place, showticklabels=place == 1)
        figure.update_yaxes(title_text=notation.literal(name), row=line, col=1)
    style.plotly_look(figure, _SNAPSHOTS, _SNAPSHOTS_NOTE, 190 + 260 * len(rows))
    return figure


def _points(mixture: Mixture) -> np.ndarray:
    return draw(mixture.of_chains(slice(0, 1)), POINTS, np.random.default_rng(0))[0]


def _limits(real: np.ndarray, axis: int) -> tuple[float, float]:
    middle = (real.min(axis=0) + real.max(axis=0)) / 2
    half = float((real.max(axis=0) - real.min(axis=0)).max()) / 2 * 1.1
    return float(middle[axis]) - half, float(middle[axis]) + half


def _ellipses(mixture: Mixture) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two-sigma ellipses of the first chain's components, as x and y."""
    angle = np.linspace(0, 2 * np.pi, 61)
    circle = 2 * np.stack([np.cos(angle), np.sin(angle)])
    curves = []
    for mean, covariance in zip(mixture.means[0], mixture.covariances[0], strict=True):
        x, y = mean[:, None] + np.linalg.cholesky(covariance) @ circle
        curves.append((x, y))
    return curves


def _note(settings: MixtureSettings) -> str:
    chains = settings.chains * len(settings.seeds)
    return f"line: median over up to {chains} chains; band: nine of ten of them"
