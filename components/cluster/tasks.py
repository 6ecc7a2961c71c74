"""Chains that one process computes, side by side as Ray tasks.

A chain of one process needs no group: a task starts in a second or two where a group of Ray Train takes ten or more, and a
worker process serves one task after the other. Messages come back as they do from groups.
"""

from collections.abc import Mapping

import ray
from ray.util.queue import Queue

from components import logs
from components.cluster.board import open_messages
from components.cluster.groups import Failed, Watch, Work, drain, last_line
from components.families.device import prepare_process
from components.recursion.peers import Peers


def run_tasks(
    works: Mapping[str, Work],
    side_by_side: int,
    max_failures: int,
    watch: Watch,
    gpu: bool = False,
    memory: int = 0,
    deterministic: bool = False,
) -> None:
    """Run every piece of work in a process of its own, `side_by_side` at a time; started again if its process dies.

    Args:
        works: by name; each is called with a way to send messages.
        max_failures: how often a task is started again after its process died; what it raises is not tried again.
        watch: gets messages in the order each piece of work sent them; runs in the calling thread.
        gpu: whether each takes a GPU.
        memory: bytes that each asks Ray for.
        deterministic: whether each keeps to deterministic kernels.

    Raises:
        Failed: some work did not come to its end; the rest did.
    """
    messages = open_messages()
    task = ray.remote(
        num_cpus=1, num_gpus=int(gpu), memory=memory or None, max_retries=max_failures, retry_exceptions=False
    )(_run)
    waiting = list(works.items())
    running: dict[ray.ObjectRef, str] = {}
    errors: dict[str, Exception] = {}
    try:
        while waiting or running:
            while waiting and len(running) < side_by_side:
                name, work = waiting.pop(0)
                running[task.remote(work, deterministic, messages, logs.fields())] = name
            finished, _ = ray.wait(list(running), timeout=0.5)
            watch(list(drain(messages)))
            for reference in finished:
                name = running.pop(reference)
                try:
                    ray.get(reference)
                except ray.exceptions.RayError as error:
                    errors[name] = RuntimeError(last_line(error))
                    watch([{"work": name, "failed": last_line(error)}])
        watch(list(drain(messages)))
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        messages.shutdown()
    if errors:
        raise Failed(errors)


def _run(work: Work, deterministic: bool, messages: Queue, where: Mapping[str, object]) -> None:
    prepare_process(deterministic)
    logs.begin_worker(where, messages.put)
    work(Peers(), messages.put)
