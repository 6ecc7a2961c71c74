"""A phase: found in the store, or computed by all workers together and then put there by rank 0."""

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from filelock import Timeout

from components.environment import machine
from components.recursion.family import Progress
from components.recursion.peers import Peers
from components.store import Lock, Phase, Store

logger = logging.getLogger(__name__)

SECONDS_OF_WAITING = 30

Compute = Callable[[Path, Progress], Mapping[str, float]]
"""Writes a phase's files into the folder given and returns its numbers."""


def phase(
    store: Store,
    kind: str,
    inputs: Mapping[str, Any],
    compute: Compute,
    peers: Peers = Peers(),
    progress: Progress = lambda done, total: None,
    reads: Sequence[Path] = (),
) -> Phase:
    """The phase of this kind that `inputs` determine; every worker of a group calls this and gets the same answer.

    Whoever else wants the same phase meanwhile waits, and then finds it. `reads`: phases whose files `compute` reads, on
    every worker's machine.
    """
    with ExitStack() as held:
        lock = store.lock(kind, inputs)
        held.callback(lock.release)
        while not peers.agree(_acquired(lock) if peers.leads else None):
            # Together: a group whose other workers waited alone would take them for dead.
            logger.info("%s is being computed by others: waiting for it", kind)
        found = peers.agree(store.find(kind, inputs) if peers.leads else None)
        if found:
            logger.info("%s is in the store", kind)
            return found
        out = peers.agree(store.begin(kind) if peers.leads else None)
        assert out is not None
        for place in reads:
            store.bring(place)
        logger.info("%s begins", kind)
        progress(0, 1)
        started = time.perf_counter()
        try:
            metrics = compute(out, progress)
            peers.barrier()
        except BaseException:
            if peers.leads:
                shutil.rmtree(out, ignore_errors=True)  # what a kill leaves there, the next start clears
            raise
        seconds = time.perf_counter() - started
        machines = peers.gather(machine())
        finished = peers.agree(store.finish(kind, inputs, out, metrics, seconds, machines) if machines else None)
        assert finished is not None
        logger.info("%s is done", kind, extra={"seconds": seconds})
        return finished


def _acquired(lock: Lock) -> bool:
    try:
        lock.acquire(timeout=SECONDS_OF_WAITING)
    except Timeout:
        return False
    return True
