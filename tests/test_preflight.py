"""What the machines of a cluster are asked before a study: their code, and what they compute with."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from components.cluster import check
from components.cluster.preflight import SOURCES, _with_workers, code_digest
from components.cluster.session import SESSION, SESSIONS
from components.config.errors import BadInput
from components.config.settings import ClusterSettings
from components.environment import Machine
from components.families.precision import HERE, settle
from components.store import Store
from tests.studies import PROJECT, SECONDS

READ_BY_THE_STUDY_ALONE = {
    ".yaml": "presets", ".j2": "pages", ".js": "pages", ".css": "pages",
    **dict.fromkeys((".md", ".json", ".png", ".parquet", ".safetensors"), "the base model: workers have it from the store"),
}  # fmt: skip
"""Files of the rooms that no worker runs, compiles or reads, by suffix."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the code."""
    for room in ("components", "pipelines"):
        shutil.copytree(PROJECT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize(
    "file",
    [
        "components/regimes.py",
        "components/families/language/native/kernels.cpp",
        "components/families/language/native/lanes.h",
        "pipelines/study.py",
    ],
)
def test_a_changed_file_that_workers_run_or_compile_changes_the_codes_digest(file: str, copy: Path) -> None:
    before = code_digest(copy)
    with (copy / file).open("a") as opened:
        opened.write("\n")
    assert code_digest(copy) != before


def test_the_same_code_has_the_same_digest_wherever_it_lies_and_whatever_was_compiled_of_it(copy: Path) -> None:
    compiled = copy / "components" / "__pycache__"
    compiled.mkdir()
    (compiled / "regimes.cpython-311.pyc").write_bytes(b"compiled")
    assert code_digest(copy) == code_digest(PROJECT)


def test_every_kind_of_file_in_the_code_is_in_its_digest_or_known_to_be_of_no_worker() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "components", "pipelines"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert {Path(name).suffix for name in listed.stdout.split()} == {*SOURCES, *READ_BY_THE_STUDY_ALONE}


def here() -> Machine:
    return Machine("a processor", "amx_bf16")


def test_without_an_address_this_machine_answers_and_no_cluster_is_started(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    _, answers = check(ClusterSettings(address=None), 1, store, here, gpu=True)
    assert answers == {HERE: here()}
    assert not ray.is_initialized()


KINDS = {
    "head": Machine("the head's processor", "emulated_avx2"),
    "amx": Machine("Intel Xeon (amx_bf16)", "amx_bf16"),
    "zen": Machine("AMD EPYC (avx512_bf16)", "avx512_bf16"),
    "gpu": Machine("NVIDIA H100", "cuda"),
}


def by_its_resources() -> Machine:
    """What a node of the test's cluster says of itself: nodes of several kinds cannot be had on one machine."""
    node = ray.get_runtime_context().get_node_id()
    resources = next(one["Resources"] for one in ray.nodes() if one["NodeID"] == node)
    return next(machine for kind, machine in KINDS.items() if kind in resources)


@pytest.fixture
def nodes() -> Iterator[Cluster]:
    """A head that takes no worker."""
    folder = tempfile.mkdtemp(prefix=f"{SESSION}tests-", dir=SESSIONS)
    Path("/tmp/ray").mkdir(exist_ok=True)  # Ray's Cluster writes its address there, and makes no folder for it
    options = {"num_cpus": 0, "resources": {"head": 1}, "include_dashboard": False, "temp_dir": folder}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    try:
        yield cluster
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def add(cluster: Cluster, kind: str, place: int, **resources: float) -> None:
    cluster.add_node(resources={kind: 1}, node_ip_address=f"127.0.0.{place}", **resources)


def node(**resources: float) -> dict[str, dict[str, float]]:
    """What Ray says of a node, as far as it matters."""
    return {"Resources": resources}


@pytest.mark.parametrize(
    ("alive", "gpu", "able"),
    [
        ({"head": node(memory=1.0), "one": node(CPU=2.0), "two": node(CPU=1.0)}, True, ["one", "two"]),
        ({"head": node(CPU=1.0), "one": node(CPU=2.0)}, True, ["head", "one"]),
        ({"head": node(CPU=4.0), "one": node(CPU=8.0, GPU=2.0)}, True, ["one"]),
        ({"head": node(CPU=4.0), "one": node(CPU=8.0, GPU=2.0)}, False, ["head", "one"]),
        ({"head": node(memory=1.0)}, True, []),  # scaled to zero
    ],
)
def test_machines_that_can_run_workers_are_those_with_gpus_if_workers_take_them_else_with_cpus(
    alive: dict[str, dict[str, float]], gpu: bool, able: list[str]
) -> None:
    assert _with_workers(alive, gpu) == able


@pytest.mark.faults
@pytest.mark.timeout(4 * SECONDS)
def test_the_machines_of_a_cluster_answer_each_for_itself(nodes: Cluster, tmp_path: Path) -> None:
    """Unlike ones are refused for bf16; once there are GPUs, they alone answer."""
    settings, store = ClusterSettings(address=nodes.address), Store.open(str(tmp_path / "store"))
    add(nodes, "amx", 2, num_cpus=1)
    add(nodes, "zen", 3, num_cpus=1)
    _, answers = check(settings, 1, store, by_its_resources, gpu=True)
    assert sorted(one.bf16 for one in answers.values()) == ["amx_bf16", "avx512_bf16"]
    with pytest.raises(BadInput, match=r"127\.0\.0\.[23].* and .*127\.0\.0\.[23]"):
        settle({"train.precision": "auto"}, answers)
    add(nodes, "gpu", 4, num_cpus=1, num_gpus=1)
    assert list(check(settings, 1, store, by_its_resources, gpu=True)[1].values()) == [KINDS["gpu"]]
