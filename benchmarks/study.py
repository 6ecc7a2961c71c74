"""The laptop study from nothing: how long it takes, what a generation costs beside its phases, and the memory of it all."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PHASES = ("compose", "fit", "sample", "measure")


def run(ceilings: dict[str, float]) -> list[dict[str, Any]]:
    if not all(find_spec(name) for name in ("ray", "mlflow", "psutil")):
        print("left out: a study needs ray, mlflow and psutil")
        return []
    with TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        command = [sys.executable, "-m", "pipelines.recursion", "--preset", "laptop", "--store.path", str(store)]
        environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        peak = _peak(process)
        if process.returncode:
            raise AssertionError(f"the study ended with {process.returncode}")
        seconds = time.perf_counter() - started
        beside, phases = _beside_the_phases(store)
    return [
        {
            "what": "the laptop study from nothing: 2 conditions x 2 seeds x 5 generations",
            "seconds": seconds,
            **{f"seconds of a {kind}, median": statistics.median(each) for kind, each in phases.items()},
            "seconds of a generation beside its phases, median": statistics.median(beside),
            "the most": max(beside),
            "peak resident MiB, all processes added up": peak / 2**20,
        }
    ]


def _peak(process: subprocess.Popen[bytes]) -> int:
    """Waits for the end. Pages that processes share count as often as they are shared: an upper bound."""
    import psutil

    peak = 0
    while process.poll() is None:
        total = 0
        try:
            for each in psutil.Process(process.pid).children(recursive=True):
                total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        peak = max(peak, total)
        time.sleep(0.5)
    return peak


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
