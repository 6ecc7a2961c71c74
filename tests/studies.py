"""Real studies for the tests: the command a user gives, in a process of its own, with its own store and MLflow."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil

from components.cluster.session import clear_dead_sessions
from tests.journal import computed

PROJECT = Path(__file__).resolve().parents[1]
SECONDS = 240


@dataclass(frozen=True)
class Place:
    """Where a test's studies live: nothing of them is outside `folder`."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"MLFLOW_TRACKING_URI": self.uri, "TMPDIR": str(self.folder)}

    def copy_to(self, folder: Path) -> "Place":
        """A place with copies of this one's database and corpus: what every study makes before anything else."""
        folder.mkdir(exist_ok=True)
        shutil.copy(self.folder / "mlflow.db", folder / "mlflow.db")
        return Place(folder).take(self, "corpus")

    def take(self, source: "Place", *kinds: str) -> "Place":
        """Copy finished phases, whose identities go by content, out of another place's store."""
        for kind in kinds:
            shutil.copytree(source.store / kind, self.store / kind)
        return self

    def arguments(self, *arguments: str) -> list[str]:
        return ["--preset", "smoke", "--store.path", str(self.store), *arguments]

    def run(self, *arguments: str, pipeline: str = "recursion") -> subprocess.CompletedProcess[str]:
        """The study, or what other pipeline is named, to its end."""
        with self.start(*arguments, pipeline=pipeline) as study:
            output, errors = study.communicate(timeout=SECONDS)
        return subprocess.CompletedProcess(study.args, study.returncode, output, errors)

    @contextmanager
    def start(
        self,
        *arguments: str,
        pipeline: str = "recursion",
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[subprocess.Popen[str]]:
        """The study, running; nothing of it is left afterwards, however this ends."""
        study = subprocess.Popen(
            command or [sys.executable, "-m", f"pipelines.{pipeline}", *self.arguments(*arguments)],
            cwd=PROJECT,
            env=self.environment if environment is None else environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield study
        finally:
            if study.poll() is None:
                kill_tree(study.pid)
            for process in _processes(self):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            study.communicate(timeout=30)
            clear_dead_sessions()

    def wait_for(self, phase: str, study: subprocess.Popen[str]) -> None:
        """Until a phase of this kind has begun."""
        deadline = time.monotonic() + SECONDS
        while not self._unfinished(phase):
            assert study.poll() is None, f"the study ended before a {phase} was seen: {study.communicate()[1][-2000:]}"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(0.05)

    def kill_in(self, phase: str, *arguments: str, pipeline: str = "recursion") -> None:
        """Start the study and kill everything of it, without warning, as soon as a phase of this kind has begun."""
        with self.start(*arguments, pipeline=pipeline) as study:
            self.wait_for(phase, study)
            kill_tree(study.pid)

    def _unfinished(self, phase: str) -> bool:
        folder = self.store / "unfinished"
        return folder.is_dir() and any(f"~{phase}~" in path.name for path in folder.iterdir())

    def computed(self) -> list[tuple[str, str]]:
        """Kind and identity of every phase that was computed here, again where it was computed again."""
        return computed(self.store)

    def numbers(self) -> pd.Series:
        """Every measured number of every chain in the store, without times and speeds."""
        paths = sorted(self.store.glob("chains/*/generation-*.json"))
        rows = {
            (path.parent.name, path.stem, metric): value
            for path in paths
            for metric, value in pd.read_json(path, typ="series")["metrics"].items()
            if not metric.startswith(("seconds/", "tokens_per_second/"))
        }
        return pd.Series(rows).sort_index()


def kill_tree(process: int) -> None:
    """SIGKILL to a process, for whose end its own parent waits, and to all it started, Ray's daemons included."""
    try:
        root = psutil.Process(process)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        with suppress(ProcessLookupError):
            os.kill(member.pid, signal.SIGKILL)
    psutil.wait_procs(family[1:], timeout=10)


def train_workers(study: subprocess.Popen[str]) -> list[psutil.Process]:
    """The Ray Train workers that a running study has."""
    found = []
    for process in psutil.Process(study.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "RayTrainWorker" in process.name():
                found.append(process)
    return found


def left_of(place: Place) -> list[str]:
    """Processes of a place's studies that live on; Ray gets half a minute to end its own."""
    deadline = time.monotonic() + 30
    while (left := _processes(place)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return [str(process) for process in left]


def _processes(place: Place) -> list[psutil.Process]:
    """Processes that carry this place's tracking store in their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get("MLFLOW_TRACKING_URI") == place.uri:
                found.append(process)
    return found
