"""How many workers the machines of a cluster take side by side: by CPUs, by GPUs, and by memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from joblib import cpu_count

from components.config.errors import BadInput
from components.families.memory import Need, machine_memory

NOTHING = Need(0)
RESERVED = 2 * 2**30
"""Bytes for the study's own process and Ray's, which are no workers."""
SMALLER = "take a smaller model or a machine with more"


@dataclass(frozen=True)
class Machine:
    """What a machine has for workers: CPUs, GPUs, bytes of memory, and of each GPU's memory where that is known."""

    cpus: int
    gpus: int
    memory: int
    gpu_memory: int | None = None

    def workers(self, need: Need, gpus: bool) -> int:
        """How many workers fit: each takes one CPU, the memory it needs, and with `gpus` a GPU."""
        if gpus and self.gpu_memory is not None and need.gpu_memory > self.gpu_memory:
            return 0
        bounds = [self.cpus, *([self.gpus] if gpus else []), *([self.memory // need.memory] if need.memory else [])]
        return min(bounds)


@dataclass(frozen=True)
class Capacity:
    """What the machines of a cluster have: workers take one CPU each, and one GPU each where there are GPUs.

    `grows`: there may be an autoscaler, which brings machines when they are asked for; nobody tells how many.
    """

    machines: Sequence[Machine]
    grows: bool = False

    @property
    def gpus(self) -> int:
        return sum(machine.gpus for machine in self.machines)

    def without_gpus(self) -> "Capacity":
        """The same machines, for work that takes none of their GPUs."""
        return replace(self, machines=[replace(machine, gpus=0) for machine in self.machines])

    def workers(self, need: Need = NOTHING) -> int:
        """How many workers fit side by side, each on one machine."""
        return sum(machine.workers(need, self.gpus > 0) for machine in self.machines)

    def groups(self, workers: int, most: int | None, need: Need = NOTHING) -> int:
        """How many groups of `workers` workers fit side by side, at `most` so many.

        Where the cluster may grow, `most` is taken at its word: what is not there yet is asked for, and waited for.

        Args:
            need: what each worker holds at least.

        Raises:
            BadInput: not even one.
        """
        if most and self.grows:
            return most
        fitting = self.workers(need)
        if workers > fitting:
            raise self._too_small(workers, need)
        return min(fitting // workers, most or fitting)

    def bound(self, workers: int, groups: int, need: Need = NOTHING) -> str:
        """Why no more than so many groups run side by side, in words."""
        kind = "GPU" if self.gpus else "CPU core"
        if groups < self.workers(need) // workers:
            return "no more are asked for"
        if self.workers(need) < self.workers():
            there = ", ".join(sorted({gigabytes(machine.memory) for machine in self.machines if machine.cpus}))
            return f"a worker needs {gigabytes(need.memory)} of memory, a machine has {there} for workers"
        return f"one worker for each {kind}"

    def _too_small(self, workers: int, need: Need) -> BadInput:
        if workers > self.workers():
            kind = "GPUs" if self.gpus else "CPUs"
            remedy = f"the cluster has {self.workers()} {kind}, a worker needs one each"
        elif any(machine.workers(replace(need, gpu_memory=0), self.gpus > 0) for machine in self.machines) and not any(
            machine.workers(replace(need, memory=0), self.gpus > 0) for machine in self.machines
        ):
            most = max(machine.gpu_memory or 0 for machine in self.machines)
            needs = f"a worker needs {gigabytes(need.gpu_memory)} of GPU memory"
            remedy = f"{needs}, a GPU here has {gigabytes(most)}; {SMALLER}"
        else:
            most = max((machine.memory for machine in self.machines if machine.cpus), default=0)
            fitting = self.workers(need)
            fits = "none fits" if not fitting else "only 1 fits" if fitting == 1 else f"only {fitting} fit"
            remedy = (
                f"each needs {gigabytes(need.memory)} of memory, and {fits}: "
                f"the largest machine has {gigabytes(most)} for workers; {SMALLER}"
            )
        if self.grows:
            remedy += "; if it grows when asked, cluster.concurrent_chains says how many chains to ask for"
        return BadInput("train.workers", workers, remedy)


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def this_machine() -> Capacity:
    """What a cluster of this process's own has: a container's quota and its memory limit count."""
    gpus = torch.cuda.device_count()
    of_each = [torch.cuda.get_device_properties(number).total_memory for number in range(gpus)]
    return Capacity([Machine(cpu_count(), gpus, max(0, machine_memory() - RESERVED), min(of_each, default=None))])
