"""Groups of Ray Train workers, side by side as resources allow.

A group serves one work after another (a chain, a trial, the base model), each from its start to its end: starting a group
costs ten to forty seconds, a generation of a small model costs less. A group whose worker dies is started again and finds
in the store what it had finished. Ray Train takes a second to import, so it is imported where a group is started. Messages from the workers come through one queue to the thread that called, so that
whoever writes to MLflow and draws the progress is one writer.
"""

import errno
import os
import queue
import re
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import ray
from ray.actor import ActorHandle
from ray.util.queue import Queue

from components import logs
from components.cluster.board import WAIT, may_go_on, next_order, open_board, open_messages
from components.families.device import prepare_process
from components.recursion.family import GuardFailure
from components.recursion.peers import Peers
from components.store import StoreUnavailable

if TYPE_CHECKING:
    from ray.train import TrainingFailedError

Send = Callable[[Mapping[str, Any]], None]
Reports = Iterable[Mapping[str, Any]]
Work = Callable[[Peers, Send], Reports | None]
"""Called on all workers of a group. One that yields reports pauses after each until it is told to go on."""
Watch = Callable[[list[Mapping[str, Any]]], None]

SECONDS_TO_END = 60  # a group that is just being started takes half of it on a busy machine


class Failed(RuntimeError):
    """Work that did not come to its end, by name, with what went wrong."""

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        self.errors = errors
        super().__init__("; ".join(f"{name}: {last_line(error)}" for name, error in errors.items()))


@dataclass(frozen=True)
class Crew:
    """What the groups of a pool are made of.

    `storage`: folder for Ray Train's own small files, on a file system that all nodes share. `max_failures`: how often a
    work is begun again after a worker died on it. `memory`: bytes that each worker asks Ray for, so that no
    machine gets more workers than its memory holds. `deterministic`: whether workers keep to deterministic kernels.
    """

    workers: int
    side_by_side: int
    gpu: bool
    storage: Path
    max_failures: int
    memory: int = 0
    deterministic: bool = False


@dataclass
class Pool:
    """Groups that wait for works. Messages arrive in `messages`, in the order in which each work sent them."""

    crew: Crew
    board: ActorHandle
    messages: Queue
    errors: dict[str, Exception] = field(default_factory=dict)
    slots: set[Future[None]] = field(default_factory=set)
    _losses: Counter[str] = field(default_factory=Counter)

    def post(self, name: str, work: Work) -> None:
        ray.get(self.board.post.remote(name, [ray.put(work)]))

    def close(self) -> None:
        """Nothing more will be posted: groups end when nothing waits."""
        ray.get(self.board.close.remote())

    def check(self) -> None:
        """Raise what a group died of that no other is started for: nobody would serve what waits."""
        for slot in self.slots:
            if slot.done():
                slot.result()

    def lost(self, slot: str, group: str, error: "TrainingFailedError") -> bool:
        """A group ended before its time: what it had in hand is begun again, or has failed. Whether to start another."""
        from ray.train import TrainingFailedError

        name, cause = ray.get(self.board.lost.remote(group)), _cause(error, self.crew.storage)
        self._losses[name or slot] += 1
        again = (
            isinstance(cause, (TrainingFailedError, StoreUnavailable))
            and self._losses[name or slot] <= self.crew.max_failures
        )
        if name and again:
            self.messages.put({"work": name, "retry": self._losses[name], "error": last_line(cause)})
            ray.get(self.board.post_again.remote(name))
        elif name:
            self.errors[name] = cause
            self.messages.put({"work": name, "failed": last_line(cause)})
            ray.get(self.board.end.remote(name, last_line(cause), not isinstance(cause, GuardFailure)))
        elif not again:
            raise cause
        return bool(ray.get(self.board.has_more.remote()))


def run_groups(works: Mapping[str, Work], crew: Crew, watch: Watch) -> None:
    """Run every piece of work, `crew.side_by_side` at a time.

    Args:
        works: by name; each is called on all workers of a group with its peers and a way to send messages.
        watch: gets messages; runs in the calling thread.

    Raises:
        Failed: some work did not come to its end; the rest did.
    """
    with pool(crew, watch) as groups:
        for name, work in works.items():
            groups.post(name, work)
    if groups.errors:
        raise Failed(groups.errors)


