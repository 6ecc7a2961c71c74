"""What all chains of a study share, from their settings: what the study's intervals are conditional on."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from components.recursion.records import Chain
from components.scorecard import Facts


def facts_of(
    chains: Sequence[Chain],
    processors: Collection[str],
    *,
    drawn: bool = False,
    overlapping: bool = False,
    test_error: bool = False,
) -> Facts:
    """What the seeds of a study share.

    Args:
        chains: all that were planned.
        processors: the kinds of processor that their phases were computed on (`processors_of`).
        drawn: whether each seed draws its real data from a known distribution.
        overlapping: whether the training sets of some seeds have pieces in common.
        test_error: whether the study's intervals include the sampling error of the test split.
    """
    started = [chain for chain in chains if chain.settings["base"] and chain.settings["start"] != "scratch"]
    own = _own(started, lambda chain: chain.settings["base"])
    return Facts(
        drawn=drawn,
        own_blocks=_own(chains, lambda chain: chain.settings["data"]["training"]),
        overlapping=overlapping,
        reserve=any("reserve" in chain.settings.get("compose", {}) for chain in chains),
        base="none" if not started else "own" if own else "shared",
        test_error=test_error,
        processors=processors,
    )


def _own(chains: Sequence[Chain], of: Callable[[Chain], Any]) -> bool:
    """Whether the chains of one condition differ in it by seed."""
    first = [chain for chain in chains if chain.condition == chains[0].condition]
    return len({of(chain) for chain in first}) > 1
