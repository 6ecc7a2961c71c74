"""A study's figures inside the page: each as a picture that is always there, and as numbers that plotly draws when it is looked at.

Numbers, and plotly itself, are in the page gzipped, as base64: the page opens without reading either.
"""

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

_CALL = re.compile(r'Plotly\.newPlot\(\s*"[^"]*",\s*')
_COMMA = re.compile(r"\s*,\s*")
_MARKUP = re.compile(r"<[^>]*>")


@dataclass(frozen=True)
class Figure:
    """`picture`: a data address. `numbers`: gzipped JSON [data, layout] as base64; empty where there is no interactive page."""

    name: str
    title: str
    caption: str
    picture: str
    numbers: str


def figures_of(files: Sequence[Path], captions: Mapping[str, str]) -> list[Figure]:
    """The figures among the files: those that have a picture, in the order of the pictures."""
    pages = {file.stem: file for file in files if file.suffix == ".html"}
    return [_figure(file, pages.get(file.stem), captions.get(file.stem, "")) for file in files if file.suffix == ".png"]


def _figure(picture: Path, page: Path | None, caption: str) -> Figure:
    drawn = drawn_by(page.read_text(encoding="utf-8")) if page else None
    title = _title(drawn[1]) if drawn else ""
    return Figure(
        picture.stem,
        title or picture.stem.replace("_", " "),
        caption,
        "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode("ascii"),
        packed(json.dumps(drawn)) if drawn else "",
    )


def drawn_by(page: str) -> tuple[list[Any], dict[str, Any]] | None:
    """Data and layout that plotly's page of a figure (`figures.write_figures`) draws; nothing if it draws none.

    The call that draws is the last one: plotly itself, before it, has such words too.
    """
    calls = list(_CALL.finditer(page))
    if not calls:
        return None
    reader = json.JSONDecoder()
    data, end = reader.raw_decode(page, calls[-1].end())
    comma = _COMMA.match(page, end)
    if comma is None:
        return None
    layout, _ = reader.raw_decode(page, comma.end())
    return data, layout


def packed(text: str) -> str:
    """Gzipped, the same bytes at every time, as base64."""
    return base64.b64encode(gzip.compress(text.encode("utf-8"), 9, mtime=0)).decode("ascii")


@cache
def plotly() -> str:
    """plotly.js, packed."""
    return packed(get_plotlyjs())


def fingerprint(script: str) -> str:
    """How a Content Security Policy names a script that may run."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii") + "'"


@cache
def plotly_fingerprint() -> str:
    return fingerprint(get_plotlyjs())


def _title(layout: Mapping[str, Any]) -> str:
    """The figure's own title, of `<b>title</b><br><sup>note</sup>` the first part, as text."""
    title = layout.get("title", {})
    words = title.get("text", "") if isinstance(title, dict) else str(title)
    return html.unescape(_MARKUP.sub("", words.split("<br>")[0])).strip()
