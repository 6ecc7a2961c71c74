"""How a line looks, what it says of where its process is, and the way of a worker's warning to the study's process."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from pythonjsonlogger.json import JsonFormatter

from components.config.errors import BadInput
from components.logs import noise

FORMAT = "LOG_FORMAT"
"""Of the environment: `json` or `text`; unset, JSON in Ray's workers and jobs, text elsewhere."""
RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets it for a job's driver (`ray job submit`, KubeRay's RayJob)."""
FIELDS = ("study", "chain", "condition", "seed", "generation", "phase", "rank")
OURS = ("components", "pipelines", "benchmarks")
WORKER_MESSAGE = "log"
"""The key under which a worker's message to the study's process carries a warning."""

Send = Callable[[Mapping[str, Any]], None]

# Of the process and not of a thread: a worker is at one place at a time, and its decoder has threads of its own.
_where: dict[str, object] = {}
_worker = False
_handlers: list[logging.Handler] = []


@contextmanager
def at(**fields: object) -> Iterator[None]:
    """What this process is at, within: every line says it."""
    before = dict(_where)
    _where.update(fields)
    try:
        yield
    finally:
        _where.clear()
        _where.update(before)


def fields() -> dict[str, object]:
    """What this process is at."""
    return dict(_where)


def structured() -> bool:
    """Whether lines are for machines."""
    wanted = os.environ.get(FORMAT) or ("json" if _worker or RAY_JOB in os.environ else "text")
    return wanted == "json"


def begin() -> None:
    """Of a process that a person started: warnings to its stderr; where lines are for machines, what it does as well.

    Raises:
        BadInput: `LOG_FORMAT` is neither `json` nor `text`.
    """
    if (wanted := os.environ.get(FORMAT)) not in (None, "", "json", "text"):
        raise BadInput(FORMAT, wanted, "lines are `json` or `text`; unset, what fits the place")
    _listen(_Stderr())
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO if structured() else logging.WARNING)


def begin_worker(where: Mapping[str, object], send: Send) -> None:
    """Of a process that Ray started: JSON to its stderr; warnings to the study's process, too.

    Args:
        where: fields of all its lines.
        send: takes a message to the study's process, which hands what is under `WORKER_MESSAGE` to `relay`.
    """
    global _worker
    _worker = True
    _where.clear()
    _where.update(where)
    _listen(_Stderr(), _Forwarding(send))
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)


def relay(message: Mapping[str, Any]) -> None:
    """Say here what a worker warned of, with the worker's fields."""
    logging.getLogger(message["logger"]).log(message["level"], message["message"], extra=message["where"])


def take_over() -> None:
    """What libraries write by handlers of their own goes by ours, which takes their filters; again after a late import."""
    for logger in [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]:
        for handler in [one for one in logger.handlers if isinstance(one, logging.StreamHandler)]:
            if isinstance(handler, logging.FileHandler):
                continue
            logger.removeHandler(handler)
            logger.propagate = True
            for ours in _handlers:
                for theirs in handler.filters:
                    ours.addFilter(theirs)


def _listen(*handlers: logging.Handler) -> None:
    """These are the project's handlers in this process."""
    for old in _handlers:
        logging.root.removeHandler(old)
    _handlers[:] = handlers
    for handler in handlers:
        handler.addFilter(_placed)
        handler.addFilter(noise.is_meant)
        logging.root.addHandler(handler)
    logging.root.setLevel(logging.WARNING)
    warnings.formatwarning = _one_line
    logging.captureWarnings(True)
    take_over()


def _placed(record: logging.LogRecord) -> bool:
    """Gives a line the fields of where this process is."""
    for name, value in _where.items():
        if not hasattr(record, name):
            setattr(record, name, value)
    return True


def _one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning of Python's without the path to the environment, and without the source."""
    place = filename.rpartition("site-packages/")[2]
    return f"{category.__name__}: {message} ({place}:{lineno})"


class _Stderr(logging.StreamHandler[TextIO]):
    """To what `sys.stderr` is at the moment: while lines move at a terminal, rich stands in its place."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(_json() if structured() else _Readable())

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


class _Forwarding(logging.Handler):
    """Warnings to the study's process. What goes wrong with that is told on stderr, as of any handler."""

    def __init__(self, send: Send) -> None:
        super().__init__(logging.WARNING)
        self._send = send
        self._sending = False

    def emit(self, record: logging.LogRecord) -> None:
        if self._sending:  # what sending itself warns of
            return
        self._sending = True
        try:
            where = {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
            text = self.format(record)
            message = {"logger": record.name, "level": record.levelno, "message": text, "where": where}
            self._send({WORKER_MESSAGE: message})
        except Exception:  # as every handler of the standard library
            self.handleError(record)
        finally:
            self._sending = False


def _json() -> logging.Formatter:
    return JsonFormatter(
        ["levelname", "name", "message"], rename_fields={"levelname": "level", "name": "logger"}, timestamp="time"
    )


class _Readable(logging.Formatter):
    """`warning: what (no-real-data seed 0, generation 2, fit, worker 1)`; whose it is, where it is not ours."""

    def format(self, record: logging.LogRecord) -> str:
        said = super().format(record)
        known = {name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None}
        where = [f"{known['condition']} seed {known['seed']}"] if {"condition", "seed"} <= known.keys() else []
        where += [f"generation {known['generation']}"] if "generation" in known else []
        where += [str(known["phase"])] if "phase" in known else []
        where += [f"worker {known['rank']}"] if known.get("rank") else []
        level = record.levelname.lower()
        whose = "" if record.name.split(".")[0] in OURS else f"{record.name}: "
        return f"{level}: {whose}{said}" + (f" ({', '.join(where)})" if where else "")
