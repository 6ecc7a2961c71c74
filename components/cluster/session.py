"""The Ray cluster of a study: one embedded in this process, or one that is already there."""

import os
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import ray
from joblib import cpu_count
from ray.exceptions import RayError

from components.cluster.capacity import Capacity, this_machine
from components.cluster.capacity import Machine as Node
from components.cluster.preflight import Ask, check_nodes
from components.config.errors import BadInput
from components.config.settings import ClusterSettings
from components.environment import Machine
from components.families.precision import HERE
from components.store import Store

PROJECT = Path(__file__).resolve().parents[2]
CONNECT_SECONDS = 3
SECONDS_TO_LEAVE = 10
SESSIONS, SESSION = Path("/tmp"), "recursion-ray-"  # where Ray keeps its own: a socket's path has 107 bytes at most
REMEDY = "start a cluster there (`ray start --head`), or leave it empty for one on this machine"


class Lost(RuntimeError):
    """The cluster is no more, or its head does not answer."""


@contextmanager
def connect(settings: ClusterSettings) -> Iterator[Capacity]:
    """Join the cluster at `cluster.address`, or start one here that ends with this context.

    Raises:
        BadInput: nothing answers at the address.
        Lost: the cluster ended while it was in use.
    """
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray would let every other program go first
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")  # how late the end of a group may be noticed
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    temporary, raylets = None, set[str]()
    if not settings.address:
        # An open Ray port is remote code execution (CVE-2023-48022). Ray guards a cluster of its own with a token; this
        # one is of this cluster alone, and kept nowhere.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        for watcher in (
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER",
            "RAY_TRAIN_METRICS_ENABLED",
            "RAY_enable_metrics_collection",
        ):
            os.environ.setdefault(watcher, "0")  # what they cost: docs/decisions.md
        clear_dead_sessions()
        temporary = tempfile.mkdtemp(prefix=f"{SESSION}{os.getpid()}-", dir=SESSIONS)
    try:
        with _own_sigterm():
            _start(temporary) if temporary else _join(str(settings.address))
        if temporary:
            raylets = {str(child.pid) for child in psutil.Process().children() if child.name() == "raylet"}
        yield Capacity(list(_machines()), grows=True) if settings.address else this_machine()
    except RayError as error:
        raise Lost(f"the cluster was lost ({str(error).strip().splitlines()[0]})") from error
    finally:
        ray.shutdown()
        if temporary:
            _end_workers(raylets)
            shutil.rmtree(temporary, ignore_errors=True)  # logs of a cluster that is no more


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray puts a handler in the place of ours, which prints a stack and ends the process with status 15: ours is put back, and
    what Ray's is told until then is an interruption all the same."""
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as stopped:
        raise KeyboardInterrupt from stopped
    finally:
        signal.signal(signal.SIGTERM, ours)


def _end_workers(raylets: Collection[str]) -> None:
    """End the processes of raylets that are no more: on a busy machine one in some fifty stopped studies left one behind."""
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get("RAY_RAYLET_PID") in raylets:
                left.append(process)
    for process in psutil.wait_procs(left, timeout=SECONDS_TO_LEAVE)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def clear_dead_sessions() -> None:
    """Remove what embedded clusters of processes that were killed left in Ray's folder of sessions."""
    for folder in SESSIONS.glob(f"{SESSION}*-*"):
        owner = folder.name.removeprefix(SESSION).split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def check(
    settings: ClusterSettings, workers: int, store: Store, ask: Ask, gpu: bool = False
) -> tuple[Capacity, dict[str, Machine]]:
    """Refuse, before anything starts, an address where nothing answers, more workers than fit, machines that cannot serve.

    Without an address nothing is started: the workers will be on this machine.

    Args:
        ask: called on each machine for what it computes with.
        gpu: whether workers take GPUs if the cluster has any.

    Returns:
        What the cluster has, and what the machines that can run workers compute with, by name; no machine where the
        cluster has yet to grow.

    Raises:
        BadInput: names `cluster.address`, `train.workers` or `store.path`.
    """
    if settings.address is None:
        capacity = this_machine()
        capacity.groups(workers, settings.concurrent_chains)
        return capacity, {HERE: ask()}
    if settings.address != "auto":
        host, _, port = settings.address.rpartition(":")
        if not host or not port.isdigit():
            raise BadInput("cluster.address", settings.address, "an address is host:port of the head node, or `auto`")
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            raise BadInput("cluster.address", settings.address, f"nothing answers there ({error}); {REMEDY}") from None
    with connect(settings) as capacity:
        capacity.groups(workers, settings.concurrent_chains)
        return capacity, check_nodes(settings.address, store, ask, gpu)


def _machines() -> Iterator[Node]:
    """The machines of the cluster that this process has joined; what memory their GPUs have, nobody says."""
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            yield Node(int(has.get("CPU", 0)), int(has.get("GPU", 0)), int(has.get("memory", 0)))


def _start(folder: str) -> None:
    """A cluster of this process's own. Ray gives a node thirty seconds to come up; a busy machine may take two tries."""
    for last in (False, True):
        try:
            ray.init(
                address="local",
                num_cpus=cpu_count(),
                _memory=max(1, this_machine().machines[0].memory),  # by what is free now, if Ray is not told
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                _temp_dir=folder,
            )
            return
        except Exception as error:  # Ray raises nothing more definite
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
            if last:
                raise Lost("Ray could not start within a minute: this machine is too busy, or out of memory") from error


def _join(address: str) -> None:
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            configure_logging=False,
            runtime_env={"env_vars": {"PYTHONPATH": str(PROJECT)}},
        )
    except (ConnectionError, RuntimeError, RayError) as error:
        remedy = (
            f"it takes a head node of Ray {ray.__version__}, and RAY_AUTH_MODE=token with RAY_AUTH_TOKEN if it has one"
        )
        raise BadInput("cluster.address", address, f"{str(error).splitlines()[0]}; {remedy}") from None
