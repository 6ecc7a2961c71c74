"""The closing table of a study, and the mean with standard deviation over seeds behind it and behind the figures."""

import math
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from components.figures.notation import conditions_of

COLUMNS = [
    "condition", "generation", "seeds", "test_perplexity", "test_perplexity_std", "distinct_texts_%", "distinct_2_%",
]  # fmt: skip
MOST_DIGITS = 4
"""After the point, however little seeds differ."""


def over_seeds(metrics: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean and standard deviation (ddof=1; nan with one seed) of one metric over seeds.

    `metrics` is tidy (condition, seed, generation, metric, value); rows without a number are left out. Returns
    condition, generation, mean, std, seeds (how many), conditions in the study's order, generations ascending.
    """
    chosen = metrics[metrics["metric"] == metric].dropna(subset="value")
    groups = chosen.groupby(["condition", "generation"], sort=False)["value"]
    summary = groups.agg(["mean", "std", "count"]).rename(columns={"count": "seeds"}).reset_index()
    return _in_order(summary, conditions_of(metrics))


def of_all_seeds(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows of `over_seeds` that are means over all seeds of their condition.

    Where a chain stopped, a mean over the others would jump for no reason but that one is missing.
    """
    return summary[summary["seeds"] == summary.groupby("condition")["seeds"].transform("max")]


def by_generation(metrics: pd.DataFrame) -> pd.DataFrame:
    """A row for each condition and generation that all its seeds reached, a column per metric: means over seeds."""
    seeds = metrics.groupby(["condition", "generation"])["seed"].nunique()
    whole = seeds[seeds == seeds.groupby("condition").transform("max")].index
    wide = metrics.pivot_table(index=["condition", "generation"], columns="metric", values="value", sort=False)
    return _in_order(wide[wide.index.isin(whole)].reset_index(), conditions_of(metrics))


def reached(metrics: pd.DataFrame) -> pd.DataFrame:
    """condition, generation, and `seeds` that came so far: "3", or "1 of 3" where chains stopped before."""
    seeds = metrics.groupby(["condition", "generation"], sort=False)["seed"].nunique().rename("seeds").reset_index()
    most = seeds.groupby("condition")["seeds"].transform("max")
    seeds["seeds"] = [
        str(one) if one == all_ else f"{one} of {all_}" for one, all_ in zip(seeds["seeds"], most, strict=True)
    ]
    return seeds


def closing_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """What a study ends with, a row for each condition and generation.

    `metrics` is tidy (condition, seed, generation, metric, value). Returns COLUMNS: the seeds that came so far,
    means over these, the standard deviation over seeds (ddof=1; nan with one seed), and how many in a hundred texts
    and bigrams are different ones; nan where not measured.
    """
    table, keys = reached(metrics), ["condition", "generation"]
    perplexity = over_seeds(metrics, "test/perplexity").rename(columns={"mean": COLUMNS[3], "std": COLUMNS[4]})
    table = table.merge(perplexity[keys + COLUMNS[3:5]], on=keys, how="left")
    for metric, column in (("synthetic/distinct_texts", COLUMNS[5]), ("synthetic/distinct_2", COLUMNS[6])):
        distinct = over_seeds(metrics, metric).rename(columns={"mean": column})
        table = table.merge(distinct[[*keys, column]], on=keys, how="left")
        table[column] *= 100
    return _in_order(table, conditions_of(metrics))


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """A closing table as text: `<name>` and `<name>_std` in one column as mean ± deviation, a dash for what is not there."""
    columns = {}
    for name in table.columns:
        if name.endswith("_std"):
            continue
        spreads = table.get(f"{name}_std", pd.Series(math.nan, table.index))
        columns[name.replace("_", " ")] = [
            _spread(value, float(spread)) if pd.notna(spread) else _cell(value)
            for value, spread in zip(table[name], spreads, strict=True)
        ]
    return pd.DataFrame(columns)


def _spread(value: float, spread: float) -> str:
    """A mean with the digits that its deviation deserves, of which two are shown: 261.6 ± 8.1."""
    if not (math.isfinite(value) and math.isfinite(spread) and spread > 0):
        return f"{_cell(value)} ± {_cell(spread)}"
    digits = min(max(1 - math.floor(math.log10(spread)), 0), MOST_DIGITS)
    return f"{value:,.{digits}f} ± {spread:,.{digits}f}"


MOST_ROWS = 12
"""Of a table at the end of the terminal, which has the finding below it."""


def shortened(table: pd.DataFrame) -> pd.DataFrame:
    """A closing table with the first and the last generation of each condition only, where it is long."""
    if len(table) <= MOST_ROWS or not {"condition", "generation"} <= set(table.columns):
        return table
    generation = table["generation"].astype(int).groupby(table["condition"])
    ends = (table["generation"].astype(int) == generation.transform("min")) | (
        table["generation"].astype(int) == generation.transform("max")
    )
    return table[ends]


def _cell(value: object) -> str:
    if isinstance(value, float):
        if math.isnan(value):
            return "–"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"
    return str(value)


def _in_order(frame: pd.DataFrame, conditions: list[str]) -> pd.DataFrame:
    place = {condition: index for index, condition in enumerate(conditions)}
    order = frame.assign(_place=frame["condition"].map(place)).sort_values(["_place", "generation"])
    return order.drop(columns="_place").reset_index(drop=True)


FIRMER = {
    "one seed": "seeds=3 or more",
    "test split": "a larger test split, not more seeds",
    "threshold": "not by more seeds",
    "tie": "not known: the seeds agree exactly",
}
"""What would make an open verdict firm, by what keeps it open."""


def verdicts_table(card: pd.DataFrame) -> pd.DataFrame:
    """A scorecard as text: claim, verdict, what would make it firmer, difference, conditions, generations."""
    rows = [
        (row["claim"], row["verdict"], _firmer(row), _difference(row), row["conditions"], row.get("generations", ""))
        for row in card.to_dict("records")
    ]
    columns = ["claim", "verdict", "firmer", "difference (95 % interval)", "conditions", "generation"]
    return pd.DataFrame(rows, columns=columns)


def _difference(row: Mapping[Hashable, Any]) -> str:
    estimate, low, high = (float(row[name]) for name in ("estimate", "low", "high"))
    interval = "" if math.isnan(low) else f" ({low:.3g} to {high:.3g})"
    return "" if math.isnan(estimate) else f"{estimate:.3g}{interval} {row['unit']}"


def _firmer(row: Mapping[Hashable, Any]) -> str:
    """What would make an open verdict a firm one."""
    if not row["verdict"].startswith("cannot tell"):
        return ""
    needed = float(row["seeds_needed"])
    if not math.isnan(needed):
        return f"about {needed:.0f} seeds would tell"
    because = "one seed" if row["seeds"] == 1 else row.get("open_because") or "threshold"
    return FIRMER.get(because, FIRMER["threshold"])
