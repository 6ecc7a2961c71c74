"""Figure 15 of the paper: the histograms of figure 11 behind each other, the generations as the third axis."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D  # type: ignore[import-untyped]
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from components.figures import notation, style
from components.figures.figure11_perplexity_histograms import REAL, Histograms, histograms, label, seeds_note

CAPTION = (
    "The histograms of figure 11 one behind the other (figure 15 of the paper): perplexity of each sequence "
    "under the generation-0 model, real test text in front; seeds pooled. Left: linear height. Right: logarithmic."
)
_TITLE = "Generated sequences, as the generation-0 model sees them"
_X, _Z = "perplexity under\ngeneration 0", "share of sequences"


def draw(scores: pd.DataFrame) -> tuple[Figure, go.Figure]:
    """Figure 15 from scores (condition, seed, generation, set, row, perplexity): a row a condition.

    matplotlib: linear height on the left, logarithmic on the right; plotly: one scene a condition and a switch.
    """
    numbers = histograms(scores)
    return _matplotlib(numbers), _plotly(numbers)


def _matplotlib(numbers: Histograms) -> Figure:
    rows = len(numbers.conditions)
    figure = style.panels(2, rows, 6.8, 4.5, _TITLE, f"grey: real test text; {seeds_note(numbers)}")
    for row, condition in enumerate(numbers.conditions):
        for column, logarithmic in enumerate((False, True)):
            axes: Axes3D = figure.add_subplot(rows, 2, 2 * row + column + 1, projection="3d")
            title = condition + (", log height: the tail" if logarithmic else "")
            axes.set_title(title, fontsize=style.FONT + 1, color=style.INK, parse_math=False)
            _ridges(axes, numbers, condition, logarithmic)
    return figure


def _ridges(axes: Axes3D, numbers: Histograms, condition: str, logarithmic: bool) -> None:
    """Histograms as filled steps, drawn from the back to the front; matplotlib's 3-D axes know no log scale."""
    colours, drawn = {REAL: style.REAL, **style.generation_colours(numbers.generations)}, _rows(numbers)
    floor, top = numbers.smallest / 2, max(float(shares.max()) for shares in numbers.shares.values())
    x = np.log10(np.repeat(numbers.edges, 2)[1:-1])
    for place, generation in reversed(list(enumerate(drawn))):
        if (condition, generation) not in numbers.shares:
            continue
        shares = np.repeat(numbers.shares[condition, generation], 2)
        height = np.log10(np.maximum(shares, floor)) if logarithmic else shares
        bottom = np.full_like(x, np.log10(floor) if logarithmic else 0)
        depth = np.full_like(x, place)
        order = len(drawn) - place
        axes.fill_between(x, depth, bottom, x, depth, height, color=colours[generation], alpha=0.45, zorder=order)
        edge = style.FAINT if generation == REAL else colours[generation]
        axes.plot(x, depth, height, color=edge, linewidth=1.4, zorder=order + 0.5)
    ticks, labels = style.log_ticks(numbers.edges[0], numbers.edges[-1], 2)
    axes.set_xticks(np.log10(ticks), labels)
    axes.set_yticks(range(len(drawn)), ["real" if generation == REAL else str(generation) for generation in drawn])
    if logarithmic:
        ticks, labels = style.log_ticks(floor, top * 1.2, 2)
        axes.set_zticks(np.log10(ticks), labels)
        axes.set_zlim(np.log10(floor), np.log10(top * 1.2))
    else:
        axes.set_zlim(0, top * 1.05)
    axes.set_xlabel(_X, fontsize=style.FONT, labelpad=12)
    axes.set_ylabel("generation", fontsize=style.FONT, labelpad=6)
    axes.set_zlabel(_Z, fontsize=style.FONT, labelpad=8)
    axes.tick_params(labelsize=style.FONT - 2)
    axes.view_init(elev=28, azim=-62)
    axes.set_box_aspect((1.5, 1.1, 0.8), zoom=1.05)
    axes.computed_zorder = False  # the order above; sorting by mean depth lets ridges cut through each other


