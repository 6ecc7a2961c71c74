"""The loss of a pretraining by step: thin as measured, bold smoothed."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure

from components.figures import style
from components.figures.curves import Curve, Panel, draw_curves

WINDOW = 50
"""Steps that are averaged for the curve."""


def draw(losses: pd.DataFrame) -> tuple[Figure, go.Figure]:
    """From columns step and loss (nats per token), one row per step."""
    window = min(WINDOW, len(losses))
    smooth = losses["loss"].rolling(window).mean().to_numpy()[window - 1 :]
    steps = losses["step"].to_numpy()[window - 1 :] + 1
    curve = Curve("training", steps, smooth, style.CONDITION_COLOURS[0])
    note = f"mean over the last {window} steps; {len(losses):,} steps; last: {np.exp(smooth[-1]):.3g} in perplexity"
    panels = [Panel("Pretraining", [curve], "loss, nats per token")]
    return draw_curves("Loss by step", note, "step", panels, log_x=False, log_y=False)
