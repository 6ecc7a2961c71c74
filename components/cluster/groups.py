"""Groups of Ray Train workers, side by side as resources allow.

A group serves one piece of work (a chain, the base model) from its start to its end: starting a group costs ten to
forty seconds, a generation of a small model costs less. A group whose worker dies is started again and finds in the
store what it had finished. Messages from the workers come through one queue to the thread that called, so that whoever
writes to MLflow and draws the progress is one writer.
"""

import errno
import os
import queue
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.queue import Queue

from components.families.device import keep_memory
from components.recursion.family import GuardFailure
from components.recursion.peers import Peers

Send = Callable[[Mapping[str, Any]], None]
Work = Callable[[Peers, Send], None]
Watch = Callable[[list[Mapping[str, Any]]], None]


class Failed(RuntimeError):
    """Work that did not come to its end, by name, with what went wrong."""

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        self.errors = errors
        super().__init__("; ".join(f"{name}: {last_line(error)}" for name, error in errors.items()))


def run_groups(
    works: Mapping[str, Work],
    workers: int,
    side_by_side: int,
    gpu: bool,
    storage: Path,
    max_failures: int,
    watch: Watch,
) -> None:
    """Run every piece of work in a group of its own, `side_by_side` at a time.

    Args:
        works: by name; each is called on all `workers` workers of its group with its peers and a way to send messages.
        gpu: whether a worker holds a GPU.
        storage: folder for Ray Train's own small files, on a file system that all nodes share.
        max_failures: how often a group is started again after a worker died.
        watch: gets messages in the order each piece of work sent them; runs in the calling thread.

    Raises:
        Failed: some work did not come to its end; the rest did.
    """
    messages = Queue(actor_options={"num_cpus": 0})
    errors: dict[str, Exception] = {}
    try:
        with ThreadPoolExecutor(max_workers=side_by_side) as threads:
            running: dict[Future[None], str] = {
                threads.submit(_run_group, name, work, workers, gpu, storage, max_failures, messages): name
                for name, work in works.items()
            }
            try:
                while running:
                    finished, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                    watch(list(drain(messages)))
                    for future in finished:
                        name = running.pop(future)
                        if error := future.exception():
                            if not isinstance(error, Exception):
                                raise error
                            errors[name] = error
                watch(list(drain(messages)))
            except BaseException:
                for future in running:
                    future.cancel()
                ray.shutdown()  # ends the groups that run, so that their threads return
                raise
    finally:
        if ray.is_initialized():
            messages.shutdown()
    if errors:
        raise Failed(errors)


def _run_group(
    name: str, work: Work, workers: int, gpu: bool, storage: Path, max_failures: int, messages: Queue
) -> None:
    """One piece of work, started again after a crash; a failed guard and a full disk would only repeat themselves."""

    def serve() -> None:
        keep_memory()
        context = ray.train.get_context()
        work(Peers(context.get_world_rank(), context.get_world_size()), messages.put)

    for attempt in range(max_failures + 1):
        run = f"{name.replace(' ', '-')[:12]}-{uuid.uuid4().hex[:8]}"  # Ray Train resumes by name; here the store does
        trainer = TorchTrainer(
            serve,
            # gloo beside nccl: what the workers agree on, and losses added up, lies in the CPU's memory
            torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if gpu else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=workers, use_gpu=gpu, resources_per_worker={"CPU": 1, **({"GPU": 1} if gpu else {})}
            ),
            run_config=RunConfig(
                name=run,
                storage_path=str(storage),
                failure_config=FailureConfig(max_failures=0),
            ),
        )
        try:
            trainer.fit()
            return
        except TrainingFailedError as error:
            if guard := re.search(r"GuardFailure: (.*)", str(error)):
                raise GuardFailure(guard[1]) from error
            if (full := os.strerror(errno.ENOSPC)) in str(error):
                raise OSError(errno.ENOSPC, full, str(storage)) from error
            if attempt == max_failures:
                raise
            messages.put({"work": name, "retry": attempt + 1, "error": last_line(error)})
        finally:
            shutil.rmtree(storage / run, ignore_errors=True)  # Ray Train's notes on a run, of no use after it


def drain(messages: Queue) -> Iterator[Mapping[str, Any]]:
    while size := messages.qsize():
        try:
            yield from messages.get_nowait_batch(size)
        except queue.Empty:
            return


def last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
