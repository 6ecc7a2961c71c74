"""What a claim is: differences of a study's numbers, one per seed, and what they would have to be for it to hold."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from components.scorecard.noise import together
from components.scorecard.numbers import Numbers, Source, by_seed
from components.scorecard.verdict import SHARED_DEGREES

ONE_PER_CENT = 0.01
A_FIFTH = 0.2
"""Margin of the claims that something comes at the rate of a theory, which is of first order."""


@dataclass(frozen=True)
class Claim:
    """A statement about a study that its seeds can bear out or not.

    `differences`: by seed, above 0 where the claim holds; empty where the study did not run what it
    takes. `smallest`: the smallest difference worth speaking of, in `unit`. `equality`: the claim
    is that the differences are 0, and `smallest` the margin within which that is as good as true.

    `noise`: by seed, the standard error that its difference has from its own finite counts.
    `shared`: the standard error that all differences have in common, such as that of one test
    split, known with `degrees` of freedom; nan where it cannot be known. `generations`: by seed, the generation its difference was taken at. `missing`: a sentence
    for each chain that stopped early and each seed without a number. `most`: the largest difference
    there can be, such as the whole of a share.
    """

    text: str
    conditions: str
    definition: str
    unit: str
    smallest: float
    differences: Mapping[int, float] = field(default_factory=dict)
    equality: bool = False
    noise: Mapping[int, float] = field(default_factory=dict)
    shared: float = 0.0
    degrees: int = SHARED_DEGREES
    generations: Mapping[int, int] = field(default_factory=dict)
    missing: Sequence[str] = ()
    most: float = math.inf


def claim_of(
    study: Numbers,
    text: str,
    conditions: Sequence[str],
    definition: str,
    unit: str,
    smallest: float,
    differences: pd.Series,
    generations: pd.Series,
    sources: Sequence[Source],
    *,
    noise: Sequence[pd.Series] = (),
    shared: float = 0.0,
    equality: bool = False,
    most: float = math.inf,
) -> Claim:
    """Make a claim of differences by seed, with what is missing of `conditions` in words.

    Args:
        differences: by seed; nan where a seed has no number.
        generations: by seed, the generation that its difference was taken at.
        sources: what the differences were computed from: it says why a seed has no number.
        noise: independent standard errors of the differences, by seed; none where they are not known.
    """
    found = by_seed(differences)
    errors = by_seed(together(*noise).loc[list(found)]) if noise and found else {}
    return Claim(
        text,
        ", ".join(conditions),
        definition,
        unit,
        smallest,
        found,
        equality,
        errors,
        shared,
        study.test_degrees,
        {seed: int(generations[seed]) for seed in found},
        [*study.stopped(*conditions), *study.without_number(differences, sources)],
        most,
    )
