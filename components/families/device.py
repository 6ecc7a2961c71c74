"""Where a process computes, and what it does with memory it has used."""

import ctypes
import os
import sys

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


def compute_deterministically() -> None:
    """Keep this process to kernels whose results do not depend on the order in which a GPU's threads come to their ends.

    Sets torch's switch, cuDNN's, and cuBLAS's workspace, which is read when a process first uses it. An operation without
    a deterministic kernel raises an error. Memory that nothing has been written to is not filled, since none of it is read.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def device_of_sums(device: torch.device) -> torch.device:
    """Where to sum cumulatively: CUDA has no deterministic kernel for that, so on the CPU where only such kernels may run."""
    return torch.device("cpu") if torch.are_deterministic_algorithms_enabled() else device


def prepare_process(deterministic: bool = False) -> None:
    """What a worker does before anything is computed in its process."""
    keep_memory()
    if deterministic:
        compute_deterministically()
