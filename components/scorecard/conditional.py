"""What the intervals of a study do not cover, in words: what all of its seeds have in common.

An interval over seeds covers what differs between seeds, and nothing else. Another base model,
another training set or another kind of processor can move all seeds together, further than they lie
apart.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Facts:
    """What the seeds of a study share.

    `drawn`: each seed draws its real data from a known distribution, and risks are measured against
    that. `own_blocks`: each seed trains on its own part of the real data; `overlapping`: some of
    these parts have pieces in common; `reserve`: later generations get fresh real data, and all
    seeds get it from one reserve. `base`: the pretrained models that chains start from: none where they
    start from random weights, one that all share, or each seed's own. `test_error`: the intervals include the sampling error of the test split.
    `processors`: the kinds of processor and precision that the chains ran on, in words; empty where
    nobody wrote them down.
    """

    drawn: bool = False
    own_blocks: bool = False
    overlapping: bool = False
    reserve: bool = False
    base: Literal["none", "shared", "own"] = "none"
    test_error: bool = False
    processors: Collection[str] = ()


def conditional_on(facts: Facts) -> str:
    """Say what the intervals cover and what all seeds share, in plain sentences."""
    shared: list[str] = []
    own: list[str] = []
    if facts.base != "none":
        (own if facts.base == "own" else shared).append("base model")
    if not facts.drawn:
        (own if facts.own_blocks else shared).append("training set")
        shared += ["reserve of fresh real data"] * facts.reserve
        shared.append("test split")
    if len(facts.processors) == 1:
        shared.append(f"kind of processor ({next(iter(facts.processors))})")
    said = ["Intervals cover the seeds of this study only."]
    if own:
        said.append(f"Each seed has its own {_listed(own)}.")
    if facts.overlapping:
        said.append("Some of the training sets overlap.")
    if facts.drawn:
        said.append("Each seed draws its own real data from a known distribution, against which errors are exact.")
    elif facts.base == "none":
        said.append("Each chain starts from random weights of its own.")
    if shared:
        said.append(f"All seeds share one {_listed(shared, 'one ')}.")
    if facts.test_error:
        said.append("The sampling error of the test split is included.")
    if len(facts.processors) > 1:
        kinds = "; ".join(sorted(facts.processors))
        said.append(
            f"The chains ran on {len(facts.processors)} kinds of processor ({kinds}), which may explain differences."
        )
    if not facts.processors:
        said.append("On what kind of processor the chains ran is not recorded.")
    return " ".join(said)


def _listed(names: list[str], each: str = "") -> str:
    """Names with commas and a last "and", each but the first with `each` before it."""
    rest = [f"{each}{name}" for name in names[1:]]
    return " and ".join([", ".join([names[0], *rest[:-1]]), *rest[-1:]])
