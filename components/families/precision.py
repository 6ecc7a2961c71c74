"""Which precision a study computes in: its workers' machines decide, and the answer is kept with the study.

`precision=auto` is bf16 where the workers' machines multiply it. bf16 rounds otherwise with every kind of arithmetic
(AMX, AVX512-BF16, a GPU, none), by far more than fp32 does. So all workers of a study must multiply alike, and a study
that was begun with one arithmetic is continued with it. In fp32 unlike machines only round differently.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.config.errors import BadInput
from components.environment import Machine, Precision
from components.recursion.family import GuardFailure
from components.store import Store

NOT_THE_ANSWER = ("store", "cluster", "tracking", "dry_run", "seeds", "generations")
"""Settings that may change between two starts of a study whose workers are asked once."""
HERE = "this machine"


@dataclass(frozen=True)
class Computing:
    """`auto`: what `precision=auto` stands for in a study. `arithmetic`: what its workers multiply bf16 with (`Machine.bf16`)."""

    auto: Precision
    arithmetic: str

    def precision(self, wanted: str) -> Precision:
        """What a precision of the settings (auto, fp32, bf16) stands for."""
        return self.auto if wanted == "auto" else "bf16" if wanted == "bf16" else "fp32"


def agreed(
    store: Store, settings: Mapping[str, Any], wanted: Mapping[str, str], machines: Mapping[str, Machine], keep: bool
) -> Computing:
    """The answer that a study was begun with; for a new one the machines', which is then kept in the store.

    Args:
        settings: of the study, as JSON; those that may change between two starts are left out of account.
        wanted: as in `settle`.
        machines: as in `settle`.
        keep: whether to write a new answer down; not for a plan alone.

    Raises:
        BadInput: as `settle`.
    """
    determining = {name: value for name, value in settings.items() if name not in NOT_THE_ANSWER}
    name = f"precision/{hashlib.sha256(json.dumps(determining, sort_keys=True).encode()).hexdigest()}.json"
    kept = store.read_json(name)
    computing = settle(wanted, machines, Computing(kept["auto"], kept["arithmetic"]) if kept else None)
    if keep and not kept and any(value != "fp32" for value in wanted.values()):
        store.write_json(name, vars(computing))
    return computing


def settle(wanted: Mapping[str, str], machines: Mapping[str, Machine], kept: Computing | None = None) -> Computing:
    """Decide what a study computes in.

    Args:
        wanted: precisions (auto, fp32, bf16) by the field that sets each.
        machines: those that will run its workers, by name.
        kept: the answer that the study was begun with.

    Raises:
        BadInput: bf16 is asked for, and the machines multiply it in several ways, or otherwise than the study was begun.
    """
    asked = {field: value for field, value in wanted.items() if value != "fp32"}
    if not asked:
        return Computing("fp32", "")
    field, value = next(iter(asked.items()))
    if kept:
        return _as_begun(field, value, asked, machines, kept)
    if not machines:
        remedy = (
            "no machine of the cluster can run a worker yet, so none can say how it multiplies; give fp32, or start one"
        )
        raise BadInput(field, value, remedy)
    answers = {name: Computing(one.fastest, one.bf16) for name, one in machines.items()}
    first, answer = next(iter(answers.items()))
    for name, other in answers.items():
        if _uses_bf16(asked, answer, other) and other != answer:
            both = " and ".join(f"{_says(machines[one])} ({one})" for one in (first, name))
            remedy = f"the workers' machines multiply bf16 in different ways, {both}, and results would differ; give {field}=fp32, or machines of one kind"
            raise BadInput(field, value, remedy)
    return answer


def _as_begun(
    field: str, value: str, asked: Mapping[str, str], machines: Mapping[str, Machine], kept: Computing
) -> Computing:
    for name, one in machines.items():
        if _uses_bf16(asked, kept) and one.bf16 != kept.arithmetic:
            remedy = (
                f"this study was begun in bf16 by {kept.arithmetic}, and {name} multiplies by {_says(one)}: it would begin "
                f"again; continue it on machines with {kept.arithmetic}, or give {field}=fp32 for a study of its own"
            )
            raise BadInput(field, value, remedy)
    return kept


def _uses_bf16(asked: Mapping[str, str], *answers: Computing) -> bool:
    return any(answer.precision(value) == "bf16" for value in asked.values() for answer in answers)


def _says(machine: Machine) -> str:
    return f"{machine.bf16} on {machine.processor}"


def unlike(machines: Mapping[str, Machine]) -> str:
    """What a mixed cluster does to a comparison, for the user; empty where all machines are of one kind."""
    kinds = sorted({one.processor for one in machines.values()})
    if len(kinds) < 2:
        return ""
    return (
        f"The workers' machines are of {len(kinds)} kinds ({'; '.join(kinds)}): they round differently, and conditions may "
        "run on different ones. A difference of the size of the seeds' noise can come from that."
    )


def check_worker(precision: str, arithmetic: str, worker: Machine) -> None:
    """Hold a worker against its study's answer: a machine may have joined the cluster since.

    Raises:
        GuardFailure: it would compute in bf16 with another arithmetic.
    """
    if precision == "bf16" and worker.bf16 != arithmetic:
        raise GuardFailure(
            f"this worker multiplies bf16 by {_says(worker)}, its study by {arithmetic}: take the machine out of the cluster"
        )
