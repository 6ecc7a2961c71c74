"""Trials by Ray Tune: what to try next is asked for, what a trial reports decides whether it goes on.

Tune starts the trials, hands their reports on and stops the hopeless ones. A trial of a family that trains in groups is
served by a group that has served others before: a `TorchTrainer` of its own would take twenty seconds a trial to start
here, and one that Tune stops leaves its placement group, and the CPUs in it, behind (docs/decisions.md). Other trials are
computed in Tune's own process.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import ray
from ray import tune
from ray.actor import ActorHandle
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.util.queue import Queue

from components import logs
from components.cluster.board import SECONDS_BETWEEN_LOOKS, open_board, open_messages
from components.cluster.groups import Crew, Watch, Work, drain, last_line, pool, worker_resources
from components.cluster.session import SESSION, SESSIONS
from components.families.device import prepare_process
from components.recursion.family import GuardFailure
from components.recursion.peers import Peers


class Search(Protocol):
    """Who decides what is tried. All of it is called in the thread that called `run_trials`."""

    def ask(self) -> tuple[str, Work] | None:
        """Name and work of the next trial; nothing when there are no more."""

    def hopeless(self, trial: str, numbers: Mapping[str, Any]) -> bool:
        """A trial's report; whether it is to be stopped there."""

    def tell(self, trial: str, error: str | None, again: bool) -> None:
        """A trial ended: of itself, stopped, or with an `error`; whether another try could go further."""


class _Remembering:
    """A search whose own exceptions are remembered as they were."""

    def __init__(self, search: Search, faults: list[Exception]) -> None:
        self._search, self._faults = search, faults

    def __getattr__(self, name: str) -> Any:
        return _remembering(getattr(self._search, name), self._faults)


def _remembering(function: Callable[..., Any], faults: list[Exception]) -> Callable[..., Any]:
    def remembering(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            faults.append(error)
            raise

    return remembering


class _NotKept:
    """Tune keeps a copy of whatever it is given, to restore a sweep from; this one is restored from its own books."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Asking(_NotKept, Searcher):
    """Ray Tune's searcher around `Search`."""

    def __init__(self, search: Search, board: ActorHandle) -> None:
        super().__init__()
        self.search, self.board = search, board
        self.names: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        asked = self.search.ask()
        if asked is None:
            return Searcher.FINISHED
        name, work = asked
        ray.get(self.board.post.remote(name, [ray.put(work)]))
        self.names[trial_id] = name
        return {"name": name}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        name = self.names[trial_id]
        ray.get(self.board.stop.remote(name))
        lost = ("its process died", True) if error else (None, True)
        self.search.tell(name, *(ray.get(self.board.error.remote(name)) or lost))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep."""

    def restore(self, checkpoint_path: str) -> None:
        """Never called: `_tune` restores nothing."""


class _Stopping(_NotKept, FIFOScheduler):
    """Ray Tune's scheduler around `Search`."""

    def __init__(self, search: Search) -> None:
        super().__init__()
        self.search = search

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Any) -> str:
        hopeless = self.search.hopeless(trial.config["name"], result)
        return str(TrialScheduler.STOP if hopeless else TrialScheduler.CONTINUE)


class _Watching(_NotKept, TrialProgressCallback):
    """Hands on what the workers sent, at every step of Tune's loop; in the place of Tune's own lines about trials."""

    def __init__(self, messages: Queue, watch: Watch) -> None:
        super().__init__()
        self.messages, self.watch = messages, watch

    def log_result(self, trial: Any, result: Any, error: bool = False) -> None:
        """Nothing."""

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Nothing."""

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        self.watch(list(drain(self.messages)))


def run_trials_in_groups(search: Search, crew: Crew, watch: Watch) -> None:
    """Run trials until `search` has no more, each served by a group of Ray Train workers.

    What fails is told to `search`; the others go on.
    """
    with pool(crew, watch) as groups:

        def watch_groups(messages: list[Mapping[str, Any]]) -> None:
            groups.check()
            watch(messages)

        # A resource that this machine alone has: another may be lost.
        here = tune.PlacementGroupFactory([{f"node:{ray.util.get_node_ip_address()}": 1e-4}])
        _tune(search, groups.board, groups.messages, watch_groups, _follow, here, crew.side_by_side, 0)


def run_trials_in_tasks(
    search: Search,
    side_by_side: int,
    max_failures: int,
    watch: Watch,
    gpu: bool = False,
    memory: int = 0,
    deterministic: bool = False,
) -> None:
    """Run trials until `search` has no more, each in a process of its own; arguments as of `run_tasks`."""
    board, messages = open_board(), open_messages()
    resources = worker_resources(gpu, memory)
    compute = partial(_compute, deterministic=deterministic)
    try:
        _tune(search, board, messages, watch, compute, resources, side_by_side, max_failures)
        watch(list(drain(messages)))
    finally:
        messages.shutdown()
        ray.kill(board)


def _tune(
    search: Search,
    board: ActorHandle,
    messages: Queue,
    watch: Watch,
    trial: Callable[..., None],
    resources: Mapping[str, float] | tune.PlacementGroupFactory,
    side_by_side: int,
    max_failures: int,
) -> None:
    # Where dead sessions are cleared: Tune leaves notes there, of no use after it.
    notes = tempfile.mkdtemp(prefix=f"{SESSION}{os.getpid()}-tune-", dir=SESSIONS)
    faults: list[Exception] = []
    search, watch = _Remembering(search, faults), _remembering(watch, faults)
    try:
        tune.Tuner(
            tune.with_resources(
                tune.with_parameters(trial, board=board, messages=messages, where=logs.fields()), resources
            ),
            tune_config=tune.TuneConfig(
                search_alg=_Asking(search, board),
                scheduler=_Stopping(search),
                num_samples=-1,
                max_concurrent_trials=side_by_side,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=notes,
                callbacks=[_Watching(messages, watch)],
                failure_config=tune.FailureConfig(max_failures=max_failures),
                verbose=0,
            ),
        ).fit()
    except tune.TuneError:
        if faults:
            raise faults[0] from None  # Tune keeps no more of it than its text
        raise
    finally:
        shutil.rmtree(notes, ignore_errors=True)


def _follow(config: Mapping[str, Any], board: ActorHandle, messages: Queue, where: Mapping[str, object]) -> None:
    """A trial that a group computes: its reports are read and handed on. `tune.report` returns if it is to go on."""
    logs.begin_worker(where, messages.put)
    name, place = config["name"], 0
    while True:
        numbers, ended = ray.get(board.read.remote(name, place))
        if numbers is not None:
            tune.report(dict(numbers))
            ray.get(board.allow.remote(name, place))
            place += 1
        elif ended:
            return
        else:
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _compute(
    config: Mapping[str, Any], board: ActorHandle, messages: Queue, where: Mapping[str, object], deterministic: bool
) -> None:
    """A trial that is computed here. A failed guard would only repeat itself; anything else the next start tries again."""
    prepare_process(deterministic)
    logs.begin_worker(where, messages.put)
    name = config["name"]
    (work,) = ray.get(board.take_by_name.remote(name))
    try:
        for numbers in ray.get(work)(Peers(), messages.put) or ():
            tune.report(dict(numbers))
    except Exception as error:
        ray.get(board.end.remote(name, last_line(error), not isinstance(error, GuardFailure)))
    else:
        ray.get(board.end.remote(name))
