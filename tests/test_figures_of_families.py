"""The figures of the small families show what real data itself scores, as a dashed grey line."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from matplotlib.figure import Figure

from components import config
from components.config.small_families import DiscreteSettings, GaussianSettings
from components.figures import discrete, gaussian, style, vae
from components.figures.table import by_generation

pytestmark = pytest.mark.filterwarnings("error")


def tidy(conditions: list[str], values: Mapping[str, float], generations: int = 3) -> pd.DataFrame:
    rows = [
        (condition, 0, generation, metric, value)
        for condition in conditions
        for generation in range(generations)
        for metric, value in values.items()
    ]
    return pd.DataFrame(rows, columns=["condition", "seed", "generation", "metric", "value"])


def dashed(drawing: tuple[Figure, go.Figure], name: str) -> list[float]:
    """The heights of the grey lines of that name, panel by panel, as the picture and the page have them."""
    picture, page = drawing
    lines = [line for axes in picture.axes for line in axes.lines if line.get_label() == name]
    assert all((line.get_linestyle(), line.get_color()) == ("--", style.FAINT) for line in lines)
    traces = [trace for trace in page.data if trace.name == name]
    assert all((trace.line.dash, trace.line.color) == ("dash", style.FAINT) for trace in traces)
    heights = [float(line.get_ydata()[0]) for line in lines]
    assert heights == pytest.approx([trace.y[0] for trace in traces])
    assert all(len(set(line.get_ydata())) == 1 for line in lines)
    return heights


def test_vae_measures_of_images_stand_beside_those_of_held_out_real_images() -> None:
    values = dict.fromkeys(vae.MEASURES, 2.0)
    real = {"heldout/latent_spread": 0.8, "heldout/pixel_variance_share": 1.01}
    real |= {"heldout/negative_elbo_under_generation0": 30.0}
    drawing = vae._measures(tidy(["a", "b"], values | real))
    assert dashed(drawing, "real images") == pytest.approx([0.8, 1.01, 30.0])
    assert dashed(vae._measures(tidy(["a"], values)), "real images") == []


def test_discrete_models_stand_beside_the_real_datas_support_and_heterozygosity() -> None:
    settings = config.load(DiscreteSettings, ["--preset", "laptop"])
    names = list(settings.conditions)
    values = {f"{measure}/{part}": 0.5 for measure in ("support", "heterozygosity") for part in ("mean", "p05", "p95")}
    wide = by_generation(tidy(names, values))
    truths = {name: np.full(10, 0.1) if name.startswith("uniform") else np.array([0.75, 0.25, 0.0]) for name in names}
    assert dashed(discrete._support(wide, settings, truths), "real data") == [10, 2]
    assert dashed(discrete._heterozygosity(wide, settings, truths), "real data") == pytest.approx([0.9, 0.375])
    truths[names[-1]] = np.array([0.5, 0.5])
    assert dashed(discrete._heterozygosity(wide, settings, truths), "real data: 0.5") == pytest.approx([0.5])


def test_gaussian_variances_stand_beside_the_originals() -> None:
    settings = config.load(GaussianSettings, ["--preset", "laptop"])
    values = {"variance_of_samples": 1.5} | {f"deviation/{part}": 0.5 for part in ("median", "p05", "p95")}
    drawing = gaussian._variance(by_generation(tidy(list(settings.conditions), values)), settings)
    assert dashed(drawing, "original") == [1, 1]
