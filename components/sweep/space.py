"""The search space: which fields of a condition are searched, and over what.

    uniform(0, 1)   loguniform(1e-4, 1e-2)   quniform(0, 1, 0.05)   randint(1, 10)   choice(replace, accumulate)

The names are Ray Tune's, the distributions Optuna's. Both ends belong to a range.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import optuna
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import BaseTrial
from pydantic import BaseModel, ValidationError

from components.config.errors import BadInput

Space = Mapping[str, BaseDistribution]
"""Distributions by the condition's field; the regime first, on which it depends whether a real fraction is asked for."""
Point = dict[str, Any]
"""Values by field: what a trial's condition differs in from the sweep's."""

MOST_CORNERS, MOST_POINTS = 4096, 4096
GRID_WANTS = "a grid takes choice(...), randint(low, high) or quniform(low, high, step)"


def parse(search: Mapping[str, str | Sequence[Any]]) -> Space:
    """The space that the settings `search.<field>` describe.

    Raises:
        BadInput: nothing is searched, or a range that is none.
    """
    if not search:
        raise BadInput("search", "{}", "nothing is searched; give search.real_fraction=uniform(0,1), for example")
    return {field: _distribution(field, search[field]) for field in sorted(search, key=lambda name: name != "regime")}


def check(space: Space, search: Mapping[str, Any], condition: BaseModel) -> None:
    """Refuse fields that a condition does not have, and ranges that leave what a field may be.

    Args:
        condition: what all trials share; the searched fields differ from it.

    Raises:
        BadInput: names the field, its range and what would be right.
    """
    model, known = type(condition), type(condition).model_fields
    given = {name: value for name, value in condition.model_dump(exclude_unset=True).items() if name not in space}
    for field in space:
        if field not in known:
            raise BadInput(
                f"search.{field}", search[field], f"a condition has no such field; there are {', '.join(known)}"
            )
        for value in _representatives(space[field]):
            _valid(model, given | {field: value}, field, search[field])
    regime = space.get("regime")
    if "real_fraction" in space and isinstance(regime, CategoricalDistribution) and "replace" not in regime.choices:
        raise BadInput(
            "search.real_fraction", search["real_fraction"], f"none of {search['regime']} keeps a real fraction"
        )
    for corner in corners(space):
        _valid(model, given | applicable(corner, given), ", ".join(space), corner)


def corners(space: Space, most: int = MOST_CORNERS) -> list[Point]:
    """Both ends of every range and something between them, with those of all others; both ends alone where that is too many."""
    values = [[(field, value) for value in _representatives(space[field])] for field in space]
    if math.prod(map(len, values)) > most:
        values = [[those[0], those[-1]] for those in values]
    return [dict(corner) for corner in product(*values)]


def suggest(space: Space, trial: BaseTrial, given: Mapping[str, Any]) -> Point:
    """Optuna's next point. `given`: what all trials share."""
    point: Point = {}
    for field, distribution in space.items():
        if field == "real_fraction" and _regime(point, given) != "replace":
            continue
        match distribution:
            case FloatDistribution():
                low, high, step = distribution.low, distribution.high, distribution.step
                value = trial.suggest_float(field, low, high, step=step, log=distribution.log)
                point[field] = _whole_steps(value) if step else value
            case IntDistribution():
                point[field] = trial.suggest_int(field, distribution.low, distribution.high, log=distribution.log)
            case CategoricalDistribution():
                point[field] = trial.suggest_categorical(field, distribution.choices)
    return point


def draw(space: Space, given: Mapping[str, Any], count: int) -> list[Point]:
    """Points at random, the same at every call: what trials will be like, before there are any."""
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    return [suggest(space, study.ask(), given) for _ in range(count)]


def grid(space: Space, search: Mapping[str, Any], given: Mapping[str, Any]) -> list[Point]:
    """Every different point of a finite space, the last field changing fastest.

    Raises:
        BadInput: a range without an end of values.
    """
    values = [[(field, value) for value in _values(field, space[field], search)] for field in space]
    _check_points("sampler", "grid", math.prod(map(len, values)))
    points = (applicable(dict(point), given) for point in product(*values))
    return list({json.dumps(point, sort_keys=True): point for point in points}.values())


def anchors(space: Space) -> list[Point]:
    """Where the curve of real data begins and where it bends, the paper's two settings (none kept, a tenth kept): they are
    tried first, other fields as the sampler likes, so that neither end of the question is left to extrapolation."""
    distribution = space.get("real_fraction")
    if not isinstance(distribution, FloatDistribution) or distribution.log:
        return []  # of choices, every one is tried anyway
    low, span = distribution.low, distribution.high - distribution.low
    tenth = low + (
        0.1 * span if not distribution.step else max(round(0.1 * span / distribution.step), 1) * distribution.step
    )
    point = {"regime": "replace"} if "regime" in space else {}
    return [point | {"real_fraction": low}, point | {"real_fraction": _whole_steps(tenth)}]


def applicable(point: Point, given: Mapping[str, Any]) -> Point:
    """A point without what its regime does not know: a real fraction belongs to `replace`."""
    if _regime(point, given) == "replace":
        return point
    return {field: value for field, value in point.items() if field != "real_fraction"}


def _whole_steps(value: float) -> float:
    """0.15 and not 0.15000000000000002: the condition is then the one that a person would write."""
    return round(value, 12)


