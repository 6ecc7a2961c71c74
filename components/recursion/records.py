"""What a study is made of: chains (a condition with a seed) and their generations; and where its run is found."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PHASES = ("compose", "fit", "sample", "measure")


@dataclass(frozen=True)
class Chain:
    """One condition with one seed; `identity` hashes all that determines its numbers."""

    family: str
    condition: str
    seed: int
    identity: str
    settings: dict[str, Any] = field(hash=False)


@dataclass(frozen=True)
class Generation:
    """A finished generation: where its phases lie on this machine, its numbers, the digests of its data.

    `locations`: by phase, the URI under which others find it; of a store in a bucket that is not where it lies here.
    """

    chain: Chain
    index: int
    directories: dict[str, Path] = field(hash=False)
    metrics: dict[str, float] = field(hash=False)
    digests: dict[str, str] = field(hash=False)
    locations: dict[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class StudyRun:
    """A study or a sweep as it stands in MLflow. `started`: in UTC, to the minute. `page`: its address in the UI.

    `commit`: of the code that ran it; empty where MLflow did not know one.
    """

    run_id: str
    name: str
    kind: str
    family: str
    status: str
    experiment: str
    started: str
    commit: str
    page: str
