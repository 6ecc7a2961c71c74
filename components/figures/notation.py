"""What names and numbers look like where a study shows them."""

import html

import pandas as pd


def conditions_of(frame: pd.DataFrame) -> list[str]:
    """The conditions in the order in which the study has them."""
    return [str(name) for name in frame["condition"].unique()]


def short(value: float) -> str:
    """A number as a label: about three digits, thousands written out."""
    if 10 <= abs(value) < 1e6:
        return f"{value:,.1f}" if abs(value) < 99.95 else f"{value:,.0f}"
    return f"{value:.3g}"


def literal(text: str) -> str:
    """Text from outside (a condition's name, say) as plotly shows it unchanged.

    Plotly reads markup in every label and name (links, styles, line breaks) and places for numbers (`%{x}`) in its boxes.
    """
    return html.escape(text, quote=False).replace("%{", "&#37;{")
