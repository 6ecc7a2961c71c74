"""What a process computes with: processor or GPU, the arithmetic of bf16, versions, kernels, threads.

Every manifest describes it, so that a result can be traced to its machine. It is no part of an identity, but for the
arithmetic of bf16: machines round fp32 differently in the last digits, bf16 by far more. No names of hosts and no paths.
"""

import os
import platform
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

PACKAGES = (
    "ray", "torch", "deepspeed", "transformers", "tokenizers", "safetensors", "numpy", "pandas", "pyarrow", "scipy",
    "scikit-learn", "sacrebleu", "pillow",
)  # fmt: skip
"""What a result goes by."""

Precision = Literal["fp32", "bf16"]

CPU_FEATURES = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "neon", "sve", "bf16", "sve_bf16")
"""Those of `torch.cpu.get_capabilities` that the kernels of torch, of oneDNN and of this project are chosen by."""
EMULATED = "emulated"
NOT_RECORDED = "not recorded"

_noted: dict[str, str] = {}


@dataclass(frozen=True)
class Machine:
    """What a worker computes with.

    `processor`: for people, such as "AMD EPYC (avx2)" or "NVIDIA H200 (compute capability 9.0)".
    `bf16`: how it multiplies bf16: "cuda", "amx_bf16", "avx512_bf16", or "emulated_..." with the instructions it has.
    """

    processor: str
    bf16: str

    @property
    def fastest(self) -> Precision:
        """What `precision=auto` stands for here."""
        return "fp32" if self.bf16.startswith(EMULATED) else "bf16"


def machine() -> Machine:
    """What this process trains networks on: its GPUs if it sees any, else its CPU."""
    return gpu() or cpu()


@cache
def cpu() -> Machine:
    """The CPU of this machine, as far as oneDNN is allowed to use it (ONEDNN_MAX_CPU_ISA)."""
    import torch

    able = torch.cpu.get_capabilities()
    features = [name for name in CPU_FEATURES if able.get(name)]
    if able.get("amx_bf16") and _allowed("AMX"):
        bf16 = "amx_bf16"
    elif able.get("avx512_bf16") and _allowed("BF16", "FP16", "AMX", "AVX10"):
        bf16 = "avx512_bf16"
    else:
        bf16 = f"{EMULATED}_{torch.backends.cpu.get_cpu_capability().lower()}"
    return Machine(f"{cpu_name()} ({', '.join(features) or platform.machine()})", bf16)


@cache
def gpu() -> Machine | None:
    """The GPUs that this process sees, or None."""
    import torch

    if not torch.cuda.is_available():
        return None
    found = [torch.cuda.get_device_properties(place) for place in range(torch.cuda.device_count())]
    kinds = dict.fromkeys(f"{one.name} (compute capability {one.major}.{one.minor})" for one in found)
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return Machine(", ".join(kinds), "cuda" if native else f"{EMULATED}_cuda")


def note(name: str, value: str) -> None:
    """Have a fact about this process described from now on, such as whether the kernels were compiled."""
    _noted[name] = value


def environment(machines: Sequence[Machine] = ()) -> dict[str, Any]:
    """A description for a manifest, as JSON.

    Args:
        machines: those of all workers that computed the phase; this process's if not given.

    Returns:
        `machines` (each kind once), `versions`, `threads`, `torch_cpu` (the instructions that torch's own kernels use), and
        what was noted, such as `kernels`.
    """
    import torch

    return {
        "machines": [vars(one) for one in dict.fromkeys(machines or [machine()])],
        "versions": dict(versions()),
        "threads": torch.get_num_threads(),
        "torch_cpu": torch.backends.cpu.get_cpu_capability(),
        **_noted,
    }


def processors(manifest: Mapping[str, Any]) -> list[str]:
    """The kinds of processor that a phase was computed on; "not recorded" where its manifest is older than that."""
    machines = manifest.get("environment", {}).get("machines", [])
    return [one["processor"] for one in machines] or [NOT_RECORDED]


@cache
def versions() -> Mapping[str, str]:
    """Of Python, of the packages that results go by ("none" for one that is not installed), and of zlib.

    Texts are compressed by whichever zlib Python was built with, to be measured.
    """
    found = {package: _version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **found, "zlib": zlib.ZLIB_RUNTIME_VERSION}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _allowed(*parts: str) -> bool:
    """Whether oneDNN may use instructions that are named by one of these parts."""
    most = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "DEFAULT").upper()
    return most in ("DEFAULT", "ALL") or any(part in most for part in parts)


def cpu_name() -> str:
    """The processor's name as the kernel knows it, or its kind."""
    if (file := Path("/proc/cpuinfo")).is_file():
        for line in file.read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()
