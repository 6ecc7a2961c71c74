"""Before a study starts on a cluster: can every machine do its part?

Each is asked for one small task: to read what this one wrote into the store and to write an answer there, and to say which
versions of the libraries, and which code, it would run. (Only the study's own process writes to MLflow; the machines need
not reach it.)
"""

import hashlib
import uuid
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from components.cluster.groups import last_line
from components.config import BadSettings
from components.config.errors import BadInput
from components.store import Store, StoreUnavailable

PACKAGES = (
    "ray", "torch", "deepspeed", "transformers", "tokenizers", "safetensors", "numpy", "pandas", "pyarrow", "scipy",
    "scikit-learn",
)  # fmt: skip
"""What a result goes by."""

SECONDS_TO_ANSWER = 90
CODE = Path(__file__).resolve().parents[1]


def check_nodes(address: str, store: Store) -> None:
    """Raise what would fail later on one of the cluster's machines.

    Raises:
        BadInput: a machine does not see the store, has other versions or other code, or does not answer; one line each.
    """
    probe = f"probes/{uuid.uuid4().hex}"
    nodes = {node["NodeID"]: _name(node) for node in ray.nodes() if node["Alive"]}
    asked = ray.remote(num_cpus=0, max_retries=0)(_answer)
    store.write_json(f"{probe}/question.json", probe)
    try:
        answers = [
            asked.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                store, probe, node
            )
            for node in nodes
        ]
        faults: list[BadInput] = []
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
                faults.append(BadInput("cluster.address", address, f"{fault} {CODE.parent}"))
            else:
                faults += _faults(address, name, store, f"{probe}/{node}.json", told)
    finally:
        store.remove(probe)
    if faults:
        raise BadSettings(faults)


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


def _answer(store: Store, probe: str, node: str) -> dict[str, Any]:
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
    return {"saw": saw, "error": error, "facts": _facts()}


@cache
def _facts() -> dict[str, str]:
    """Versions without their local part (+cpu, +cu130: a head without a GPU is common), and the code's digest."""
    found = {name: _version(name) for name in PACKAGES}
    digest = hashlib.sha256()
    for file in sorted(CODE.rglob("*.py")):
        digest.update(file.relative_to(CODE).as_posix().encode() + b"\0" + file.read_bytes())
    return found | {"code": digest.hexdigest()[:12]}


def _version(package: str) -> str:
    try:
        return version(package).split("+")[0]
    except PackageNotFoundError:
        return "none"


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
