"""The scorecard and the collapse profile as rows of a page."""

from typing import Any

import pandas as pd

from components.figures.table import verdicts_table

MARKS = {"holds here": "holds", "does not": "fails", "cannot tell": "open"}
"""How a verdict begins, and how it is marked."""
PROFILE = (
    "definition", "meaning", "source", "addressed_by", "conditions", "generations", "missing", "verdict", "why_not",
)  # fmt: skip


def mark(verdict: str) -> str:
    """`holds`, `fails`, `open`, or `none` where nothing was asked."""
    return next((mark for begins, mark in MARKS.items() if verdict.startswith(begins)), "none")


def scorecard_rows(card: pd.DataFrame | None) -> list[dict[Any, Any]]:
    """A row per claim: what a terminal shows, its definition, its seeds, how many agree, and what is missing."""
    if card is None:
        return []
    shown = verdicts_table(card).rename(columns={"difference (95 % interval)": "difference"})
    shown = shown.assign(definition=card["definition"], seeds=card["seeds"], agree=card["agree"])
    return shown.assign(missing=card.get("missing", "")).to_dict("records")  # older cards do not say what is missing


def conditional_on(*tables: pd.DataFrame | None) -> str:
    """What the intervals of a study's tables do not cover, in words; empty where the tables do not say."""
    said = [table["conditional_on"] for table in tables if table is not None and "conditional_on" in table]
    return next((text for column in said for text in column if text and isinstance(text, str)), "")


def profile_rows(profile: pd.DataFrame | None) -> list[dict[str, str]]:
    """Rows of text, of whatever columns there are; an estimate with its interval and unit in one cell."""
    rows = []
    for row in [] if profile is None else profile.to_dict("records"):
        known = {str(name): value for name, value in row.items() if pd.notna(value) and value != ""}
        numbers = [f"{known[name]:.3g}" for name in ("estimate", "low", "high") if name in known]
        interval = f" ({numbers[1]} to {numbers[2]})" if len(numbers) == 3 else ""
        text = {name: str(known.get(name, "")) for name in PROFILE}
        rows.append({**text, "estimate": f"{numbers[0]}{interval} {known.get('unit', '')}".strip() if numbers else ""})
    return rows
