"""The figures of a sweep: its trials by generation, the curve fitted to them, and what Optuna knows of them.

Every module draws a figure (`optuna_plots` three) as a picture and as a page; `save_all` writes those whose numbers are
there: a sweep with few trials, or all of them pruned, has fewer.
"""

from pathlib import Path

import numpy as np

from components.figures.files import Drawing, write_figures
from components.figures.sweep import by_generation, contour, curve, optuna_plots
from components.figures.sweep.curve import FittedCurve
from components.figures.sweep.trials import SweepFigures

__all__ = ["CAPTIONS", "FittedCurve", "SweepFigures", "save_all"]

CAPTIONS: dict[str, str] = {
    "sweep_by_generation": by_generation.CAPTION,
    "sweep_curve": curve.CAPTION,
    "sweep_contour": contour.CAPTION,
    "sweep_importances": optuna_plots.IMPORTANCES_CAPTION,
    "sweep_pareto": optuna_plots.PARETO_CAPTION,
    "sweep_history": optuna_plots.HISTORY_CAPTION,
}


def save_all(sweep: SweepFigures, folder: Path) -> list[Path]:
    """Write `<figure>.png` and `<figure>.html` of every figure whose numbers are there; return the paths written."""
    drawn: dict[str, Drawing] = {}
    if np.isfinite(by_generation.means(sweep.paths)["value"]).any():
        drawn["sweep_by_generation"] = by_generation.draw(sweep)
    if curve.possible(sweep):
        drawn["sweep_curve"] = curve.draw(sweep)
    if contour.surface(sweep) is not None:
        drawn["sweep_contour"] = contour.draw(sweep)
    if not (shares := optuna_plots.importances(sweep)).empty:
        drawn["sweep_importances"] = optuna_plots.draw_importances(sweep, shares)
    if optuna_plots.front_possible(sweep):
        drawn["sweep_pareto"] = optuna_plots.draw_pareto(sweep)
    if optuna_plots.history_possible(sweep):
        drawn["sweep_history"] = optuna_plots.draw_history(sweep)
    return write_figures(drawn, folder)
