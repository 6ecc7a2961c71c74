"""Studies on a cluster of several machines: each a host with a name, an address and a file system of its own."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import transformers
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from tests.hosts import PORT, Host, hosts, wait_for_port
from tests.s3 import BUCKET, S3, s3
from tests.studies import PROJECT, SECONDS, Place

pytestmark = [pytest.mark.faults, pytest.mark.timeout(4 * SECONDS)]

MEMORY = 8 * 2**30  # bytes
TWO_WORKERS = ("--generations", "1", "--train.workers", "2", "--train.precision", "fp32")
TWO_CHAINS = ("--generations", "1", "--seeds", "2", "--base.epochs", "0", "--train.precision", "fp32")


@dataclass(frozen=True)
class Cluster:
    """Machines with one CPU each, so that two workers cannot be on one. `here`: this machine's address for them."""

    here: str
    machines: Sequence[Host]
    environment: Mapping[str, str]
    temporary: Path
    bucket: S3

    @property
    def address(self) -> str:
        return f"{self.machines[0].address}:{PORT}"

    def start_head(self, *options: str, **environment: str) -> subprocess.Popen[str]:
        head = self._ray(
            self.machines[0],
            "--head",
            f"--port={PORT}",
            "--include-dashboard=false",
            f"--temp-dir={self.temporary}/ray",
            *options,
            **environment,
        )
        wait_for_port(self.machines[0].address, PORT, head)
        return head

    def join(self, machine: Host, **environment: str) -> subprocess.Popen[str]:
        return self._ray(machine, f"--address={self.address}", "--num-cpus=1", **environment)

    def _ray(self, machine: Host, *options: str, **environment: str) -> subprocess.Popen[str]:
        fixed = ("--block", f"--node-ip-address={machine.address}", "--object-store-memory=100000000")
        return machine.start(
            [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *fixed], self.environment | environment
        )

    @contextmanager
    def study(
        self, place: Place, *arguments: str, pipeline: str = "recursion", **environment: str
    ) -> Iterator[subprocess.Popen[str]]:
        """A study whose own process is on the head's machine."""
        study = self.machines[0].start(
            [
                sys.executable,
                "-m",
                f"pipelines.{pipeline}",
                "--preset",
                "smoke",
                "--cluster.address",
                self.address,
                *arguments,
            ],
            self.environment | {"MLFLOW_TRACKING_URI": place.uri} | environment,
            subprocess.PIPE,
        )
        try:
            yield study
        finally:
            if study.poll() is None:
                study.kill()
            study.communicate(timeout=30)

    def run(
        self, place: Place, *arguments: str, pipeline: str = "recursion", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        with self.study(place, *arguments, pipeline=pipeline, **environment) as study:
            output, errors = study.communicate(timeout=SECONDS)
        return subprocess.CompletedProcess(study.args, study.returncode, output, errors)

    def wait_for_nodes(self, count: int) -> None:
        code = (
            "import ray, sys, time\nray.init(address=sys.argv[1], log_to_driver=False)\n"
            "while sum(node['Alive'] for node in ray.nodes()) != int(sys.argv[2]): time.sleep(0.2)"
        )
        asked = self.machines[0].start([sys.executable, "-c", code, self.address, str(count)], self.environment)
        assert asked.wait(90) == 0


@contextmanager
def cluster(count: int) -> Iterator[Cluster]:
    with network(count) as made:
        made.start_head("--num-cpus=1")
        for machine in made.machines[1:]:
            made.join(machine)
        made.wait_for_nodes(count)
        yield made


@contextmanager
def network(count: int) -> Iterator[Cluster]:
    """The machines, on which nothing of Ray runs yet."""
    temporary = Path(f"/tmp/rc{secrets.token_hex(3)}")  # a socket's path is short
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_", "MLFLOW_"))}
    with hosts(count, [temporary]) as (here, machines), s3(here) as bucket:
        environment = inherited | token | bucket.environment | {"GLOO_SOCKET_IFNAME": "eth0"}
        yield Cluster(here, machines, environment, temporary, bucket)
    temporary.rmdir()


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    with cluster(2) as made:
        yield made


def workers_on(machine: Host) -> int:
    found = 0
    for process in machine.running():
        with suppress(psutil.NoSuchProcess):  # it ended since, or is about to be waited for
            found += "RayTrainWorker" in " ".join(process.cmdline())
    return found


def placements(study: subprocess.Popen[str], machines: Sequence[Host]) -> set[tuple[int, ...]]:
    """How many workers each machine had, at every look until the study's end."""
    seen: set[tuple[int, ...]] = set()
    while study.poll() is None:
        seen.add(tuple(workers_on(machine) for machine in machines))
        time.sleep(0.2)
    return seen


def files_of(kind: str, store: Path) -> dict[str, str]:
    """The digest of every file that phases of a kind left, by phase and name."""
    manifests = [json.loads(file.read_text()) for file in store.glob(f"{kind}/*/manifest.json")]
    return {f"{one['identity']}/{name}": entry["sha256"] for one in manifests for name, entry in one["files"].items()}


def files_in(bucket: S3, kind: str) -> dict[str, str]:
    names = [name for name in bucket.names(f"a/{kind}/") if name.endswith("/manifest.json") and name.count("/") == 3]
    manifests = [json.loads(bucket.read(name)) for name in names]
    return {f"{one['identity']}/{name}": entry["sha256"] for one in manifests for name, entry in one["files"].items()}


def test_a_chain_whose_deepspeed_workers_are_on_two_machines_that_share_but_a_bucket_gives_one_machines_numbers(
    two: Cluster, prepared: Place, tmp_path: Path
):
    alone = prepared.copy_to(tmp_path / "alone")
    place = prepared.copy_to(tmp_path / "spread")
    arguments = ("--store.path", f"s3://{BUCKET}/a", "--store.cache", f"{two.temporary}/cache")
    with two.study(place, *TWO_WORKERS, *arguments) as study:
        seen = placements(study, two.machines)
        output, errors = study.communicate()
    assert study.returncode == 0, output[-2000:] + errors[-2000:]
    assert (1, 1) in seen
    spread = {kind: files_in(two.bucket, kind) for kind in ("base", "fit", "sample", "measure")}
    ended = alone.run(*TWO_WORKERS)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert spread == {kind: files_of(kind, alone.store) for kind in spread}
    assert any(name.endswith("model.safetensors") for name in spread["fit"])


def test_chains_spread_over_machines_that_share_a_folder_give_one_machines_numbers(
    two: Cluster, prepared: Place, tmp_path: Path
):
    alone, place = prepared.copy_to(tmp_path / "alone"), prepared.copy_to(tmp_path / "spread")
    with two.study(place, *TWO_CHAINS, "--store.path", str(place.store)) as study:
        seen = placements(study, two.machines)
        output, errors = study.communicate()
    assert study.returncode == 0, output[-2000:] + errors[-2000:]
    assert (1, 1) in seen
    ended = alone.run(*TWO_CHAINS)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert place.numbers().equals(alone.numbers())
    assert sorted(place.computed()) == sorted(alone.computed())


def test_a_machine_that_does_not_share_the_store_is_named_before_anything_starts(
    two: Cluster, prepared: Place, tmp_path: Path
):
    refused = two.run(prepared.copy_to(tmp_path), "--store.path", f"{two.temporary}/store")
    assert refused.returncode == 2
    (line,) = refused.stderr.strip().splitlines()
    assert line.startswith(f"store.path = {two.temporary}/store: {two.machines[1].name} ")
    assert "does not share it" in line


@pytest.mark.parametrize("other", ["version", "code"])
def test_a_machine_with_another_version_or_other_code_is_named_before_anything_starts(
    other: str, two: Cluster, prepared: Place, tmp_path: Path
):
    """The other machine sees, in the place of a file, one that was changed."""
    if other == "version":
        file = next(Path(transformers.__file__).parents[1].glob("transformers-*.dist-info")) / "METADATA"
        changed = file.read_text().replace(f"\nVersion: {transformers.__version__}\n", "\nVersion: 4.0.0\n")
    else:
        file = PROJECT / "components" / "regimes.py"
        changed = file.read_text() + "\n# a line more\n"
    (tmp_path / "changed").write_text(changed)
    place, machine = prepared.copy_to(tmp_path / "place"), two.machines[1]
    assert machine.start(["mount", "--bind", str(tmp_path / "changed"), str(file)], os.environ).wait() == 0
    try:
        refused = two.run(place, "--store.path", str(place.store))
    finally:
        assert machine.start(["umount", str(file)], os.environ).wait() == 0
    assert refused.returncode == 2
    (line,) = refused.stderr.strip().splitlines()
    assert line.startswith(f"cluster.address = {two.address}: {machine.name} ")
    assert ("transformers 4.0.0" if other == "version" else " has code ") in line


def test_a_machine_that_loses_power_and_comes_back_costs_no_result(two: Cluster, prepared: Place, tmp_path: Path):
    alone, place = prepared.copy_to(tmp_path / "alone"), prepared.copy_to(tmp_path / "struck")
    with two.study(place, *TWO_CHAINS, "--store.path", str(place.store)) as study:
        place.wait_for("fit", study)
        while workers_on(two.machines[1]) == 0:
            time.sleep(0.1)
        two.machines[1].lose_power()
        time.sleep(5)
        two.machines[1].switch_on()
        two.join(two.machines[1])
        output, errors = study.communicate(timeout=SECONDS)
    assert study.returncode == 0, output[-2000:] + errors[-2000:]
    assert "a worker died" in output
    ended = alone.run(*TWO_CHAINS)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert place.numbers().equals(alone.numbers())


def growing(address: str) -> dict[str, Any]:
    """An autoscaler's configuration: up to two machines of a CPU each, which Ray's own test provider brings."""
    commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        "cluster_name": "grows",
        "max_workers": 2,
        "idle_timeout_minutes": 5,
        "provider": {
            "type": "external",
            "module": "tests.growing.Provider",
            "gcs_address": address,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "launch_multiple": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            # With its memory, as KubeRay and `ray up` on AWS declare it: a worker asks for memory.
            "machine": {
                "resources": {"CPU": 1, "memory": MEMORY},
                "node_config": {},
                "min_workers": 0,
                "max_workers": 2,
            },
        },
        "head_node_type": "ray.head.default",
        "auth": {"ssh_user": "nobody"},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "cluster_synced_files": [],
        "rsync_exclude": [],
        "rsync_filter": [],
        "upscaling_speed": 1.0,
        **{f"{name}_commands": [] for name in commands},
    }


