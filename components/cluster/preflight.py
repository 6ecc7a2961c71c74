"""Before a study starts on a cluster: can every machine do its part?

Each is asked for one small task: to read what this one wrote into the store and to write an answer there, and to say which
versions of the libraries, and which code, it would run, and what it computes with. (Only the study's own process writes to
MLflow; the machines need not reach it.)
"""

import hashlib
import uuid
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from components.cluster.groups import last_line
from components.config import BadSettings
from components.config.errors import BadInput
from components.environment import PACKAGES, Machine, versions
from components.store import Store, StoreUnavailable

SECONDS_TO_ANSWER = 90
PROJECT = Path(__file__).resolve().parents[2]
CODE = ("components", "pipelines")
SOURCES = (".py", ".cpp", ".h")
"""Files that workers run or compile. (Presets and templates are read by the study's own process alone.)"""
Ask = Callable[[], Machine]


def check_nodes(address: str, store: Store, ask: Ask, gpu: bool) -> dict[str, Machine]:
    """Raise what would fail later on one of the cluster's machines.

    Args:
        ask: called on each machine for what it computes with.
        gpu: whether workers take GPUs if the cluster has any.

    Returns:
        What those machines compute with that can run workers, by name: of a cluster with GPUs those that have some.

    Raises:
        BadInput: a machine does not see the store, has other versions or other code, or does not answer; one line each.
    """
    probe = f"probes/{uuid.uuid4().hex}"
    alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    nodes = {identity: _name(node) for identity, node in alive.items()}
    asked = ray.remote(num_cpus=0, max_retries=0)(_answer)
    store.write_json(f"{probe}/question.json", probe)
    try:
        answers = [
            asked.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                store, probe, node, ask
            )
            for node in nodes
        ]
        faults: list[BadInput] = []
        machines: dict[str, Machine] = {}
        for (node, name), answer in zip(nodes.items(), answers, strict=True):
            try:
                told = ray.get(answer, timeout=SECONDS_TO_ANSWER)
            except GetTimeoutError:
                fault = f"{name} did not answer in {SECONDS_TO_ANSWER} seconds; look after it, or take it out of the cluster"
                faults.append(BadInput("cluster.address", address, fault))
            except (RayError, ImportError) as error:
                fault = (
                    f"{name} cannot run this project ({last_line(error)}); the same code and environment must lie at"
                )
                faults.append(BadInput("cluster.address", address, f"{fault} {PROJECT}"))
            else:
                faults += _faults(address, name, store, f"{probe}/{node}.json", told)
                machines[node] = told["machine"]
    finally:
        store.remove(probe)
    if faults:
        raise BadSettings(faults)
    return {nodes[node]: machines[node] for node in _with_workers(alive, gpu)}


def _with_workers(alive: Mapping[str, Mapping[str, Any]], gpu: bool) -> list[str]:
    """Of these nodes by id the ones that can run workers."""
    kinds = ("GPU", "CPU") if gpu else ("CPU",)
    able = ([node for node, one in alive.items() if one["Resources"].get(kind, 0) >= 1] for kind in kinds)
    return next((nodes for nodes in able if nodes), [])


def _faults(address: str, name: str, store: Store, written: str, told: Mapping[str, Any]) -> list[BadInput]:
    """What a machine's answer shows to be wrong with it: nothing, or one fault."""
    where = store.bucket.uri if store.bucket else store.root
    if told["error"]:
        fault = f"{name} cannot use it ({told['error']}); give a store that all machines reach"
        return [BadInput("store.path", where, fault)]
    if not told["saw"] or store.read_json(written) != told["saw"]:
        fault = f"{name} does not share it; give a file system that all machines share, or s3://..."
        return [BadInput("store.path", where, fault)]
    ours, theirs = _facts(), told["facts"]
    differ = [f"{key} {theirs[key]} (here {value})" for key, value in ours.items() if theirs[key] != value]
    if differ:
        fault = f"{name} has {', '.join(differ)}; results would not agree: make them the same"
        return [BadInput("cluster.address", address, fault)]
    return []


def _answer(store: Store, probe: str, node: str, ask: Ask) -> dict[str, Any]:
    """Runs on the machine that is asked."""
    error, saw = None, None
    try:
        if store.bucket:
            store.make_folder()
        saw = store.read_json(f"{probe}/question.json")
        if saw:  # where it sees nothing it must not begin a store of its own
            store.write_json(f"{probe}/{node}.json", saw)
    except (OSError, BadInput, StoreUnavailable) as fault:
        error = str(fault)
    return {"saw": saw, "error": error, "facts": _facts(), "machine": ask()}


@cache
def _facts() -> dict[str, str]:
    """Versions without their local part (+cpu, +cu130: a head without a GPU is common), and the code's digest."""
    found = {package: versions()[package].split("+")[0] for package in PACKAGES}
    return found | {"code": code_digest(PROJECT)[:12]}


def code_digest(project: Path) -> str:
    """SHA-256 over what a worker runs or compiles of a copy of this project: Python, and the kernels' C++."""
    digest = hashlib.sha256()
    files = [file for room in CODE for file in (project / room).rglob("*") if file.suffix in SOURCES]
    for file in sorted(files):
        digest.update(file.relative_to(project).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
