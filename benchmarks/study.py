"""Laptop studies from nothing: seconds, processor seconds, memory, and how much each writes to MLflow.

Of the language study also what a generation costs beside its phases. Of each small family the rows and bytes of its MLflow
database, and the processor seconds of the study's own process, which writes them.
"""

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PHASES = ("compose", "fit", "sample", "measure")
SMALL_FAMILIES = ("gaussian", "discrete", "mixture", "vae")
SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Used:
    """What a study used: seconds on the wall, processor seconds of its own process and of all, bytes of memory at most."""

    seconds: float
    own: float
    all: float
    peak: int

    def row(self) -> dict[str, float]:
        return {
            "seconds": self.seconds,
            "processor seconds of its own process": self.own,
            "processor seconds of all processes": self.all,
            "peak resident MiB, all processes added up": self.peak / 2**20,
        }


def run(ceilings: dict[str, float]) -> list[dict[str, Any]]:
    if not all(find_spec(name) for name in ("ray", "mlflow", "psutil")):
        print("left out: a study needs ray, mlflow and psutil")
        return []
    return [language(), *map(small, SMALL_FAMILIES)]


def language() -> dict[str, Any]:
    """The default study, and what a generation costs beside its phases."""
    with TemporaryDirectory() as folder:
        used = _study("recursion", Path(folder))
        beside, phases = _beside_the_phases(Path(folder) / "store")
    return {
        "what": "the language study",
        **used.row(),
        **{f"seconds of a {kind}, median": statistics.median(each) for kind, each in phases.items()},
        "seconds of a generation beside its phases, median": statistics.median(beside),
        "the most": max(beside),
    }


def small(family: str) -> dict[str, Any]:
    """A small family's study, and what it writes to MLflow."""
    with TemporaryDirectory() as folder:
        used = _study(family, Path(folder))
        database = Path(folder) / "mlflow.db"
        with sqlite3.connect(database) as connection:
            ((rows,),) = connection.execute("select count(*) from metrics")
            ((points,),) = connection.execute(
                "select max(points) from (select count(*) as points from metrics group by run_uuid, key)"
            )
        written = {"rows of metrics": rows, "points of a curve, at most": points}
        return {"what": family, **used.row(), **written, "database MB": database.stat().st_size / 1e6}


def _study(entry_point: str, folder: Path) -> Used:
    command = [sys.executable, "-m", f"pipelines.{entry_point}", "--store.path", str(folder / "store")]
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    own, everything, peak = _watch(process)
    if process.returncode:
        raise AssertionError(f"the study ended with {process.returncode}")
    return Used(time.perf_counter() - started, own, everything, peak)


def _watch(process: subprocess.Popen[bytes]) -> tuple[float, float, int]:
    """Wait for the end; return processor seconds of the process and of it with all below it, and the peak of their memory.

    Processes are looked at now and then, so what one used after the last look is missing. Pages that processes share count
    as often as they are shared: the memory is an upper bound.
    """
    import psutil

    seconds: dict[tuple[int, float], float] = {}
    peak, root = 0, psutil.Process(process.pid)
    whose = (root.pid, root.create_time())
    while process.poll() is None:
        total = 0
        try:
            for each in [root, *root.children(recursive=True)]:
                with each.oneshot():
                    total += each.memory_info().rss
                    seconds[each.pid, each.create_time()] = sum(each.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
        peak = max(peak, total)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return seconds.get(whose, 0.0), sum(seconds.values()), peak


def _beside_the_phases(store: Path) -> tuple[list[float], dict[str, list[float]]]:
    """Of every generation but a chain's first: from the end of the generation before to its own end, less its phases."""
    journal = [json.loads(line) for line in (store / "journal.jsonl").read_text().splitlines()]
    computed = {line["identity"]: line for line in journal}
    beside, phases = [], defaultdict(list)
    for chain in (store / "chains").iterdir():
        end = None
        for path in sorted(chain.glob("generation-*.json")):
            lines = {kind: computed[identity] for kind, identity in json.loads(path.read_text())["phases"].items()}
            ended = datetime.fromisoformat(lines["measure"]["created"]).timestamp()
            if end is not None:
                beside.append(ended - end - sum(lines[kind]["seconds"] for kind in PHASES))
                for kind in PHASES[1:]:
                    phases[kind].append(lines[kind]["seconds"])
            end = ended
    return beside, phases