def test_a_cluster_scaled_to_zero_grows_when_a_study_asks_for_chains(prepared: Place, tmp_path: Path):
    """Ray's own autoscaler; the machines that it brings are processes beside the head."""
    alone, place = prepared.copy_to(tmp_path / "alone"), prepared.copy_to(tmp_path / "grown")
    store = ("--store.path", str(place.store))
    with network(1) as one:
        (tmp_path / "autoscaler.json").write_text(json.dumps(growing(one.address)))
        one.start_head(
            "--num-cpus=0",
            f"--autoscaling-config={tmp_path / 'autoscaler.json'}",
            RAY_FAKE_CLUSTER="1",
            PYTHONPATH=str(PROJECT),
            AUTOSCALER_UPDATE_INTERVAL_S="1",
            RAY_enable_autoscaler_v2="1",
            RAY_CLOUD_INSTANCE_ID=FAKE_HEAD_NODE_ID,
            RAY_OVERRIDE_NODE_ID_FOR_TESTING=FAKE_HEAD_NODE_ID,
        )
        one.wait_for_nodes(1)
        refused = one.run(place, *TWO_CHAINS, *store)
        assert refused.returncode == 2, refused.stderr
        (line,) = refused.stderr.strip().splitlines()
        assert "the cluster has 0 CPUs" in line
        assert "cluster.concurrent_chains" in line
        ended = one.run(place, *TWO_CHAINS, *store, "--cluster.concurrent_chains", "2")
        assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
        one.wait_for_nodes(3)
    ended = alone.run(*TWO_CHAINS)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert place.numbers().equals(alone.numbers())


def test_a_head_that_dies_ends_the_study_in_a_line_and_on_a_new_one_the_same_command_continues(
    prepared: Place, tmp_path: Path
):
    alone, place = prepared.copy_to(tmp_path / "alone"), prepared.copy_to(tmp_path / "struck")
    with cluster(2) as two:
        with two.study(place, *TWO_CHAINS, "--store.path", str(place.store)) as study:
            place.wait_for("sample", study)
            for process in two.machines[0].running():
                if "gcs_server" in process.name():
                    process.kill()
            output, errors = study.communicate(timeout=SECONDS)
        assert study.returncode == 1, output[-2000:] + errors[-2000:]
        assert "Traceback" not in errors
        assert "the same command continues" in errors
    with cluster(2) as two:
        ended = two.run(place, *TWO_CHAINS, "--store.path", str(place.store))
    assert ended.returncode == 0, ended.stderr[-2000:]
    ended = alone.run(*TWO_CHAINS)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert place.numbers().equals(alone.numbers())
    assert sorted(place.computed()) == sorted(alone.computed())
