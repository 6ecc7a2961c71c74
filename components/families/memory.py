"""How much memory a process may plan with: by what the machine has, which is the same whenever it is asked.

What is free now would make batches, and with them rounding, depend on the hour.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from joblib import cpu_count

ROOT = Path("/")
"""Where `proc` and `sys` lie."""
UNLIMITED = "max"


def machine_memory() -> int:
    """Bytes that the processes of this machine, or of this container, may hold in all.

    The least of what the machine has and of every cgroup's limit that this process is under, its ancestors' included. On a
    system without `/proc`, what the machine has.
    """
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    if (known := ROOT / "proc" / "meminfo").exists():
        lines = dict(line.split(":") for line in known.read_text().splitlines() if ":" in line)
        found = [int(lines["MemTotal"].split()[0]) * 1024]
    return min([*found, *_limits(ROOT)])


def _limits(root: Path) -> Iterator[int]:
    """Limits of cgroups, version 2 (`memory.max`, and `memory.high`, from which on a process is slowed down) or 1."""
    groups = root / "sys" / "fs" / "cgroup"
    listed = root / "proc" / "self" / "cgroup"
    for line in listed.read_text().splitlines() if listed.exists() else ():
        _, controllers, path = line.split(":", 2)
        names: tuple[str, ...]
        if not controllers:
            mount, names = groups, ("memory.max", "memory.high")
        elif "memory" in controllers.split(","):
            mount, names = groups / "memory", ("memory.limit_in_bytes",)
        else:
            continue
        # A container may see its own group as the root of the mount, and be listed under the path that the host knows:
        # ancestors that are not there are passed over, and the mount itself is always looked at.
        group = PurePosixPath(path)
        for ancestor in (group, *group.parents):
            for name in names:
                file = mount / ancestor.relative_to("/") / name
                if ".." not in ancestor.parts and file.is_file() and (limit := file.read_text().strip()) != UNLIMITED:
                    yield int(limit)


@dataclass(frozen=True)
class Need:
    """Bytes that a worker holds at its fullest moment with the smallest batches: of its machine's memory, and of a GPU."""

    memory: int
    gpu_memory: int = 0


def planned_memory(device: torch.device, needed: int = 0) -> int:
    """Bytes that a worker may hold in all: half-way from what it needs to its share of the machine, or to its whole GPU.

    On a CPU a worker's share is that of its threads among all cores; more where the memory takes fewer such workers.

    Args:
        needed: bytes that it holds at least.
    """
    if device.type == "cuda":
        share = int(torch.cuda.mem_get_info(device)[1])
    else:
        share = shared_memory(machine_memory(), cpu_count(), torch.get_num_threads(), needed)
    return (share + needed) // 2


def shared_memory(total: int, cores: int, threads: int, needed: int = 0) -> int:
    """A worker's part of `total` bytes, where as many run as the cores and what each of them needs allow; one at least."""
    by_cores = cores // min(threads, cores)
    by_memory = total // needed if needed else by_cores
    return total // max(1, min(by_cores, by_memory))
