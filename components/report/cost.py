"""What a study cost: seconds by phase, tokens trained on and written, and their speed.

Taken from the study's own numbers, so it is the work that the results took, also where some of it was found in the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

PHASES = {"fit": "fine-tuning", "sample": "writing", "measure": "measuring"}
TOKENS = {"fit": "tokens trained on", "sample": "tokens written"}
_HOUR = 3600


@dataclass(frozen=True)
class Cost:
    """A row a condition and one for all; `total`: seconds of all phases of all chains, for people."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: str


def cost(metrics: pd.DataFrame) -> Cost | None:
    """Out of tidy metrics (condition, seed, generation, metric, value); nothing where no phase was timed.

    Tokens are speed times seconds of the same phase, which is how the speed came about.
    """
    timed = metrics[metrics["metric"].str.startswith(("seconds/", "tokens_per_second/"))]
    numbers = timed.pivot_table(index=["condition", "seed", "generation"], columns="metric", values="value")
    phases = [phase for phase in PHASES if f"seconds/{phase}" in numbers]
    if not phases:
        return None
    counted = [phase for phase in TOKENS if f"tokens_per_second/{phase}" in numbers and phase in phases]
    work = pd.DataFrame({f"{PHASES[phase]} (s)": numbers[f"seconds/{phase}"] for phase in phases})
    for phase in counted:
        work[TOKENS[phase]] = numbers[f"seconds/{phase}"] * numbers[f"tokens_per_second/{phase}"]
    conditions = list(dict.fromkeys(metrics["condition"]))
    sums = work.groupby(level="condition").sum().loc[conditions]
    sums.loc["all"] = sums.sum()
    shown = sums.copy()
    for phase in counted:
        shown[f"tokens/s, {PHASES[phase]}"] = sums[TOKENS[phase]] / sums[f"{PHASES[phase]} (s)"]
    rows = [[str(name), *(_number(value) for value in row)] for name, *row in shown.itertuples(name=None)]
    seconds = sum(float(work[f"{PHASES[phase]} (s)"].sum()) for phase in phases)
    return Cost(["condition", *map(str, shown.columns)], rows, _duration(seconds))


def _number(value: float) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 1.5 * _HOUR else f"{seconds / _HOUR:.1f} hours"
