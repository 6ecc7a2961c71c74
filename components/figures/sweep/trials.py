"""A sweep as its figures take it: its trials, which of their numbers can be drawn, and how a trial is named."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pandas as pd

from components.figures import notation

if TYPE_CHECKING:
    from components.figures.sweep.curve import FittedCurve

REAL_FRACTION = "real_fraction"
MOST_NATS = 600  # of collapse, above which no factor is written: exp of it is no number any more


@dataclass(frozen=True)
class SweepFigures:
    """A sweep as its figures take it.

    `trials`: a row a trial: trial, state (completed, pruned, failed or running), generation (the last it reached),
    collapse (nats, there), cost, seconds, best, pareto, and a column for each searched field (numbers or text, missing
    where it did not apply). `paths`: trial, seed, generation, value (the error), collapse (log of it over generation
    0's). `unit`: what cost counts. Error and collapse are those on the test split; which trial is the best was chosen on
    the validation split. `best_means`: by what, in words. `best_so_far`: by trial, the best of those up to it, or None.
    """

    trials: pd.DataFrame
    paths: pd.DataFrame
    fields: Sequence[str]
    objectives: Sequence[str]
    measure: str
    unit: str
    study: optuna.Study
    curve: "FittedCurve | None"
    best_means: str
    best_so_far: Mapping[int, int | None]


def in_state(sweep: SweepFigures, state: str, *finite: str) -> pd.DataFrame:
    """The trials in a state that have finite numbers in all these columns."""
    chosen = sweep.trials[sweep.trials["state"] == state]
    keep = np.ones(len(chosen), bool)
    for column in finite:
        keep &= np.isfinite(numbers(chosen, column))
    return chosen[keep]


def numbers(rows: pd.DataFrame, column: str) -> np.ndarray:
    """A column as floats; nan where a trial has none."""
    return pd.to_numeric(rows[column], errors="coerce").to_numpy(float, na_value=np.nan)


def numeric_fields(sweep: SweepFigures) -> list[str]:
    """The searched fields whose values are numbers, and not a choice of words or of yes and no."""
    found = []
    for field in sweep.fields:
        values = sweep.trials[field].dropna()
        if len(values) and all(map(_is_number, values)):
            found.append(field)
    return found


def logarithmic(sweep: SweepFigures, field: str) -> bool:
    """Whether a field was searched on a log scale."""
    for trial in sweep.study.get_trials(deepcopy=False):
        if field in trial.distributions:
            return bool(getattr(trial.distributions[field], "log", False))
    return False


def main_field(sweep: SweepFigures) -> str:
    """What trials are coloured by: real fraction, else the first number that was searched, else their own number."""
    numeric = numeric_fields(sweep)
    return REAL_FRACTION if REAL_FRACTION in numeric else numeric[0] if numeric else "trial"


def readable(name: str) -> str:
    return name.replace("_", " ")


def objective_label(sweep: SweepFigures, objective: str) -> str:
    labels = {"collapse": "collapse (nats)", "cost": f"cost ({sweep.unit} of real data)", "seconds": "seconds of work"}
    return labels.get(objective, readable(objective))


def settings(row: pd.Series, fields: Iterable[str]) -> str:
    """What a trial tried, as text: `real fraction 0.35, epochs 4`."""
    shown = [f"{readable(field)} {_value(row[field])}" for field in fields if not pd.isna(row[field])]
    return ", ".join(shown)


def hover(row: pd.Series, sweep: SweepFigures, *lines: str) -> str:
    """A trial's box on a page: its number and state, its settings, and these lines."""
    best = ", the best" if row["best"] else ""
    parts = [f"trial {row['trial']} ({row['state']}{best})", settings(row, sweep.fields), *lines]
    return "<br>".join(notation.literal(part) for part in parts if part)


def rise(collapse: float) -> str:
    """exp(collapse), as text: how many times a perplexity rose."""
    return f"×{notation.short(math.exp(collapse))}" if abs(collapse) < MOST_NATS else ""


def nats(collapse: float) -> str:
    """A collapse as text: nats and the factor."""
    return f"collapse {notation.short(collapse)} nats ({rise(collapse)})".replace(" ()", "")


def _value(value: Any) -> str:
    if not _is_number(value):
        return str(value)
    number = float(value)
    return f"{number:.0f}" if number.is_integer() and abs(number) < 1e6 else notation.short(number)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
