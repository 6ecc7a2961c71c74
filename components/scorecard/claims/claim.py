"""What a claim is: differences of a study's numbers, one a seed, and what they would have to be for it to hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ONE_PER_CENT = 0.01
A_FIFTH = 0.2
"""Margin of the claims that something comes at the rate of a theory, which is of first order."""


@dataclass(frozen=True)
class Claim:
    """`differences`: by seed, above nought where the claim holds; empty where the study did not run what it takes.

    `smallest`: the least difference worth speaking of, in `unit`. `equality`: the claim is that the differences are nought,
    and `smallest` the margin within which that is as good as true.
    """

    text: str
    conditions: str
    definition: str
    unit: str
    smallest: float
    differences: Mapping[int, float] = field(default_factory=dict)
    equality: bool = False