def _plotly(numbers: Histograms) -> go.Figure:
    rows, drawn = len(numbers.conditions), _rows(numbers)
    colours = {REAL: style.REAL, **style.generation_colours(numbers.generations)}
    floor, top = numbers.smallest / 2, max(float(shares.max()) for shares in numbers.shares.values())
    titles = [notation.literal(condition) for condition in numbers.conditions]
    figure = make_subplots(
        rows, 1, specs=[[{"type": "scene"}]] * rows, subplot_titles=titles, vertical_spacing=0.12 / rows
    )
    for row, (condition, title) in enumerate(zip(numbers.conditions, titles, strict=True)):
        for generation in numbers.drawn(condition):
            shares = np.repeat(numbers.shares[condition, generation], 2)
            x, z = np.repeat(numbers.edges, 2)[1:-1], np.maximum(shares, floor)  # log height knows no 0
            y, name = np.full_like(x, drawn.index(generation)), label(generation)
            hover = f"perplexity %{{x:.4g}}: %{{customdata:.2%}} of sequences<extra>{title}, {name}</extra>"
            line = go.Scatter3d(
                x=x, y=y, z=z, customdata=shares, mode="lines", line={"color": colours[generation], "width": 5},
                name=name, legendgroup=name, showlegend=row == 0, hovertemplate=hover,
            )  # fmt: skip
            figure.add_traces([line, _curtain(x, y, z, floor, colours[generation], name)], row + 1, 1)
    z_ticks, z_labels = style.log_ticks(floor, top * 1.2, 2)
    z_log = {"type": "log", "range": [float(np.log10(floor)), float(np.log10(top * 1.2))]}
    z_log |= {"tickmode": "array", "tickvals": z_ticks, "ticktext": z_labels}
    z_linear = {"type": "linear", "range": [0, top * 1.05], "tickmode": "auto", "tickvals": None, "ticktext": None}
    names = ["real" if generation == REAL else str(generation) for generation in drawn]
    figure.update_scenes(
        xaxis={**style.plotly_log_axis(numbers.edges[0], numbers.edges[-1], 2), "title": {"text": "perplexity"}},
        yaxis={"tickvals": list(range(len(drawn))), "ticktext": names, "title": {"text": "generation"}},
        zaxis={**z_linear, "title": {"text": "share"}},
        aspectmode="manual", aspectratio={"x": 1.6, "y": 1.1, "z": 0.8},
        camera={"eye": {"x": 0.95, "y": -1.85, "z": 0.95}, "center": {"x": 0, "y": 0, "z": -0.2}},
    )  # fmt: skip
    note = f"perplexity of each sequence under the generation-0 model; grey: real test text; {seeds_note(numbers)}"
    style.plotly_look(figure, _TITLE, note, 170 + 560 * rows)
    scenes = ["scene" if row == 0 else f"scene{row + 1}" for row in range(rows)]
    buttons = [
        {
            "label": text,
            "method": "relayout",
            "args": [{f"{scene}.zaxis.{k}": v for scene in scenes for k, v in axis.items()}],
        }
        for text, axis in (("linear height", z_linear), ("log height: the tail", z_log))
    ]
    switch = {"type": "buttons", "direction": "right", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"}
    figure.update_layout(
        updatemenus=[{**switch, "pad": {"l": 8, "b": 8}, "buttons": buttons}], margin={"l": 10, "b": 10}
    )
    return figure


def _curtain(
    x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64], floor: float, colour: str, name: str
) -> go.Mesh3d:
    """The filling under one ridge: two triangles between each two neighbouring points and the floor."""
    count = x.size
    left = np.arange(count - 1)
    return go.Mesh3d(
        x=np.tile(x, 2), y=np.tile(y, 2), z=np.concatenate([z, np.full(count, floor)]),
        i=np.concatenate([left, left + 1]), j=np.concatenate([left + 1, left + 1 + count]),
        k=np.concatenate([left + count, left + count]), color=colour, opacity=0.45, legendgroup=name, hoverinfo="skip",
        lighting={"ambient": 1, "diffuse": 0, "specular": 0},
    )  # fmt: skip


def _rows(numbers: Histograms) -> list[int]:
    """Places on the generation axis from front to back."""
    real = any(generation == REAL for _, generation in numbers.shares)
    return [REAL, *numbers.generations] if real else numbers.generations
