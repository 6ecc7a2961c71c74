"""A study's numbers as claims ask for them: by condition and metric, generations down, seeds across."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from components.measures.risk import Risk


@dataclass(frozen=True)
class Numbers:
    """`table`: rows (condition, seed, generation), a column a metric. `settings`: each condition's, as its chains have them."""

    table: pd.DataFrame
    settings: Mapping[str, Mapping[str, Any]]

    def of(self, condition: str, metric: str) -> pd.DataFrame:
        """Generations down, seeds across, without generations that a seed has not reached; empty without generation 0 and a later one."""
        if metric not in self.table or condition not in self.table.index.get_level_values("condition"):
            return pd.DataFrame()
        found = self.table[metric].loc[condition].unstack("seed").dropna()
        return found if len(found) > 1 and 0 in found.index else found.iloc[:0]

    def change(self, condition: str, metric: str) -> pd.Series:
        """From generation 0 to the last one, of the logarithm; by seed."""
        found = self.of(condition, metric)
        return logarithm(found.iloc[-1] / found.iloc[0]) if len(found) else pd.Series(dtype=float)

    def rise(self, condition: str, risk: Risk) -> pd.Series:
        """How much worse the last generation is than generation 0, as a logarithm; by seed."""
        found = self.of(condition, risk.metric)
        if found.empty:
            return pd.Series(dtype=float)
        return pd.Series({seed: risk.lost(of.iloc[0], of.iloc[-1]) for seed, of in found.items()})

    def share_lost(self, condition: str, metric: str, generation: int | None = None) -> pd.Series:
        """Of what generation 0 has, what the last generation (or another) has not; by seed."""
        found = self.of(condition, metric)
        at = generation if generation is not None else found.index[-1] if len(found) else 0
        if at not in found.index:
            return pd.Series(dtype=float)
        return 1 - found.loc[at] / found.loc[0]

    def without_real_data(self) -> list[str]:
        """Conditions whose generations are trained on the last one's samples and nothing else."""
        return [name for name, of in self.settings.items() if _replaces_all(of["regime"])]


def _replaces_all(regime: Mapping[str, Any]) -> bool:
    return regime["name"] == "replace" and not any(value for key, value in regime.items() if key != "name")


def numbers(metrics: pd.DataFrame, settings: Mapping[str, Mapping[str, Any]]) -> Numbers:
    """Out of tidy metrics (condition, seed, generation, metric, value)."""
    table = metrics.pivot_table(index=["condition", "seed", "generation"], columns="metric", values="value")
    return Numbers(table, settings)


def logarithm(values: pd.Series) -> pd.Series:
    """Of what is above nought; nan elsewhere."""
    return np.log(values.where(values > 0))


def by_seed(values: pd.Series) -> dict[int, float]:
    """Without seeds that have no number: a ratio to nought, the logarithm of it."""
    return {int(str(seed)): float(value) for seed, value in values.items() if np.isfinite(value)}