@contextmanager
def pool(crew: Crew, watch: Watch) -> Iterator[Pool]:
    """Groups that start at once and serve what is posted within, until its end."""
    groups = Pool(crew, open_board(), open_messages())
    try:
        groups.slots = {_in_thread(_slot, groups, f"group-{number}") for number in range(crew.side_by_side)}
        try:
            yield groups
            groups.close()
            running, ended = set(groups.slots), time.monotonic()
            while running:
                finished, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                watch(list(drain(groups.messages)))
                for future in finished:
                    future.result()
                if not ray.get(groups.board.has_come_to_its_end.remote()):
                    ended = time.monotonic()
                elif time.monotonic() - ended > SECONDS_TO_END:
                    break  # groups whose machines never came, and need not come any more
            watch(list(drain(groups.messages)))
        except BaseException:
            ray.shutdown()  # ends the groups that run
            raise
    finally:
        if ray.is_initialized():
            groups.messages.shutdown()
            ray.kill(groups.board)


def _in_thread(call: Callable[..., None], *arguments: Any) -> Future[None]:
    """A thread that a process which ends does not wait for: Ray forgets, now and then, to wake who waits when it shuts down."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            call(*arguments)
            future.set_result(None)
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def _slot(groups: Pool, slot: str) -> None:
    """A group, and another one in its place whenever it is lost."""
    from ray.train import TrainingFailedError

    while True:
        group = f"{slot}-{uuid.uuid4().hex[:8]}"  # Ray Train resumes by name; here the store does
        try:
            _run_group(groups, group)
            return
        except TrainingFailedError as error:
            if not (ray.is_initialized() and groups.lost(slot, group, error)):
                return


def _run_group(groups: Pool, group: str) -> None:
    """Serve works until the board has no more."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
    from ray.train.torch import TorchConfig, TorchTrainer

    crew, board, messages, where = groups.crew, groups.board, groups.messages, logs.fields()

    def serve() -> None:
        prepare_process(crew.deterministic)
        context = get_context()
        peers = Peers(context.get_world_rank(), context.get_world_size())
        logs.begin_worker({**where, "rank": peers.rank}, messages.put)
        while (order := peers.agree(next_order(board, group) if peers.leads else None)) is not None:
            if order == WAIT:
                continue
            name, work = order
            _serve(board, name, work(peers, messages.put), peers)
            if peers.leads:
                ray.get(board.done.remote(group))

    trainer = TorchTrainer(
        serve,
        # gloo beside nccl: what the workers agree on, and losses added up, lies in the CPU's memory
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if crew.gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=crew.workers,
            use_gpu=crew.gpu,
            resources_per_worker=worker_resources(crew.gpu, crew.memory),
        ),
        run_config=RunConfig(name=group, storage_path=str(crew.storage), failure_config=FailureConfig(max_failures=0)),
    )
    try:
        trainer.fit()
    finally:
        shutil.rmtree(crew.storage / group, ignore_errors=True)  # Ray Train's notes on a run, of no use after it


def worker_resources(gpu: bool, memory: int) -> dict[str, float]:
    """What a worker asks Ray for."""
    return {"CPU": 1, **({"GPU": 1} if gpu else {}), **({"memory": memory} if memory else {})}


def _serve(board: ActorHandle, name: str, reports: Reports | None, peers: Peers) -> None:
    """A work that yields reports goes on after each when it may; its end is then the same for all workers."""
    for place, numbers in enumerate(reports or ()):
        if not peers.agree(may_go_on(board, name, place, numbers) if peers.leads else None):
            return


def _cause(error: "TrainingFailedError", storage: Path) -> Exception:
    """A failed guard and a full disk, which would only repeat themselves; a store that is away; else the error as it is."""
    if guard := re.search(r"(?:GuardFailure|Diverged): (.*)", str(error)):
        return GuardFailure(guard[1])
    if (full := os.strerror(errno.ENOSPC)) in str(error):
        return OSError(errno.ENOSPC, full, str(storage))
    if away := re.search(r"StoreUnavailable: (.*)", str(error)):
        return StoreUnavailable(away[1])
    return error


def drain(messages: Queue) -> Iterator[Mapping[str, Any]]:
    while size := messages.qsize():
        try:
            yield from messages.get_nowait_batch(size)
        except queue.Empty:
            return


def last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
