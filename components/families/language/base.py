"""The base model: what "pretrained" means before generation 0.

With a model by name its weights are brought into the store once, by the first chain that needs them: so every worker
on every node reads the same files and none asks the Hub. From scratch, an OPT of the size asked for is pretrained on the
corpus's own pretraining blocks, as Meta pretrained theirs: once for all chains, or with `base.per_seed` once for the
chains of each seed.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from components import logs
from components.families.device import device
from components.families.language import architecture
from components.families.language import model as opt
from components.families.language.family import FORMATS, LanguageFamily
from components.families.language.perplexity import perplexity, token_losses
from components.families.language.training import Recipe
from components.families.memory import Need
from components.recursion.family import GuardFailure, Progress
from components.recursion.peers import Peers
from components.recursion.phase import phase
from components.recursion.worker import Send, phase_progress
from components.store import Phase, Store, identity

BASE = "base model"
BASE_SEED = 0
"""Of the one base model that serves all seeds."""
BLOCKS_A_WORKER = 8


@dataclass(frozen=True)
class BaseWork:
    """The base model to be made, as it travels to the workers of its group.

    `name`: a model by name, whose weights are copied; `weights` is then their digest, taken once by the study's own
    process. With None a base model is pretrained on at most `blocks` blocks. `of_seed`: the only seed whose chains
    start from it, None where all chains do. It decides the first weights and the order of the blocks; the blocks
    are the same for all seeds.
    """

    family: LanguageFamily
    recipe: Recipe
    blocks: int | None
    name: str | None
    store: Store
    weights: str | None = None
    of_seed: int | None = None

    @property
    def seed(self) -> int:
        return BASE_SEED if self.of_seed is None else self.of_seed

    @property
    def title(self) -> str:
        """What this piece of work is called in plans and progress."""
        return BASE if self.of_seed is None else f"{BASE} of seed {self.of_seed}"

    @property
    def doing(self) -> str:
        """What the work is called in progress and records: a model by name is read and not pretrained."""
        return "load" if self.name else "pretrain"

    @property
    def inputs(self) -> dict[str, Any]:
        """What determines the base model: a name's weights; or size, recipe and pretraining blocks."""
        digests = self.family.corpus.digests
        if self.name:
            named = {"weights": self.weights, "tokenizer": digests["tokenizer"]}
            return {"format": FORMATS["fit"], **named, "test": digests["test"]}
        data = {kind: digests[kind] for kind in ("pretrain", "validation", "test", "tokenizer")}
        fit = replace(self.family, recipe=self.recipe).settings["fit"]
        seed = {"seed": self.seed} if self.seed != BASE_SEED else {}
        return {"fit": fit, "blocks": self.blocks, "data": data, **seed}

    @property
    def most_workers(self) -> int:
        """More would have fewer blocks a step than a processor needs to be kept busy."""
        return max(1, self.recipe.batch_size // BLOCKS_A_WORKER)

    def needed(self, workers: int, device: str) -> Need:
        """What each worker holds at its fullest moment; `device`: `cpu` or `cuda`."""
        return replace(self.family, recipe=self.recipe).needed(workers, device)

    @property
    def identity(self) -> str:
        return identity("base", self.inputs)

    def find(self) -> Phase | None:
        """The base model, if the store has it."""
        return self.store.find("base", self.inputs)

    def __call__(self, peers: Peers, send: Send) -> None:
        """Make the base model unless the store has it."""
        self.store.bring(self.family.corpus_folder)

        def make(out: Path, progress: Progress) -> dict[str, float]:
            return self._make(out, peers, progress)

        with logs.at(phase=self.doing):
            phase(self.store, "base", self.inputs, make, peers, phase_progress(send, self.title, self.doing))

    def _make(self, out: Path, peers: Peers, progress: Progress) -> dict[str, float]:
        """Into `out/model`; `base/test_perplexity` is what the base gives on the study's test split, zero-shot.

        Raises:
            GuardFailure: the named model is another one on this worker's machine than on the study's.
        """
        corpus = self.family.corpus
        metrics: dict[str, float] = {}
        if self.name and peers.leads:
            if opt.weights_digest(self.name) != self.weights:
                raise GuardFailure(f"model.name = {self.name}: this worker's machine has other weights under this name")
            opt.save(opt.load(self.name), out / "model", corpus.tokenizer_folder)
        elif not self.name:
            blocks = _spread(corpus.pretrain, self.blocks)
            model = architecture.create(self.family.size, self.seed)
            metrics = self.family.train(model, blocks, self.recipe, self.seed, out, peers, progress)
        if peers.leads:  # the others may be on machines that do not have the model yet
            model = opt.load(out / "model").to(device()).eval()
            tell = progress if self.name else _silent  # short after a pretraining, and long beside a copy
            metrics["base/test_perplexity"] = perplexity(token_losses(model, corpus.test, progress=tell), corpus.test)
        return metrics


def _silent(done: int, total: int) -> None:
    pass


def _spread(blocks: np.ndarray, most: int | None) -> np.ndarray:
    """At most `most` blocks, evenly spread over all of them, so that no part of the text is left out."""
    if most is None or most >= len(blocks):
        return blocks
    return blocks[np.linspace(0, len(blocks) - 1, most).astype(np.int64)]
