"""Where a process computes, and what it does with memory it has used."""

import ctypes
import os
import sys
from pathlib import Path

import torch


def device() -> torch.device:
    """Where a process trains networks. On a GPU fp32 is fp32: cuDNN would take TF32, with 10 bits, for convolutions."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda")


def keep_memory(bytes_kept: int = 2**30) -> None:
    """Keep freed memory for the next step instead of giving it back: under glibc a tenth to a fourth of a step's time.

    glibc maps every large tensor anew, and the system clears its pages again. Elsewhere nothing is done.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # <malloc.h>
        libc.mallopt(mmap_threshold, bytes_kept)
        libc.mallopt(trim_threshold, min(2 * bytes_kept, 2**31 - 1))
        libc.mallopt(top_pad, bytes_kept // 4)


def planned_memory(device: torch.device, *, free: bool = True) -> int:
    """Bytes that a process may plan with: half of what can still be taken, on a CPU a core's share for each of its threads,
    since other workers may be about to take theirs.

    Args:
        free: of the memory that is free now; else of all that the machine has, which is the same whenever it is asked.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0 if free else 1] // 2
    known = free_memory() if free else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return known * min(torch.get_num_threads(), cores) // cores // 2


def free_memory() -> int:
    """Bytes of the machine's memory that can still be taken: the system's estimate, or less if a container's limit is closer."""
    if not (known := Path("/proc/meminfo")).exists():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    lines = dict(line.split(":") for line in known.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (most := limit.read_text().strip()) != "max":
        free = min(free, max(0, int(most) - int(used.read_text())))
    return free
