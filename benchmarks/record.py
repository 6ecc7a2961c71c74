"""What was measured, with the commit, the day, the machine and the versions, as JSON beside the benchmarks."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "transformers", "numpy", "deepspeed", "ctranslate2", "openvino-genai", "scikit-learn")


def record(name: str, results: Sequence[dict[str, Any]]) -> None:
    content = {
        "commit": _commit(),
        "date": str(date.today()),
        "machine": _machine(),
        "versions": {package: found for package in PACKAGES if (found := _version(package))},
        "results": results,
    }
    path = Path(__file__).parent / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def _commit() -> str:
    """Of the working tree; a bare machine may hold a copy without its history."""
    try:
        asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "not known"
    return asked.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _machine() -> str:
    """The GPU if there is one, else the cores that this process may use."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    named = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return f"{cores} cores of {next(named, platform.processor())}"
