"""The figures of the VAE study: images by generation (the paper's figure 9), their latents, and the measures."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure
from plotly.subplots import make_subplots
from scipy.stats import gaussian_kde

from components.config.small_families import VaeSettings
from components.families.vae.family import VaeFamily
from components.families.vae.images import evenly
from components.figures import notation, style
from components.figures.curves import Curve, Panel, draw_curves
from components.figures.files import Drawing, write_figures
from components.figures.table import over_seeds, reached
from components.recursion.records import Generation

CAPTIONS = {
    "vae_images": "Figure 9: random images of every generation's decoder, one row a generation; real images on top.",
    "vae_latents": "Where generation 0's encoder puts the images: density over all latents, by the generation that "
    "drew them; dashed: real test images.",
    "vae_measures": "Spread of the images in generation 0's latents, variance of their pixels, and how well each model describes "
    "real test images; mean over seeds, band from the lowest to the highest; dashed: the real test images' own.",
}
REAL = "real images"
ACROSS = 10
GAP = 1
DENSITY_VALUES, LEAST_DENSITY = 20_000, 1e-3
MEASURES = {
    "synthetic/latent_spread": ("Spread of the latents", "standard deviation of the latent means"),
    "synthetic/pixel_variance_share": ("Variance of the images", "share of the real images'"),
    "test/negative_elbo": ("Real test images under the model", "negative ELBO, nats an image"),
    "synthetic/negative_elbo_under_generation0": ("Images under generation 0", "negative ELBO, nats an image"),
}

Recorded = Sequence[tuple[Generation, VaeFamily]]


def closing_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """A row for each condition and generation: means over seeds, with their standard deviation for the spread and the test."""
    keys = ["condition", "generation"]
    table = reached(metrics)
    for metric, column in (
        ("synthetic/latent_spread", "latent spread"),
        ("synthetic/pixel_variance_share", "pixel variance, of real"),
        ("test/negative_elbo", "test −ELBO"),
    ):
        part = over_seeds(metrics, metric).rename(columns={"mean": column, "std": f"{column}_std"})
        table = table.merge(part[[*keys, column, f"{column}_std"]], on=keys, how="left")
    return table


def save_all(
    metrics: pd.DataFrame, folder: Path, settings: VaeSettings, recorded: Callable[[], Recorded]
) -> list[Path]:
    """Write every figure as picture and page. `recorded` gives the study's generations as the store has them."""
    first = [(one, family) for one, family in recorded() if one.chain.seed == settings.seeds[0]]
    drawn = {
        "vae_images": _images(first),
        "vae_latents": _latents(first),
        "vae_measures": _measures(metrics),
    }
    return write_figures(drawn, folder)


def _images(first: Recorded) -> Drawing:
    """A strip of images for the real data and for each generation shown, a column of strips for each condition."""
    columns: dict[str, list[tuple[str, np.ndarray]]] = {}
    shown = style.shown_generations(one.index for one, _ in first)
    for one, family in first:
        rows = columns.setdefault(one.chain.condition, [("real", _strip(family.real["train"]))])
        if one.index in shown:
            rows.append((f"generation {one.index}", _strip(family.samples(one.directories["sample"]))))
    title, note = "Images by generation", "random draws of each decoder, not chosen; the first seed"
    return _images_picture(columns, title, note), _images_page(columns, title, note)


def _strip(images: np.ndarray) -> np.ndarray:
    """Evenly spread images side by side."""
    chosen = evenly(images, ACROSS)
    return (
        np.pad(chosen, ((0, 0), (GAP, GAP), (GAP, GAP)), constant_values=255)
        .transpose(1, 0, 2)
        .reshape(chosen.shape[1] + 2 * GAP, -1)
    )


def _images_picture(columns: dict[str, list[tuple[str, np.ndarray]]], title: str, note: str) -> Figure:
    deep = max(len(rows) for rows in columns.values())
    figure = style.panels(len(columns), deep, 4.6, 0.56, title, note)
    for place, (condition, rows) in enumerate(columns.items()):
        for line, (label, strip) in enumerate(rows):
            axes = figure.add_subplot(deep, len(columns), line * len(columns) + place + 1)
            axes.imshow(strip, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if place == 0:
                axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=style.FONT - 1)
            if line == 0:
                axes.set_title(condition, fontsize=style.FONT + 1, color=style.INK, parse_math=False)
    return figure


