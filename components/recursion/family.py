"""What the loop asks of a family of generative models: compose, fit, sample, measure, and nothing more.

A family leaves what a phase makes in a place of its own kind. Where a phase takes seconds or more (language models,
VAEs) that is a folder, and the store keeps every one. Where it takes a millisecond (Gaussians, discrete distributions,
mixtures) it is arrays in memory that hold many chains at once, and the store keeps the chain as a whole now and then.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from components.recursion.peers import Peers
from components.regimes import Regime

Progress = Callable[[int, int], None]
"""Called with (done, total) in a phase's own units."""

Arrays = dict[str, np.ndarray]
"""What a phase leaves in memory, by name."""

Place = TypeVar("Place", Path, Arrays)
"""Where a phase leaves what it made: a folder in the store, or arrays in memory."""


class GuardFailure(RuntimeError):
    """A result that must not stand: weights that did not move, a loss that is no number, blocks of the wrong length."""


class Diverged(GuardFailure):
    """A fit that its settings made no better than its start, or whose loss is not finite. Every worker raises it.

    A study has no use for such a chain. A sweep has: its error is larger than any other trial's.
    """


@dataclass(frozen=True)
class Step:
    """A phase of one generation as a family sees it: its randomness, its workers, and whom to tell how far it is."""

    generation: int
    random: np.random.SeedSequence
    peers: Peers = field(default_factory=Peers)
    progress: Progress = lambda done, total: None


@dataclass(frozen=True)
class Pool(Generic[Place]):
    """What a training set may be drawn from, the real data apart.

    `sampled`: every generation's samples, in order; of a family in memory the newest alone. `rows`: how many rows each of
    them has. `trained`: what `compose` made for the last generation.
    """

    sampled: Sequence[Place] = ()
    rows: Sequence[int] = ()
    trained: Place | None = None


@dataclass(frozen=True)
class Origin(Generic[Place]):
    """Where a generation's model comes from: what `compose` made of the pool for it, and the first model of its chain."""

    composed: Place
    pool: Pool[Place]
    generation0: Place


class Family(Protocol[Place]):
    """A kind of generative model. All workers of a chain call every method together; rank 0 writes the files."""

    name: str

    @property
    def in_memory(self) -> bool:
        """Whether a phase leaves arrays, and the store keeps whole chains."""

    @property
    def shown(self) -> Collection[int]:
        """Generations whose models a chain in memory keeps to be looked at."""

    @property
    def data_folder(self) -> Path | None:
        """Where the real data lies, if it lies in a folder."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Per phase (`fit`, `sample`, `measure`, and `compose` where something does), what of the settings determines its
        result, as JSON."""

    def digests(self) -> Mapping[str, str]:
        """Content digests of the real data: `training` and `evaluation` at least."""

    def base(self) -> tuple[str, Place] | None:
        """Identity and place of the pretrained model that generation 0 starts from, if there is one."""

    def compose(self, regime: Regime, pool: Pool[Place], out: Place, step: Step) -> dict[str, float]:
        """Put together what the generation is trained on; with an empty pool the real data. `data/rows` says how many."""

    def fit(self, composed: Place, pool: Pool[Place], start: Place | None, out: Place, step: Step) -> dict[str, float]:
        """Fit a model to what `compose` made of `pool`, from the model at `start` or from random weights."""

    def sample(self, fitted: Place, origin: Origin[Place], out: Place, step: Step) -> dict[str, float]:
        """Draw the fitted model's samples; `synthetic/rows` says how many the next generation may be fitted on."""

    def measure(self, fitted: Place, sampled: Place, origin: Origin[Place], out: Place, step: Step) -> dict[str, float]:
        """Hold a generation's model and samples against the real data, what it was fitted to, and generation 0's model."""
