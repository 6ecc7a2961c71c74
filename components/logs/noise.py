"""What libraries say that no user can do anything about, by name: so that a warning that is shown is one that matters.

Each entry says what it takes away and why, which version said it, and since when it is here. `tests/test_noise.py` makes
the libraries say it again: an entry that nothing needs any more is to be taken out.
"""

import logging
import re
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Noise:
    """Lines of some loggers, below a level or with words in them.

    Args:
        name: what it is called here.
        loggers: whose lines, those of their children too; Python's warnings are `py.warnings`.
        words: a regular expression that is searched for in the line; any line if empty.
        below: lines of this level and above stay.
        why: the reason that nobody needs it.
        version: the library, as it was when it said this.
        added: when this entry was.
    """

    name: str
    loggers: tuple[str, ...]
    why: str
    version: str
    added: date
    words: str = ""
    below: int = logging.WARNING

    def holds(self, record: logging.LogRecord) -> bool:
        """Whether a line is of this kind."""
        ours = any(record.name == logger or record.name.startswith(f"{logger}.") for logger in self.loggers)
        return ours and record.levelno < self.below and re.search(self.words, record.getMessage()) is not None


KNOWN = (
    Noise(
        name="database migrations",
        loggers=("mlflow.store.db", "alembic"),
        why="that a new database gets its tables is no news",
        version="mlflow 3.17.2",
        added=date(2026, 11, 26),
    ),
    Noise(
        name="Ray's and Tune's own progress",
        loggers=("ray",),
        why="a cluster that starts, resources that are asked for, files that Tune wrote: the study's progress is ours",
        version="ray 2.60.0",
        added=date(2026, 11, 26),
    ),
    Noise(
        name="a token is in use",
        loggers=("ray._private.authentication",),
        words="Token authentication is enabled for this Ray cluster",
        below=logging.ERROR,
        why="the embedded cluster has a token on purpose (SECURITY.md); Ray advises to switch it off",
        version="ray 2.60.0",
        added=date(2026, 11, 26),
    ),
    Noise(
        name="a failure that is told in a line",
        loggers=("ray.train.v2._internal.util",),
        words=r"(?s)^Error in training function:.*\n(?:[\w.]+\.(?:GuardFailure|Diverged|StoreUnavailable|BadInput): |OSError: \[Errno 28\] )[^\n]*\s*$",
        below=logging.CRITICAL,
        why="a guard, a store that is away, a full disk, a bad input: what went wrong and what to do is said by the study; others keep their traceback",
        version="ray 2.60.0",
        added=date(2026, 11, 26),
    ),
    Noise(
        name="no result files",
        loggers=("ray.tune.analysis.experiment_analysis",),
        words="Failed to fetch metrics",
        below=logging.ERROR,
        why="Tune looks for its own logs by trial, which are switched off: a sweep's books are Optuna's, in the store",
        version="ray 2.60.0",
        added=date(2026, 11, 26),
    ),
    Noise(
        name="Optuna's own progress",
        loggers=("optuna",),
        why="that a study of Optuna was created; what trials do is told by the sweep",
        version="optuna 5.0.0",
        added=date(2026, 11, 26),
    ),
    Noise(
        name="a collective by its old name",
        loggers=("py.warnings",),
        words=r"FutureWarning: `torch\.distributed\.\w+` is deprecated",
        below=logging.ERROR,
        why="DeepSpeed 0.19.8 calls torch's collectives by the names of before; both are pinned",
        version="torch 2.13.0",
        added=date(2026, 11, 26),
    ),
    Noise(
        name="weights that a model for MAUVE has no place for, or lacks",
        loggers=("transformers.modeling_utils",),
        words="LOAD REPORT",
        below=logging.ERROR,
        why="an output layer is not needed to embed; weights that are needed and missing are refused in one line",
        version="transformers 5.23.0",
        added=date(2026, 11, 26),
    ),
    Noise(
        name="OpenML is tried again",
        loggers=("py.warnings",),
        words="UserWarning: A network error occurred while downloading",
        below=logging.ERROR,
        why="what comes of it is told in one line, with the remedy",
        version="scikit-learn 1.9.1",
        added=date(2026, 11, 26),
    ),
)


def is_meant(record: logging.LogRecord) -> bool:
    """Whether a line is for whoever reads the log: a filter for handlers."""
    return not any(noise.holds(record) for noise in KNOWN)
