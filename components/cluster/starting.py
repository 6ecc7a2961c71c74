"""How long Ray and the workers will take to start, judged by how long this process took to."""

import time

import psutil

LOADS = 3.0
"""Ray's own processes, the group's controller and its workers load one after the other what this process loaded once;
measured on two cores, with and without a busy process beside them (docs/decisions.md)."""

_loaded: list[float] = []


def libraries_loaded() -> None:
    """Remember how long this process took from its start to here, where it has loaded all its libraries."""
    _loaded[:] = [time.time() - psutil.Process().create_time()]


def seconds_to_start() -> float:
    """Seconds until the workers begin; 0 in a process that did not say when it had loaded its libraries."""
    return LOADS * sum(_loaded)
