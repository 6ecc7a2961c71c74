"""What memory a machine has, what a worker may plan with, and what it needs."""

import os
from pathlib import Path

import pytest
import torch

from components.families import memory
from components.families.language import decoder, training
from components.families.language.architecture import ModelSize, parameter_count
from components.families.language.memory import needed_to_train, needed_to_write
from components.families.memory import machine_memory, planned_memory, shared_memory

CPU = torch.device("cpu")
GB = 10**9
TOTAL = 64 * 2**30
UNLIMITED_V1 = 9223372036854771712
OPT_125M = ModelSize(50272, 768, 12, 12, 3072, 2048, 0.1)
LAPTOP = ModelSize(2048, 128, 3, 4, 512, 128, 0.0)


def machine(root: Path, listed: str, limits: dict[str, int | str], total: int = TOTAL) -> Path:
    """A machine of so many bytes, as its files describe it: `listed` is /proc/self/cgroup, `limits` lie under /sys/fs/cgroup."""
    for name, content in {
        "proc/meminfo": f"MemTotal:       {total // 1024} kB\nMemFree:        12 kB\nMemAvailable:   34 kB\n",
        "proc/self/cgroup": listed,
        **{f"sys/fs/cgroup/{name}": f"{limit}\n" for name, limit in limits.items()},
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


V2, V1 = "0::/user.slice/job.scope\n", "9:name=systemd:/\n4:memory,hugetlb:/docker/abc\n1:cpu:/docker/abc\n0::/\n"


@pytest.mark.parametrize(
    ("listed", "limits", "expected"),
    [
        ("", {}, TOTAL),
        (V2, {}, TOTAL),
        (V2, {"user.slice/job.scope/memory.max": "max", "user.slice/memory.max": "max"}, TOTAL),
        (V2, {"user.slice/job.scope/memory.max": 5 * GB, "user.slice/memory.max": "max"}, 5 * GB),
        (V2, {"user.slice/job.scope/memory.max": "max", "user.slice/memory.max": 3 * GB}, 3 * GB),
        (V2, {"user.slice/job.scope/memory.max": 5 * GB, "user.slice/memory.max": 3 * GB}, 3 * GB),
        (V2, {"user.slice/job.scope/memory.max": 5 * GB, "user.slice/job.scope/memory.high": 4 * GB}, 4 * GB),
        (V2, {"user.slice/job.scope/memory.max": 500 * GB}, TOTAL),
        (V2, {"other.slice/memory.max": 1 * GB}, TOTAL),
        ("0::/\n", {"memory.max": 7 * GB}, 7 * GB),  # a container, as it sees itself
        ("0::/../elsewhere\n", {"memory.max": 7 * GB}, 7 * GB),
        (V1, {"memory/memory.limit_in_bytes": UNLIMITED_V1}, TOTAL),
        (V1, {"memory/docker/abc/memory.limit_in_bytes": 6 * GB, "memory/memory.limit_in_bytes": UNLIMITED_V1}, 6 * GB),
        (V1, {"memory/docker/memory.limit_in_bytes": 2 * GB, "memory/docker/abc/memory.limit_in_bytes": 6 * GB}, 2 * GB),
        (V1, {"memory/memory.limit_in_bytes": 6 * GB}, 6 * GB),  # a container that is listed under its host's path
        (V1, {"memory/docker/abc/memory.limit_in_bytes": 6 * GB, "memory.max": 4 * GB}, 4 * GB),  # both versions at once
    ],
)  # fmt: skip
def test_a_machines_memory_is_the_least_of_what_it_has_and_of_every_cgroups_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listed: str, limits: dict[str, int | str], expected: int
):
    monkeypatch.setattr(memory, "ROOT", machine(tmp_path, listed, limits))
    assert machine_memory() == expected


def test_a_system_without_such_files_has_what_it_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(memory, "ROOT", tmp_path)
    assert machine_memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_what_this_machine_has_is_the_same_however_much_of_it_is_taken():
    before = planned_memory(CPU)
    taken = torch.ones(2**27)
    assert planned_memory(CPU) == before
    assert machine_memory() >= taken.nbytes


@pytest.mark.parametrize(
    ("cores", "threads", "needed", "workers"),
    [(8, 1, 0, 8), (8, 2, 0, 4), (8, 8, 0, 1), (8, 99, 0, 1), (8, 3, 0, 2), (8, 1, 5, 3), (8, 1, 1, 8), (8, 1, 99, 1)],
)
def test_a_worker_shares_the_machine_with_those_that_its_cores_and_its_memory_take(cores, threads, needed, workers):
    assert shared_memory(16 * GB, cores, threads, needed * GB) == 16 * GB // workers


MACHINES = [
    *((LAPTOP, *machine) for machine in [(1, 2), (2, 4), (2, 23), (4, 16), (8, 16), (8, 64), (64, 128), (96, 1000)]),
    *((OPT_125M, *machine) for machine in [(1, 6), (2, 23), (4, 16), (8, 16), (8, 64), (64, 128), (96, 1000)]),
]


@pytest.mark.parametrize(("size", "cores", "gigabytes"), MACHINES)
def test_all_workers_that_fit_hold_no_more_than_the_machine_with_the_batches_they_choose(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: ModelSize, cores: int, gigabytes: int
):
    total, parameters = gigabytes * GB, parameter_count(size)
    monkeypatch.setattr(memory, "ROOT", machine(tmp_path, "0::/\n", {}, total))
    monkeypatch.setattr(memory, "cpu_count", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    need = needed_to_train(size, parameters, 0, 1, 64, "fp32", "cpu").memory
    side_by_side = min(cores, total // need)
    assert side_by_side >= 1
    blocks = training.blocks_at_once(size, parameters, 64, CPU)
    prompts = decoder.prompts_at_once(size, torch.float32, CPU, 64, 64, 5, need)
    assert blocks >= 1
    assert prompts >= 1
    trains = need + (blocks - 1) * training.block_memory(size, 64)
    writes = needed_to_write(size, parameters, "fp32", 64, 64, 5, "cpu").memory
    writes += (prompts - 1) * decoder.prompt_memory(size, 4, 64, 64, 5)
    assert side_by_side * max(trains, writes) <= total
