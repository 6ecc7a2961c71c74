"""What kind of machine a study was started on, and with which versions: no name and no path of it."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import joblib
import psutil

from components.environment import cpu_name

PACKAGES = ("torch", "transformers", "deepspeed", "ray", "mlflow", "numpy", "scikit-learn")
_GIB = 2**30


def machine() -> str:
    """Cores that this process may use, processor, memory, GPUs: `2 cores of an AMD EPYC, 23 GiB of memory, no GPU`."""
    cores = joblib.cpu_count()
    memory = psutil.virtual_memory().total / _GIB
    gpus = _gpus()
    named = ", ".join(f"{gpus.count(name)} x {name}" for name in dict.fromkeys(gpus)) or "no GPU"
    return f"{cores} core{'s' * (cores > 1)} of {cpu_name()}, {memory:.0f} GiB of memory, {named}"


def versions() -> dict[str, str]:
    """Of Python and of the libraries that results go by, as far as they are installed."""
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def energy(counters: Path = Path("/sys/class/powercap")) -> str:
    """Why no energy is given for a study: the processor's counters (RAPL) as this process finds them."""
    for counter in sorted(counters.glob("*/energy_uj")):
        try:
            counter.read_text()
        except OSError:
            continue
        return "the processor's counter can be read there, but it counts all that the machine does, and not a study's part of it"
    return "the processor's counters (RAPL) are not readable there"


def _gpus() -> list[str]:
    """NVIDIA's, as its driver lists them: torch, which could tell, takes seconds to load."""
    found = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        models = [line.partition(":")[2].strip() for line in file.read_text().splitlines() if line.startswith("Model:")]
        found += models
    return found