def _images_page(columns: dict[str, list[tuple[str, np.ndarray]]], title: str, note: str) -> go.Figure:
    figure = make_subplots(
        1, len(columns), subplot_titles=[notation.literal(name) for name in columns], horizontal_spacing=0.03
    )
    deep = 1
    for place, rows in enumerate(columns.values(), start=1):
        whole = np.concatenate([strip for _, strip in rows])
        height = rows[0][1].shape[0]
        deep = max(deep, len(rows))
        grey = go.Heatmap(z=whole, zmin=0, zmax=255, colorscale="gray", showscale=False, hoverinfo="skip")
        figure.add_trace(grey, 1, place)
        middles = [(line + 0.5) * height - 0.5 for line in range(len(rows))]
        figure.update_yaxes(
            autorange="reversed",
            tickvals=middles,
            ticktext=[label for label, _ in rows],
            showticklabels=place == 1,
            showgrid=False,
            scaleanchor="x" if place == 1 else f"x{place}",
            constrain="domain",
            constraintoward="top",
            row=1,
            col=place,
        )
        figure.update_xaxes(visible=False, constrain="domain", row=1, col=place)
    style.plotly_look(figure, title, note, 180 + 44 * deep)
    return figure


def _latents(first: Recorded) -> Drawing:
    """A density for the real test images and for each generation shown, a panel for each condition."""
    shown = style.shown_generations(one.index for one, _ in first)
    colours = style.generation_colours(shown)
    panels: dict[str, list[Curve]] = {}
    for one, _ in first:
        curves = panels.setdefault(one.chain.condition, [])
        scores = pd.read_parquet(one.directories["measure"] / "scores.parquet", columns=["set", "latents"])
        latents = {name: np.concatenate(rows["latents"].to_list()) for name, rows in scores.groupby("set")}
        if one.index == 0:  # by whose model its test images are scored
            curves.append(_density(REAL, latents["test"], style.FAINT, theory=True))
        if one.index in shown:
            curves.append(_density(f"generation {one.index}", latents["synthetic"], colours[one.index]))
    note = "means that generation 0's encoder gives the images; all latents together; the first seed"
    drawn = [Panel(condition, curves, "density") for condition, curves in panels.items()]
    return draw_curves("Latents of the images, by generation", note, "latent mean", drawn, log_x=False)


def _density(name: str, values: np.ndarray, colour: str, theory: bool = False) -> Curve:
    """A kernel density estimate, as far as it is above a thousandth: a log axis is drawn."""
    places = np.linspace(values.min() - values.std(), values.max() + values.std(), 301)
    few = values[:: max(1, len(values) // DENSITY_VALUES)]
    density = gaussian_kde(few)(places)
    seen = density > LEAST_DENSITY
    return Curve(name, places[seen], density[seen], colour, theory=theory)


def _measures(metrics: pd.DataFrame) -> Drawing:
    conditions = notation.conditions_of(metrics)
    panels = []
    for metric, (title, label) in MEASURES.items():
        rows = metrics[metrics["metric"] == metric]
        curves = []
        for place, condition in enumerate(conditions):
            groups = rows[rows["condition"] == condition].groupby("generation")["value"]
            if not len(groups):
                continue
            over = groups.agg(["min", "mean", "max"])
            low, mean, high = (over[how].to_numpy() for how in ("min", "mean", "max"))
            generations = over.index.to_numpy(float)
            colour = style.CONDITION_COLOURS[place % len(style.CONDITION_COLOURS)]
            curves.append(Curve(condition, generations, mean, colour, low, high, marked=True))
        real = metrics[metrics["metric"] == metric.replace("synthetic/", "heldout/")]["value"].mean()
        if metric.startswith("synthetic/") and np.isfinite(real):
            generations = np.unique(rows["generation"].to_numpy(float))
            curves.append(Curve(REAL, generations, np.full(len(generations), real), style.FAINT, theory=True))
        panels.append(Panel(title, curves, label))
    note = "line: mean over seeds; band: lowest to highest; dashed: real test images, which no model has seen"
    return draw_curves("VAEs trained on the last one's images", note, "generation", panels, log_x=False, log_y=False)
