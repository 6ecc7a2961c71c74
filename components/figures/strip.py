"""One prompt's texts side by side: real text, then what some generations of each condition wrote after it.

Text that repeats itself is folded ("It is used. x 8") and blanks are shown, so that collapse can be seen at a glance.
"""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from components.figures.samples import LONG, Sample, visible
from components.figures.style import CONDITION_COLOURS, DOTS_PER_INCH, FAINT, FONT, INK

NAME = "texts"
CAPTION = (
    "One prompt (real training text) and how generations continued it. Repeats are folded: [text] x 8 stands for eight in a row; "
    "a bracket with blanks counts white space; a bent arrow ends a line. The prompt is, of those that every generation continued, "
    "the one with the largest share of letters."
)
REAL = "real text"
LEAST_REPEATS, LONG_PHRASE = 3, 4
"""A phrase is folded from so many in a row on; one of at least so many words from two on."""
_COLUMN, _LINE, _WRAP = 2.9, 0.165, 37
_EDGE, _HEADING, _NAME, _GAP = 0.15, 0.45, 0.22, 0.15
"""Inches; `_WRAP` in characters."""
_BLANKS = re.compile(rf"\s{{{LONG},}}")
_TOKEN = re.compile(r"[^ \t\n]+")

Piece = tuple[str, int]
"""A phrase, and how often it stands there in a row."""


@dataclass(frozen=True)
class Strip:
    """`columns`: headings, the prompt's first. `rows`: a condition with its texts in pieces, one per generation shown."""

    prompt: list[Piece]
    columns: list[str]
    rows: list[tuple[str, list[list[Piece]]]]


def strip_of(samples: Sequence[Sample]) -> Strip | None:
    """The texts of the study's first seed after the prompt that is most readable; None without a later generation.

    Generations shown: 0, 1 and the last one that all conditions reached.
    """
    if not samples:
        return None
    mine = [one for one in samples if one.seed == samples[0].seed]
    conditions = list(dict.fromkeys(one.condition for one in mine))
    written = {(one.condition, one.generation, one.prompt): one.continuation for one in mine}
    last = min(max(one.generation for one in mine if one.condition == name) for name in conditions)
    generations = sorted({0, 1, last})
    whole = [
        prompt
        for prompt in dict.fromkeys(one.prompt for one in mine)
        if all((name, generation, prompt) in written for name in conditions for generation in generations)
    ]
    if last < 1 or not whole:
        return None
    prompt = max(whole, key=_letters)
    return Strip(
        folded(_plain(prompt)),
        [REAL, *(f"generation {generation}" for generation in generations)],
        [
            (name, [folded(_plain(written[name, generation, prompt])) for generation in generations])
            for name in conditions
        ],
    )


def folded(text: str) -> list[Piece]:
    """The text as phrases, each with how often it stands there in a row; joined and repeated they are its words."""
    words = _TOKEN.findall(_BLANKS.sub(_counted, text).replace("\n", " ↵ "))
    pieces: list[Piece] = []
    plain: list[str] = []
    place = 0
    while place < len(words):
        size, times = _repeat(words, place)
        if times == 1:
            plain.append(words[place])
            place += 1
            continue
        if plain:
            pieces.append((" ".join(plain), 1))
            plain = []
        pieces.append((" ".join(words[place : place + size]), times))
        place += size * times
    return [*pieces, (" ".join(plain), 1)] if plain else pieces


def save(samples: Sequence[Sample], folder: Path) -> list[Path]:
    """Write the strip as `texts.png`, where there is one; return what was written."""
    if (strip := strip_of(samples)) is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    draw(strip).savefig(folder / f"{NAME}.png", facecolor="white")
    return [folder / f"{NAME}.png"]


def draw(strip: Strip) -> Figure:
    """The strip as a picture: the prompt to the left, then a row per condition with a column per text."""
    prompt = _wrapped(strip.prompt)
    rows = [[_wrapped(text) for text in texts] for _, texts in strip.rows]
    heights = [max(map(len, row)) * _LINE + _NAME + _GAP for row in rows]
    width = _COLUMN * len(strip.columns) + 2 * _EDGE
    height = _HEADING + max(sum(heights), len(prompt) * _LINE + _NAME + _GAP)
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH)

    def write(column: int, top: float, text: str, size: float, colour: str, **how: Any) -> None:
        x = (_EDGE + column * _COLUMN) / width
        place: dict[str, Any] = {"va": "top", "ha": "left", "linespacing": 1.25, "parse_math": False}
        figure.text(x, 1 - top / height, text, fontsize=size, color=colour, **place, **how)

    for column, heading in enumerate(strip.columns):
        write(column, _EDGE, heading, FONT - 1, INK, weight="bold")
    write(0, _HEADING + _NAME, "\n".join(prompt), FONT - 3, FAINT, family="monospace")
    top = _HEADING
    for place, ((name, _), row, tall) in enumerate(zip(strip.rows, rows, heights, strict=True)):
        write(1, top, name, FONT - 2, CONDITION_COLOURS[place % len(CONDITION_COLOURS)], weight="bold")
        for column, lines in enumerate(row, start=1):
            write(column, top + _NAME, "\n".join(lines), FONT - 3, INK, family="monospace")
        top += tall
    return figure


def said(pieces: Sequence[Piece]) -> str:
    """Pieces as one text: `[phrase] x 8` for a phrase that stands there eight times in a row."""
    return " ".join(text if times == 1 else f"[{text}] × {times}" for text, times in pieces)


def _wrapped(pieces: Sequence[Piece]) -> list[str]:
    return textwrap.wrap(said(pieces), _WRAP) or ["(nothing)"]


def _repeat(words: Sequence[str], place: int) -> tuple[int, int]:
    """The phrase at a place whose repeats cover most words there: its length in words and how often it stands in a row."""
    best = (1, 1)
    for size in range(1, (len(words) - place) // 2 + 1):
        phrase, times = words[place : place + size], 1
        while words[place + size * times : place + size * (times + 1)] == phrase:
            times += 1
        enough = LEAST_REPEATS if size < LONG_PHRASE else 2
        if times >= enough and size * times > best[0] * best[1]:
            best = (size, times)
    return best


def _counted(run: re.Match[str]) -> str:
    """White space too long to be seen as what it is, as a word that says so."""
    return f" [{len(run[0])}\u00a0blanks] "


def _letters(text: str) -> float:
    """Share of characters that are letters: of the prompts shown, the highest is the most readable one."""
    return sum(map(str.isalpha, text)) / max(len(text), 1)


def _plain(text: str) -> str:
    """Text without the separator of lines, which no sample can hold, and with control characters made visible."""
    return visible(text.replace("</s>", "")).strip("\n")
