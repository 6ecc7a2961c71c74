"""The base model: what "pretrained" means before generation 0.

With a model by name its weights are brought into the store once, so that every worker on every node reads the same
files and none asks the Hub. From scratch, an OPT of the size asked for is pretrained on the corpus's own pretraining
blocks, as Meta pretrained theirs: once for all chains and seeds.
"""

from pathlib import Path
from typing import Any

import numpy as np


from components.families.language import model as opt
from components.families.language.family import LanguageFamily, train_model
from components.families.language.perplexity import perplexity, token_losses
from components.families.language.training import Recipe
from components.recursion.family import Progress
from components.recursion.peers import Peers

BASE_SEED = 0


def base_inputs(family: LanguageFamily, recipe: Recipe, blocks: int | None, name: str | None) -> dict[str, Any]:
    """What determines the base model: a name's weights, or size, recipe and pretraining blocks."""
    if name:
        return {"name": name, "weights": opt.weights_digest(name), "tokenizer": family.corpus.digests["tokenizer"]}
    settings = vars(recipe).copy()
    del settings["micro_batch_size"]
    digests = family.corpus.digests
    return {
        "size": vars(family.size),
        "recipe": {**settings, "engine": family.engine},
        "blocks": blocks,
        "data": {kind: digests[kind] for kind in ("pretrain", "validation", "tokenizer")},
    }


def make_base(
    family: LanguageFamily,
    recipe: Recipe,
    blocks: int | None,
    name: str | None,
    out: Path,
    peers: Peers,
    progress: Progress,
) -> dict[str, float]:
    """Pretrain the base model (or fetch it by name) into `out/model`; every rank of a group calls this.

    Returns:
        Metrics of the fit, and `base/test_perplexity`: what the base gives on the study's test split, zero-shot.
    """
    if name:
        if not peers.leads:
            return {}
        model = opt.load(name)
        opt.save(model, out / "model", family.corpus.tokenizer_folder)
        metrics = {}
    else:
        model = opt.create(family.size, BASE_SEED)
        chosen = _spread(family.corpus.pretrain, blocks)
        metrics = train_model(model, chosen, family, recipe, BASE_SEED, out, peers, progress)
        if not peers.leads:
            return {}
        model = opt.load(out / "model")
    losses = token_losses(model.eval(), family.corpus.test)
    return metrics | {"base/test_perplexity": perplexity(losses, family.corpus.test)}


def _spread(blocks: np.ndarray, most: int | None) -> np.ndarray:
    """At most `most` blocks, evenly spread over all of them, so that no part of the text is left out."""
    if most is None or most >= len(blocks):
        return blocks
    return blocks[np.linspace(0, len(blocks) - 1, most).astype(np.int64)]
