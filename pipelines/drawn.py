"""Where the seeds of a study get their real training data: one set for all, or each its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from components.recursion.worker import ChainWork
from components.seeds import rows_of_seed

if TYPE_CHECKING:  # a study of VAEs needs nothing of language models, whose packages take seconds to import
    from components.families.language.base import BaseWork
    from components.families.language.family import LanguageFamily
    from components.families.vae.family import VaeFamily

Base = Literal["none", "named", "one", "per seed"]
"""Where chains start: random weights, a model by name, one base model pretrained here, or one per seed."""


@dataclass(frozen=True)
class Drawn:
    """How the real training data came about.

    `own`: each seed draws its own `size` pieces out of a pool of `pool`; else all seeds have one set. `disjoint`:
    no two of the study's seeds have a piece in common. `unit`: what a piece is.
    """

    own: bool
    disjoint: bool
    size: int
    pool: int
    unit: str
    base: Base

    @property
    def training(self) -> str:
        """For the plan, such as "each seed trains on its own 512 of 1,536 blocks"."""
        if not self.own:
            return f"all seeds train on the same {self.size:,} {self.unit}"
        overlapping = "" if self.disjoint else " (some seeds share some of them)"
        return f"each seed trains on its own {self.size:,} of {self.pool:,} {self.unit}{overlapping}"

    @property
    def overlapping(self) -> bool:
        """Whether each seed has its own set and some of these sets overlap."""
        return self.own and not self.disjoint


def drawn_blocks(bases: Sequence[BaseWork], chains: Sequence[ChainWork[LanguageFamily]]) -> Drawn:
    """Of a study of language models."""
    corpus = chains[0].family.corpus
    base: Base = "none"
    if bases and any(work.chain.settings["start"] != "scratch" for work in chains):
        base = "named" if bases[0].name else "one" if bases[0].of_seed is None else "per seed"
    return _drawn(chains, len(corpus.train), len(corpus.pool), "blocks", base)


def drawn_images(chains: Sequence[ChainWork[VaeFamily]]) -> Drawn:
    """Of a study of VAEs, which all start from random weights."""
    family = chains[0].family
    return _drawn(chains, len(family.real["train"]), family.pool, "images", "none")


def overlapping(chains: Sequence[ChainWork[Any]]) -> bool:
    """Whether each seed of these chains has its own training set and some of these sets overlap, in any family."""
    match chains[0].family.name:  # not the class: a study of one family does not import the others
        case "language":
            return drawn_blocks([], chains).overlapping
        case "vae":
            return drawn_images(chains).overlapping
        case _:
            return False


def _drawn(chains: Sequence[ChainWork[Any]], size: int, pool: int, unit: str, base: Base) -> Drawn:
    own = size < pool
    sets = [rows_of_seed(pool, size, seed) for seed in sorted({work.chain.seed for work in chains})] if own else []
    disjoint = own and not any(np.intersect1d(one, other).size for one, other in combinations(sets, 2))
    return Drawn(own, disjoint, size, pool, unit, base)
