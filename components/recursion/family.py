"""What the loop asks of a family of generative models: fit, sample, measure, and nothing more."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from components.recursion.peers import Peers

Progress = Callable[[int, int], None]
"""Called with (done, total) in a phase's own units."""


class GuardFailure(RuntimeError):
    """A result that must not stand: weights that did not move, a loss that is no number, blocks of the wrong length."""


class Family(Protocol):
    """A kind of generative model. All workers of a chain call every method together; rank 0 writes the files."""

    name: str

    @property
    def data_folder(self) -> Path | None:
        """Where the real data lies, if it lies in a folder."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Per phase (`fit`, `sample`, `measure`), what of the settings determines its result, as JSON."""

    def real(self) -> np.ndarray:
        """The real training data, one row an example."""

    def digests(self) -> Mapping[str, str]:
        """Content digests of the real data: `training` and `evaluation` at least."""

    def base(self) -> tuple[str, Path] | None:
        """Identity and folder of the pretrained model that generation 0 starts from, if there is one."""

    def fit(
        self,
        training: np.ndarray,
        start: Path | None,
        random: np.random.SeedSequence,
        out: Path,
        peers: Peers,
        progress: Progress,
    ) -> dict[str, float]:
        """Fit a model to `training`, from the model in folder `start` or from random weights; write it to `out`."""

    def sample(
        self, fitted: Path, random: np.random.SeedSequence, out: Path, peers: Peers, progress: Progress
    ) -> dict[str, float]:
        """Draw the fitted model's samples and write them to `out`; `synthetic/rows` says how many."""

    def samples(self, sampled: Path) -> np.ndarray:
        """The samples that `sample` wrote, shaped as `real()`."""

    def measure(
        self, fitted: Path, sampled: Path, generation0: Path, out: Path, peers: Peers, progress: Progress
    ) -> dict[str, float]:
        """Hold a generation's model and samples against the real data and against generation 0's model."""
