"""How far a study or a sweep is, as plain data: what its own display shows, and what it leaves in the store for others."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

WAITS, FINISHED = "waits", "finished"


@dataclass(frozen=True)
class Row:
    """A chain, a trial or the base model. `generation`: the one it is at, -1 before the first; `last`: its last one.

    `chain`: a chain's identity, else a name. `seconds_left`: nothing while that is not known.
    """

    name: str
    chain: str
    generation: int
    last: int
    now: str
    seconds_left: float | None


@dataclass(frozen=True)
class Snapshot:
    """All of it. `seconds_left`: nothing while that is not known; `done`: nothing is left but figures and report."""

    rows: Sequence[Row]
    seconds_left: float | None
    done: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Snapshot":
        return cls([Row(**row) for row in content["rows"]], content["seconds_left"], content["done"])
