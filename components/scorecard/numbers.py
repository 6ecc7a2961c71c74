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

    def at(self, condition: str, metric: str, generation: int | None = None) -> pd.Series:
        """Of a generation, the last one if not named, by seed; empty where it is not there."""
        found = self.of(condition, metric)
        wanted = found.index[-1:] if generation is None else found.index.intersection([generation])
        return found.loc[wanted].iloc[0] if len(wanted) else pd.Series(dtype=float)

    def change(self, condition: str, metric: str) -> pd.Series:
        """From generation 0 to the last one, of the logarithm; by seed."""
        return logarithm(self.at(condition, metric) / self.at(condition, metric, 0))

    def rise(self, condition: str, risk: Risk) -> pd.Series:
        """How much worse the last generation is than generation 0, as a logarithm; by seed."""
        before, after = self.at(condition, risk.metric, 0), self.at(condition, risk.metric)
        lost = [risk.lost(float(was), float(now)) for was, now in zip(before, after, strict=True)]
        return pd.Series(lost, index=after.index, dtype=float)

    def share_lost(self, condition: str, metric: str, generation: int | None = None) -> pd.Series:
        """Of what generation 0 has, what the last generation (or another) has not; by seed."""
        return 1 - self.at(condition, metric, generation) / self.at(condition, metric, 0)

    def late_fall(self, condition: str, metric: str) -> pd.Series:
        """Of the logarithm, from the middle of the generations to the last one; by seed."""
        last = len(self.of(condition, metric)) - 1
        return logarithm(self.at(condition, metric, last // 2) / self.at(condition, metric, last))

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
