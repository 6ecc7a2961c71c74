"""Figures on disk: a picture and a page that works offline."""

import html
from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go
from matplotlib.figure import Figure

# The policy: the page's own script draws, and reaches nowhere.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title>
</head>
<body style="margin:0;background:#fff">
{body}
</body>
</html>
"""


Drawing = tuple[Figure, go.Figure]
"""A figure as a picture and as a page."""


def write_figures(drawn: Mapping[str, Drawing], folder: Path) -> list[Path]:
    """Write `<name>.png` and `<name>.html` of every figure; return the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    return [path for name, (picture, page) in drawn.items() for path in _save(name, picture, page, folder)]


def _save(name: str, picture: Figure, page: go.Figure, folder: Path) -> list[Path]:
    picture.savefig(folder / f"{name}.png", facecolor="white")
    # A fixed id instead of a random one: the same numbers give the same bytes.
    body = page.to_html(
        full_html=False, include_plotlyjs=True, div_id=name, config={"displaylogo": False, "responsive": True}
    )
    title = html.escape(name.replace("_", " "))
    (folder / f"{name}.html").write_text(_PAGE.format(title=title, body=body), encoding="utf-8")
    return [folder / f"{name}.png", folder / f"{name}.html"]
