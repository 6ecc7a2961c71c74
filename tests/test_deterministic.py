"""Deterministic kernels where they are asked for: in every worker, before it computes anything."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from components import cluster
from components.cluster import Crew
from components.cluster.trials import run_trials_in_tasks
from components.config.settings import ClusterSettings
from components.families.memory import Need

ON = {"algorithms": True, "cublas": ":4096:8", "cudnn": True, "benchmark": False}


def flags() -> dict[str, Any]:
    return {
        "algorithms": torch.are_deterministic_algorithms_enabled(),
        "cublas": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        "cudnn": torch.backends.cudnn.deterministic,
        "benchmark": torch.backends.cudnn.benchmark,
    }


class Asked:
    """A work that tells which flags its process has, as it travels to a worker."""

    def __call__(self, peers: Any, send: Any) -> None:
        send({"work": "asked", "flags": flags()})


class One:
    """A search of one trial."""

    def __init__(self) -> None:
        self.trials = ["asked"]

    def ask(self) -> Any:
        return (self.trials.pop(), Asked()) if self.trials else None

    def hopeless(self, trial: str, numbers: Mapping[str, Any]) -> bool:
        return False

    def tell(self, trial: str, error: str | None, again: bool) -> None:
        assert error is None


def asked(where: str, deterministic: bool, folder: Path) -> dict[str, Any]:
    messages: list[Mapping[str, Any]] = []
    if where == "groups":
        crew = Crew(1, 1, False, folder, 0, memory=10**8, deterministic=deterministic)
        cluster.run_groups({"asked": Asked()}, crew, messages.extend)
    elif where == "tasks":
        cluster.run_tasks({"asked": Asked()}, 1, 0, messages.extend, memory=10**8, deterministic=deterministic)
    else:
        run_trials_in_tasks(One(), 1, 0, messages.extend, memory=10**8, deterministic=deterministic)
    (found,) = [message["flags"] for message in messages if "flags" in message]
    return dict(found)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "where", [pytest.param("groups", marks=pytest.mark.slow), "tasks", pytest.param("trials", marks=pytest.mark.slow)]
)
def test_a_worker_has_the_flags_that_its_study_asks_for(where: str, tmp_path: Path):
    """First without: a process may serve one task after the other."""
    with cluster.connect(ClusterSettings()):
        assert not asked(where, False, tmp_path)["algorithms"]
        assert asked(where, True, tmp_path) == ON


@pytest.mark.timeout(240)
def test_ray_gives_a_machine_no_more_workers_than_its_memory_holds(tmp_path: Path):
    """Two tasks run one after the other, since each asks for more than half of the machine's memory."""
    messages: list[Mapping[str, Any]] = []
    with cluster.connect(ClusterSettings()) as capacity:
        half = capacity.machines[0].memory // 2 + 10**8
        assert capacity.groups(1, None, Need(half)) == 1
        cluster.run_tasks({"a": Busy(tmp_path), "b": Busy(tmp_path)}, 2, 0, messages.extend, memory=half)
    together = [message["together"] for message in messages if "together" in message]
    assert together == [1, 1]


class Busy:
    """A work that tells how many of its kind run with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, peers: Any, send: Any) -> None:
        mine = self.folder / f"busy-{os.getpid()}"
        mine.touch()
        time.sleep(3)
        send({"together": len(list(self.folder.glob("busy-*")))})
        mine.unlink()
