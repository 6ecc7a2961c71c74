"""Real studies for the tests: the command a user gives, in a process of its own, with its own store and MLflow."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil

from components.cluster.session import clear_dead_sessions

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

    def command(self, *arguments: str) -> list[str]:
        smoke = ["--preset", "smoke", "--store.path", str(self.store)]
        return [sys.executable, "-m", "pipelines.recursion", *smoke, *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The study to its end."""
        return subprocess.run(
            self.command(*arguments),
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The study, running."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=PROJECT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, phase: str, study: subprocess.Popen[str]) -> None:
        """Until a phase of this kind has begun."""
        deadline = time.monotonic() + SECONDS
        while not self._unfinished(phase):
            assert study.poll() is None, f"the study ended before a {phase} was seen: {study.communicate()[1][-2000:]}"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(0.05)

    def kill_in(self, phase: str, *arguments: str) -> None:
        """Start the study and kill everything of it, without warning, as soon as a phase of this kind has begun."""
        study = self.start(*arguments)
        try:
            self.wait_for(phase, study)
        finally:
            kill_tree(study.pid)
            study.communicate()
            clear_dead_sessions()

    def _unfinished(self, phase: str) -> bool:
        folder = self.store / "unfinished"
        return folder.is_dir() and any(f"~{phase}~" in path.name for path in folder.iterdir())

    def phases(self) -> dict[str, float]:
        """Every finished phase by kind and identity, with the time it was finished."""
        kinds = ("corpus", "base", "compose", "fit", "sample", "measure")
        manifests = [path for kind in kinds for path in (self.store / kind).glob("*/manifest.json")]
        return {f"{path.parent.parent.name}/{path.parent.name}": path.stat().st_mtime for path in manifests}

    def numbers(self) -> pd.Series:
        """Every measured number of every chain in the store, without times and speeds."""
        records = [pd.read_json(path, typ="series") for path in sorted(self.store.glob("chains/*/generation-*.json"))]
        paths = sorted(self.store.glob("chains/*/generation-*.json"))
        rows = {
            (path.parent.name, path.stem, metric): value
            for path, record in zip(paths, records, strict=True)
            for metric, value in record["metrics"].items()
            if not metric.startswith(("seconds/", "tokens_per_second/"))
        }
        return pd.Series(rows).sort_index()


def kill_tree(process: int) -> None:
    """SIGKILL to a process and to all it started, Ray's own daemons included."""
    try:
        root = psutil.Process(process)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            os.kill(member.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    psutil.wait_procs(family, timeout=10)


def processes_of(place: Place) -> list[str]:
    """Processes that still carry this place's tracking store in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MLFLOW_TRACKING_URI") == place.uri:
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