def _regime(point: Point, given: Mapping[str, Any]) -> str:
    return str(point.get("regime", given.get("regime", "replace")))


def _distribution(field: str, text: str | Sequence[Any]) -> BaseDistribution:
    name, setting = f"search.{field}", text
    if not isinstance(text, list | tuple):
        parsed = re.fullmatch(r"\s*([a-z]+)\s*\((.*)\)\s*", str(text), re.DOTALL)
        if not parsed or parsed[1] not in _KINDS:
            wanted = (
                "uniform(low,high), loguniform(low,high), quniform(low,high,step), randint(low,high), choice(a,b,...)"
            )
            raise BadInput(name, setting, f"a range is needed: {wanted}")
        kind, arguments = parsed[1], _arguments(name, parsed[2])
    else:
        kind, arguments = "choice", list(text)
    try:
        return _KINDS[kind](*arguments)
    except TypeError:
        raise BadInput(name, setting, f"{kind} takes {_TAKES[kind]}") from None
    except ValueError as error:
        raise BadInput(name, setting, str(error)) from None


def _arguments(name: str, text: str) -> list[Any]:
    try:
        return [yaml.safe_load(part) for part in text.split(",")] if text.strip() else []
    except yaml.YAMLError:
        raise BadInput(name, text, "values are numbers or words, with commas between them") from None


def _number(value: Any) -> float:
    # YAML reads 1e-4 as a word
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?e[-+]?\d+", value, re.IGNORECASE):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value} is no number")
    return value


def _in_order(low: float, high: float) -> None:
    if low == high:
        raise ValueError(
            f"from {low:g} to {high:g} there is nothing to search; a fixed value goes into condition.<field>"
        )
    if low > high:
        raise ValueError(f"from {low:g} down to {high:g}: the lower end comes first")


def _uniform(low: Any, high: Any) -> BaseDistribution:
    _in_order(low := _number(low), high := _number(high))
    return FloatDistribution(low, high)


def _loguniform(low: Any, high: Any) -> BaseDistribution:
    _in_order(low := _number(low), high := _number(high))
    if low <= 0:
        raise ValueError(f"a logarithm needs a lower end above 0, not {low:g}")
    return FloatDistribution(low, high, log=True)


def _quniform(low: Any, high: Any, step: Any) -> BaseDistribution:
    _in_order(low := _number(low), high := _number(high))
    step = _number(step)
    if step <= 0 or abs((high - low) / step - round((high - low) / step)) > 1e-6:
        raise ValueError(f"steps of {step:g} do not lead from {low:g} to {high:g}")
    return FloatDistribution(low, high, step=step)


def _randint(low: Any, high: Any) -> BaseDistribution:
    for value in (low, high):
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{value} is no whole number")
    _in_order(low, high)
    return IntDistribution(low, high)


def _choice(*values: Any) -> BaseDistribution:
    if not values:
        raise ValueError("nothing to choose from")
    if len(set(map(str, values))) < len(values):
        raise ValueError("a value is there twice; give each once")
    if not all(value is None or isinstance(value, bool | int | float | str) for value in values):
        raise ValueError("values are numbers or words, with commas between them")
    return CategoricalDistribution(values)


_KINDS: Mapping[str, Callable[..., BaseDistribution]] = {
    "uniform": _uniform,
    "loguniform": _loguniform,
    "quniform": _quniform,
    "randint": _randint,
    "choice": _choice,
}
_TAKES = {
    "uniform": "two numbers: low, high",
    "loguniform": "two numbers: low, high",
    "quniform": "three numbers: low, high, step",
    "randint": "two whole numbers: low, high",
    "choice": "values",
}


def _representatives(distribution: BaseDistribution) -> Sequence[Any]:
    """Both ends of a range and something between them; all choices."""
    match distribution:
        case FloatDistribution(step=None):
            return [
                distribution.low,
                distribution.low + 0.37 * (distribution.high - distribution.low),
                distribution.high,
            ]
        case FloatDistribution():
            return [distribution.low, distribution.low + (distribution.step or 0), distribution.high]
        case IntDistribution():
            return [distribution.low, distribution.high]
        case CategoricalDistribution():
            return distribution.choices
    raise TypeError(distribution)


def _values(field: str, distribution: BaseDistribution, search: Mapping[str, Any]) -> Sequence[Any]:
    name, text = f"search.{field}", search[field]
    match distribution:
        case FloatDistribution(step=float(step)):
            count = round((distribution.high - distribution.low) / step) + 1
            _check_points(name, text, count)
            return [_whole_steps(distribution.low + place * step) for place in range(count)]
        case IntDistribution():
            _check_points(name, text, distribution.high - distribution.low + 1)
            return range(distribution.low, distribution.high + 1)
        case CategoricalDistribution():
            return distribution.choices
    raise BadInput(name, text, GRID_WANTS)


def _check_points(name: str, value: Any, count: int) -> None:
    if count > MOST_POINTS:
        raise BadInput(name, value, f"that grid has {count:,} points, {MOST_POINTS:,} are the most; give fewer values")


def _valid(model: type[BaseModel], values: Mapping[str, Any], field: str, shown: Any) -> None:
    try:
        model.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        message = fault["msg"].removeprefix("Value error, ")
        raise BadInput(
            f"search.{field}",
            shown,
            f"{fault['input']} cannot be: {message[0].lower() + message[1:]}"
            if not isinstance(fault["input"], dict)
            else message,
        ) from None
