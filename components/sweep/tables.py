"""A sweep's tables, out of its books: a row a trial, and every trial's way to its last generation."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from components.measures.risk import Risk
from components.sweep import objectives
from components.sweep.books import Books


def trials(books: Books, fields: Sequence[str], threshold: float) -> pd.DataFrame:
    """trials.parquet: trial, the searched `fields`, state, generation, error, collapse, cost, seconds, validation_error,
    validation_collapse, found, best, pareto.

    Numbers are those at the last generation reached. Error and collapse are those on the test split; `best` and `pareto`
    were chosen by those on the validation split, which are the same where the risk is exact. `found`: generations that
    the store had when the trial began.
    """
    rows, best, front = [], books.best(threshold), books.front()
    for one in books.asked():
        reports = books.reports(one.number)
        last: Mapping[str, Any] = list(reports.values())[-1] if reports else {}
        row: dict[str, Any] = {"trial": one.number}
        row |= {name: one.user_attrs.get("point", {}).get(name) for name in fields}
        row |= {"state": books.state(one.number), "generation": last.get("generation", -1)}
        row |= {"error": objectives.mean_error(last)}
        row |= {name: last.get(name, float("nan")) for name in objectives.OBJECTIVES}
        row |= {"validation_error": objectives.mean_error(last, objectives.VALIDATION)}
        row |= {name: last.get(name, float("nan")) for name in objectives.STEERING.values()}
        row |= {"found": one.user_attrs.get("found", 0), "best": one.number == best, "pareto": one.number in front}
        rows.append(row)
    return pd.DataFrame(rows)


def paths(books: Books, risk: Risk) -> pd.DataFrame:
    """generations.parquet: trial, seed, generation, value (the error on the test split), collapse."""
    rows = []
    for one in books.asked():
        reports = books.reports(one.number)
        for generation, numbers in reports.items():
            for seed, value in objectives.errors(numbers).items():
                before = objectives.errors(reports[min(reports)])[seed]  # of one that diverged at once, its last
                rows.append((one.number, seed, generation, value, risk.lost(before, value)))
    return pd.DataFrame(rows, columns=["trial", "seed", "generation", "value", "collapse"])
