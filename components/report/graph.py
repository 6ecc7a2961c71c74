"""A chain's lineage as a picture: real data, models and samples as boxes, and who was made from whom as lines.

    real data ──┬──────────────────┐            real data that later training sets keep
             [model 0]          [model 1] ...   the bar below a model's name: what its training set is made of
                 │              ┌──┘
             [samples 0] ───────┘

Only places and words are worked out here; `templates/lineage.html.j2` writes them as SVG.
"""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, GAP, HEIGHT = 112, 44, 58
BAR = 6
_TOP, _MODELS, _SAMPLES = 14, 36, 138
_LEFT = 6
_LOW = _SAMPLES + HEIGHT - 14


@dataclass(frozen=True)
class Shown:
    """A generation to be drawn: its number, the shares of its training set, the set's digest, its page in MLflow."""

    generation: int
    shares: tuple[float, float, float] | None
    data: str
    page: str


@dataclass(frozen=True)
class Box:
    """`parts`: (kind, x, width) of the bar: what a training set is made of."""

    kind: str
    x: float
    y: float
    height: float
    lines: Sequence[str]
    page: str = ""
    parts: Sequence[tuple[str, float, float]] = ()


@dataclass(frozen=True)
class Line:
    """`kind`: samples, older, real, weights, or skipped where generations between are not shown. `path`: SVG's."""

    kind: str
    path: str


@dataclass(frozen=True)
class Graph:
    width: float
    height: float
    boxes: Sequence[Box]
    lines: Sequence[Line]


def draw(steps: Sequence[Shown], continued: bool) -> Graph:
    """The picture of a chain. `continued`: every fit began from the weights of the generation before."""
    boxes = [Box("real", _LEFT, _MODELS, HEIGHT, ["real data"])]
    lines: list[Line] = []
    for place, step in enumerate(steps):
        x = _x(place)
        boxes.append(Box("model", x, _MODELS, HEIGHT, _words(step), step.page, _parts(step, x)))
        boxes.append(Box("samples", x, _SAMPLES, HEIGHT - 22, [f"samples {step.generation}"], step.page))
        lines.append(Line("writes", f"M{x + WIDTH / 2} {_MODELS + HEIGHT}V{_SAMPLES}"))
        lines += _into(steps, place, continued)
    low = any(step.shares and step.shares[1] > 0 for step in steps)
    return Graph(_x(len(steps)) - GAP + _LEFT, _LOW + (20 if low else 2), boxes, lines)


def _into(steps: Sequence[Shown], place: int, continued: bool) -> list[Line]:
    """What a model was made from."""
    x, middle = _x(place), _MODELS + HEIGHT / 2
    if place == 0:
        return [Line("real", f"M{_LEFT + WIDTH} {middle}H{x}")]
    step, before = steps[place], steps[place - 1]
    alpha, beta, gamma = step.shares or (1.0, 0.0, 0.0)
    gap, lines = x - GAP / 2, []
    if alpha > 0:
        follows = step.generation == before.generation + 1
        path = f"M{x - GAP} {_SAMPLES + 18}H{gap - 5}V{middle + 12}H{x}"
        lines.append(Line("samples" if follows else "skipped", path))
    if beta > 0:
        first = _x(0) + WIDTH / 2
        lines.append(Line("older", f"M{first} {_LOW}V{_LOW + 10}H{gap + 5}V{middle + 20}H{x}"))
    if gamma > 0:
        start = _LEFT + WIDTH / 2
        lines.append(Line("real", f"M{start} {_MODELS}V{_TOP}H{x + WIDTH / 2}V{_MODELS}"))
    if continued:
        lines.append(Line("weights", f"M{x - GAP} {_MODELS + 14}H{x}"))
    return lines


def _x(place: int) -> float:
    return _LEFT + (WIDTH + GAP) * (place + 1)


def _words(step: Shown) -> list[str]:
    return [f"model {step.generation}", *([f"data {step.data}"] if step.data else [])]


def _parts(step: Shown, left: float) -> list[tuple[str, float, float]]:
    """The bar's pieces from left to right, of those that are not empty."""
    parts, x = [], left + 8
    for kind, share in zip(("samples", "older", "real"), step.shares or (), strict=False):
        width = round(share * (WIDTH - 16), 1)
        if width > 0:
            parts.append((kind, round(x, 1), width))
        x += width
    return parts
