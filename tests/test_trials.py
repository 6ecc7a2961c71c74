"""Trials through real Ray: Tune over groups of Ray Train workers that serve one trial after another."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.util import placement_group_table

from components import cluster
from components.cluster.trials import run_trials_in_groups, run_trials_in_tasks
from components.config.settings import ClusterSettings
from components.recursion.family import GuardFailure

pytestmark = pytest.mark.timeout(240)

LAST = 3


@dataclass(frozen=True)
class Steps:
    """Work that reports 0, 1, 2, 3. `breaks`: how it goes wrong at report 2, the first time or every time."""

    name: str
    folder: Path
    breaks: str = ""

    def __call__(self, peers: Any, send: Any) -> Iterator[Mapping[str, Any]]:
        for place in range(LAST + 1):
            if place == 2 and self.breaks == "guard":
                raise GuardFailure("weights did not move")
            if place == 2 and self.breaks == "killed once" and not (self.folder / self.name).exists():
                (self.folder / self.name).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            send({"work": self.name, "process": os.getpid(), "place": place})
            yield {"generation": place}


@dataclass
class Search:
    """Asks for works in order; stops those of an odd number at report 1."""

    works: list[Steps]
    told: dict[str, Any] = field(default_factory=dict)
    reports: list[tuple[str, int]] = field(default_factory=list)
    messages: list[Mapping[str, Any]] = field(default_factory=list)

    def ask(self) -> tuple[str, Steps] | None:
        work = self.works.pop(0) if self.works else None
        return work and (work.name, work)

    def hopeless(self, trial: str, numbers: Mapping[str, Any]) -> bool:
        self.reports.append((trial, int(numbers["generation"])))
        return trial.startswith("hopeless") and numbers["generation"] == 1

    def tell(self, trial: str, error: str | None, again: bool) -> None:
        self.told[trial] = (error, again)

    def watch(self, messages: list[Mapping[str, Any]]) -> None:
        self.messages += messages


@pytest.fixture(scope="module")
def joined() -> Iterator[cluster.Capacity]:
    with cluster.connect(ClusterSettings()) as capacity:
        yield capacity


def reports_of(search: Search, trial: str) -> list[int]:
    return [generation for name, generation in search.reports if name == trial]


@pytest.mark.slow
def test_groups_serve_trials_and_a_pruned_one_leaves_no_placement_group_behind(
    joined: cluster.Capacity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Shorter than the trials: the pool must count the groups' time to end from the end of the last trial.
    monkeypatch.setattr(cluster.groups, "SECONDS_TO_END", 15)
    names = ["good-0", "hopeless-1", "good-2", "hopeless-3", "guard-4", "killed-5", "good-6"]
    breaks = {"guard-4": "guard", "killed-5": "killed once"}
    search = Search([Steps(name, tmp_path, breaks.get(name, "")) for name in names])
    crew = cluster.Crew(workers=1, side_by_side=joined.workers(), gpu=False, storage=tmp_path / "ray", max_failures=1)
    run_trials_in_groups(search, crew, search.watch)
    for name in names:
        expected = {"hopeless": [0, 1], "guard": [0, 1]}.get(name.split("-")[0], [0, 1, 2, 3])
        assert reports_of(search, name) == expected, name
    assert {name: told for name, told in search.told.items() if told[0]} == {"guard-4": ("weights did not move", False)}
    assert set(search.told) == set(names)
    retries = [message["work"] for message in search.messages if "retry" in message]
    assert retries == ["killed-5"]  # by a new group, and what it had reported is not reported again
    processes = {message["process"] for message in search.messages if "process" in message}
    assert len(processes) <= joined.workers() + 2  # one a slot, and one more for the group that was killed or failed
    deadline = time.monotonic() + 10

    def left() -> list[dict[str, object]]:
        return [one for one in placement_group_table().values() if one["state"] != "REMOVED"]

    while left() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left() == []
    while ray.available_resources().get("CPU") != joined.workers() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ray.available_resources()["CPU"] == joined.workers()
    assert list((tmp_path / "ray").iterdir()) == []


@pytest.mark.slow
def test_a_group_whose_machine_never_comes_holds_nothing_up(
    joined: cluster.Capacity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cluster.groups, "SECONDS_TO_END", 5)
    taken = ray.remote(num_cpus=joined.workers() - 1)(Holder).remote()
    ray.get(taken.holds.remote())
    done: list[str] = []

    def work(peers: Any, send: Any) -> None:
        send({"done": os.getpid()})

    try:
        crew = cluster.Crew(workers=1, side_by_side=2, gpu=False, storage=tmp_path, max_failures=0)
        cluster.run_groups({"a": work, "b": work, "c": work}, crew, done.extend)
    finally:
        ray.kill(taken)
    assert len(done) == 3


class Holder:
    """Takes the place of machines that are not there."""

    def holds(self) -> bool:
        return True


def test_trials_of_one_process_run_in_tunes_own(joined: cluster.Capacity, tmp_path: Path):
    names = ["good-0", "hopeless-1", "guard-2", "killed-3"]
    breaks = {"guard-2": "guard", "killed-3": "killed once"}
    search = Search([Steps(name, tmp_path, breaks.get(name, "")) for name in names])
    run_trials_in_tasks(search, joined.workers(), 1, search.watch)
    assert [reports_of(search, name) for name in names[:3]] == [[0, 1, 2, 3], [0, 1], [0, 1]]
    assert reports_of(search, "killed-3") == [0, 1, 0, 1, 2, 3]  # begun again; the books take a report once
    assert {name: told for name, told in search.told.items() if told[0]} == {"guard-2": ("weights did not move", False)}


def test_what_goes_wrong_in_the_search_itself_comes_out_as_it_is(joined: cluster.Capacity, tmp_path: Path):
    class Broken(Search):
        def hopeless(self, trial: str, numbers: Mapping[str, Any]) -> bool:
            raise OSError(28, "No space left on device")

    search = Broken([Steps("good-0", tmp_path)])
    with pytest.raises(OSError, match="No space left"):
        run_trials_in_tasks(search, 1, 0, search.watch)


def test_groups_that_cannot_start_end_the_trials_with_their_error(joined: cluster.Capacity, tmp_path: Path):
    """The last test here: the cluster is shut down with the groups that wait in it."""
    (tmp_path / "file").touch()
    search = Search([Steps("good-0", tmp_path)])
    crew = cluster.Crew(workers=1, side_by_side=1, gpu=False, storage=tmp_path / "file" / "ray", max_failures=0)
    with pytest.raises(Exception, match="Not a directory"):
        run_trials_in_groups(search, crew, search.watch)
    assert search.reports == []
