"""Every line that is taken away is one that its library still writes, and nothing else goes with it."""

import errno
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError

import optuna
import pytest
import torch
import torch.distributed as dist
from ray.train.v2._internal import util

from components import logs
from components.config.errors import BadInput
from components.families.language import architecture, embedding
from components.families.language import model as opt
from components.logs import noise
from components.recursion.family import Diverged, GuardFailure
from components.store import StoreUnavailable

BY_NAME = {one.name: one for one in noise.KNOWN}


@contextmanager
def heard() -> Iterator[list[logging.LogRecord]]:
    """All that is said meanwhile, as a handler of ours gets it, Python's warnings included; nothing filtered."""
    records: list[logging.LogRecord] = []

    class Hearing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    root, before = logging.root, (logging.root.handlers, logging.root.level, warnings.formatwarning)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        root.handlers = [Hearing()]
        root.setLevel(logging.INFO)
        logging.captureWarnings(False)  # of a study that ran in this process: pytest has undone half of it
        logging.captureWarnings(True)
        warnings.formatwarning = logs.lines._one_line
        logs.take_over()
        try:
            yield records
        finally:
            logging.captureWarnings(False)
            root.handlers, warnings.formatwarning = before[0], before[2]
            root.setLevel(before[1])


def create_a_study_of_optuna() -> None:
    optuna.create_study()


def gather_as_deepspeed_does() -> None:
    if dist.is_initialized():  # by another test in this process
        dist.destroy_process_group()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        dist.all_gather_into_tensor(torch.zeros(2), torch.zeros(2))
    finally:
        dist.destroy_process_group()


def ask_openml_for_what_it_does_not_give(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from sklearn.datasets import _openml, fetch_openml

    def away(*_: object, **__: object) -> BytesIO:
        raise URLError("nobody is there")

    monkeypatch.setattr(_openml, "urlopen", away)
    with pytest.raises(URLError):
        fetch_openml("mnist_784", version=1, as_frame=False, n_retries=1, delay=0.01, data_home=str(tmp_path))


def fail_in_ray_train(error: Exception = GuardFailure("the weights did not move")) -> None:
    try:
        raise error
    except type(error) as failure:
        util.construct_user_exception_with_traceback(failure)


def embed_by_a_model_that_lacks_weights() -> None:
    with TemporaryDirectory() as folder:
        size = architecture.ModelSize(64, 16, 1, 2, 32, 64, 0.0)
        opt.save(architecture.create(size, 0), Path(folder), None)
        settings = json.loads((Path(folder) / "config.json").read_text())
        (Path(folder) / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 2}))
        with pytest.raises(BadInput):
            embedding._model(folder)


MADE: dict[str, Callable[[], None]] = {
    "a failure that is told in a line": fail_in_ray_train,
    "Optuna's own progress": create_a_study_of_optuna,
    "weights that a model for MAUVE has no place for, or lacks": embed_by_a_model_that_lacks_weights,
    "a collective by its old name": gather_as_deepspeed_does,
}
"""What makes a library say it, in no time."""

WRITTEN = {
    "database migrations": ("mlflow.store.db.utils", "Creating initial MLflow database tables"),
    "Ray's and Tune's own progress": ("ray._private.worker", "Started a local Ray instance"),
    "a token is in use": (
        "ray._private.authentication.authentication_token_setup",
        "Token authentication is enabled for",
    ),
    "no result files": ("ray.tune.analysis.experiment_analysis", "Failed to fetch metrics"),
}
"""What takes a cluster or a database of seconds to be said: the module whose logger says it, and the words in its source.

That none of it comes through a whole study is tested with the studies (`test_recursion`, `test_sweep`).
"""


def check(name: str, records: list[logging.LogRecord]) -> None:
    entry = BY_NAME[name]
    taken = [record for record in records if entry.holds(record)]
    assert taken, [record.getMessage() for record in records]
    assert not any(map(noise.is_meant, taken))


@pytest.mark.parametrize("name", MADE)
def test_a_library_still_says_what_is_taken_away(name: str):
    with heard() as records:
        MADE[name]()
    check(name, records)


def test_openml_still_says_that_it_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with heard() as records:
        ask_openml_for_what_it_does_not_give(monkeypatch, tmp_path)
    check("OpenML is tried again", records)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (GuardFailure("2 steps"), True),
        (Diverged("the loss of step 2 is nan"), True),
        (StoreUnavailable("no answer"), True),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "store"), True),
        (BadInput("measure.mauve", "model", "is gone"), True),
        (OSError(errno.ENOENT, os.strerror(errno.ENOENT), "store"), False),
        (RuntimeError("GuardFailure: is not what this is"), False),
        (ValueError("a fault of the project's own"), False),
    ],
)
def test_a_workers_failure_keeps_its_traceback_where_no_line_tells_it(error: Exception, told: bool):
    with heard() as records:
        fail_in_ray_train(error)
    (record,) = [one for one in records if "Error in training function" in one.getMessage()]
    assert noise.is_meant(record) is not told


@pytest.mark.parametrize("name", WRITTEN)
def test_the_words_still_stand_in_the_library(name: str):
    module, words = WRITTEN[name]
    spec = find_spec(module)
    assert spec is not None
    assert words in Path(str(spec.origin)).read_text("utf-8")
    entry = BY_NAME[name]
    record = logging.LogRecord(module, entry.below - 10, "", 0, f"{words} this Ray cluster", None, None)
    assert entry.holds(record)


def test_each_entry_is_tried_dated_and_of_the_version_that_is_installed():
    assert set(BY_NAME) == {*MADE, *WRITTEN, "OpenML is tried again"}
    assert len(BY_NAME) == len(noise.KNOWN)
    for entry in noise.KNOWN:
        package, _, of = entry.version.partition(" ")
        assert version(package).split("+")[0] == of, f"{entry.name}: is it still needed with {package} of now?"
        assert date(2026, 11, 1) <= entry.added <= date.today()
        assert entry.why


@pytest.mark.parametrize(
    ("logger", "level", "message"),
    [
        ("ray._private.authentication", logging.WARNING, "Token authentication is disabled for this Ray cluster."),
        ("ray._private.authentication", logging.WARNING, "Token authentication is enabled but no token was found. "),
        ("ray.train", logging.WARNING, "A worker died"),
        ("mlflow.store.db.utils", logging.WARNING, "The database is of a newer version"),
        ("optuna", logging.WARNING, "Trial 3 failed"),
        ("py.warnings", logging.WARNING, "UserWarning: something else"),
        ("py.warnings", logging.WARNING, "FutureWarning: `torch.load` is deprecated"),
        ("components.store.store", logging.WARNING, "fit is damaged"),
        ("rayon", logging.INFO, "another library's"),
    ],
)
def test_what_matters_stays(logger: str, level: int, message: str):
    assert noise.is_meant(logging.LogRecord(logger, level, "", 0, message, None, None))


def test_no_other_file_silences_a_library():
    """One place: whoever looks for a missing warning has one file to read."""
    silencers = re.compile(r"getLogger\([^)]+\)\.setLevel|simplefilter|filterwarnings|set_verbosity|\.disabled = True")
    project = Path(__file__).resolve().parents[1]
    files = [path for room in ("components", "pipelines") for path in (project / room).rglob("*.py")]
    found = {path.relative_to(project).as_posix() for path in files if silencers.search(path.read_text("utf-8"))}
    assert found == {"components/logs/lines.py"}
