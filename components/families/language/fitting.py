"""A fit: fine-tuning by a recipe on one engine or the other, its guards, and what it leaves."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from torch import nn
from transformers import OPTForCausalLM

from components.corpus import Corpus
from components.families.device import device
from components.families.language import model as opt
from components.families.language.deepspeed_engine import DeepSpeedEngine
from components.families.language.perplexity import perplexity_of, token_losses
from components.families.language.training import Batches, Engine, Recipe, TorchEngine, blocks_at_once, fine_tune
from components.recursion.family import Diverged, GuardFailure, Progress
from components.recursion.peers import Peers
from components.store import MANIFEST, read_manifest

LEAST_WAY = 1e-8
"""One step of AdamW at the paper's learning rate moves the weights by about a thousandth of their length."""


def train_model(
    model: OPTForCausalLM,
    training: np.ndarray,
    corpus: Corpus,
    recipe: Recipe,
    engine_name: str,
    zero_stage: int,
    seed: int,
    out: Path,
    peers: Peers,
    progress: Progress,
    start_loss: float | None = None,
) -> dict[str, float]:
    """Train `model` on `training` by a recipe and write it with its history to `out`; every rank calls it.

    Args:
        engine_name: `deepspeed` or `torch`.
        start_loss: the starting weights' loss on the validation split, where it is known.

    Raises:
        Diverged: a loss is not finite.
        GuardFailure: the weights did not move, or a step was skipped.
    """
    if recipe.micro_batch_size is None:
        recipe = replace(recipe, micro_batch_size=peers.least(blocks_at_once(model, training.shape[1], device())))
    batches = Batches.cut(recipe, len(training), peers.size)
    engine: Engine
    if engine_name == "deepspeed":
        stage = zero_stage if peers.size > 1 else 0  # one worker has nothing to partition
        engine = DeepSpeedEngine(model, recipe, batches, stage, device())
    else:
        engine = TorchEngine(model, recipe, batches, device())
    try:
        weights, history = fine_tune(
            engine,
            training,
            lambda module: _validation_loss(module, corpus.validation, peers),
            recipe,
            seed,
            peers.rank,
            peers.size,
            progress,
            start_loss,
        )
    except FloatingPointError as error:
        raise Diverged(str(error)) from error
    except ArithmeticError as error:
        raise GuardFailure(str(error)) from error
    finally:
        engine.close()
    if not peers.leads:
        return {}
    if not history.moved > LEAST_WAY:
        raise GuardFailure(f"the weights did not move in {len(history.losses)} steps (by {history.moved:.1e})")
    fresh = OPTForCausalLM(model.config)
    fresh.load_state_dict(weights)
    opt.save(fresh, out / "model", corpus.tokenizer_folder)
    pd.DataFrame(history.losses, columns=["step", "epoch", "loss", "learning_rate"]).to_parquet(out / "losses.parquet")
    pd.DataFrame(history.validation, columns=["epoch", "loss"]).to_parquet(out / "validation.parquet")
    return {
        "validation/perplexity": perplexity_of(dict(history.validation)[history.kept_epoch]),
        "train/kept_epoch": history.kept_epoch,
        "train/weights_moved": history.moved,
        "tokens/fit": recipe.epochs * training.size,
    }


def validation_loss_of(fitted: Path | None) -> float | None:
    """What a model that this project trained gave on the study's validation split; None where that is not known."""
    if fitted is None or not (fitted / MANIFEST).exists():
        return None
    validated = read_manifest(fitted)["metrics"].get("validation/perplexity")
    return math.log(validated) if validated and math.isfinite(validated) else None


def _validation_loss(module: nn.Module, blocks: np.ndarray, peers: Peers) -> float:
    """Mean nats a token, over all ranks; every rank scores equally many blocks, since under ZeRO-3 a forward is collective."""
    share = math.ceil(len(blocks) / peers.size)
    rows = np.arange(peers.rank * share, (peers.rank + 1) * share)
    losses = token_losses(module, blocks[np.minimum(rows, len(blocks) - 1)])[rows < len(blocks)]
    summed = torch.tensor([losses.sum(dtype=np.float64), losses.size], dtype=torch.float64)
    if peers.size > 1:
        dist.all_reduce(summed)
    return float(summed[0] / summed[1])
