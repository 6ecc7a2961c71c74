"""Lines and tables as a person reads them, at a terminal or in a log."""

import logging
import re
import sys

import pandas as pd
from rich.console import Console
from rich.table import Table

from components import logs

logger = logging.getLogger(__name__)
console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)

NUMBER = re.compile(r"[-−]?\d|–?$")
"""How a cell of numbers begins: or it is a dash, or empty."""


def say(line: str, **fields: object) -> None:
    """A line for a person; where logs are for machines, a record of it with these fields."""
    if logs.structured():
        logger.info(line, extra=fields)
    else:
        console.print(line)


def print_table(title: str, frame: pd.DataFrame) -> None:
    """A table for a person; where logs are for machines, a record of it."""
    if logs.structured():
        logger.info(title, extra={"table": frame.astype(str).to_dict("records")})
    else:
        console.print(table(title, frame))


def table(title: str, frame: pd.DataFrame) -> Table:
    """A table of text and numbers; a column of text that reads as numbers stands to the right."""
    drawn = Table(title=title, title_justify="left")
    for place, column in enumerate(frame.columns):
        numeric = place > 0 and all(NUMBER.match(str(value)) for value in frame.iloc[:, place])
        drawn.add_column(str(column), justify="right" if numeric else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        drawn.add_row(*(str(value) for value in row))
    return drawn


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as a person would say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def time_left(seconds: float) -> str:
    """How long still."""
    return f"about {duration(seconds)} left"
