"""Where a process computes, in which precision it does so fastest, and what it does with memory it has used."""

import ctypes
import os
import sys
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bf16() -> bool:
    """Whether this machine multiplies bf16 in hardware: a GPU that does, or a CPU with AMX or AVX512-BF16."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def precision(wanted: Literal["auto", "fp32", "bf16"]) -> Precision:
    """`fp32` or `bf16`; `auto` is bf16 where the machine multiplies it."""
    if wanted == "auto":
        return "bf16" if has_bf16() else "fp32"
    return wanted


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
