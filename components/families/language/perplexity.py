"""Perplexity of blocks under a model: figure 10 (real test split) and figures 11 and 15 (one value a sequence).

A block is scored by itself, with no context from the blocks before it: its first token is given, the others are
predicted. The paper's published code averages the means of batches and calls exp(std of the loss) a standard deviation of
perplexity; here every token weighs the same, and deviations are taken over sequences.

A perplexity is infinite where the mean loss is above 709.78 nats, whose exponential no float64 holds. That is a finding
about a model that diverged, and is recorded as one; the loss itself stands in scores.parquet.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import OPTForCausalLM

from components.families.language import kernels
from components.families.language.network import Network, causal, side_by_side
from components.families.language.objective import Objective, each_loss, each_prediction

LOGITS_AT_ONCE = 2**22
"""Held by a thread on a CPU: 16 MiB in fp32, which its caches can hold, 1.3 times as fast as 256 MiB."""
TOKENS_AT_ONCE = {"cpu": 2**11, "cuda": 2**15}

Progress = Callable[[int, int], None]
OfLogits = Callable[[Tensor, Tensor], Tensor]
OfHidden = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Predictions:
    """How a model foresees every token but the first of each block, given the block's tokens before it; (n, length - 1) each.

    `losses` in nats as `token_losses` has them; `confidence`, the probability of the token that it holds for likeliest;
    `correct`, whether that one comes; `entropy` of the next token's distribution, in nats.
    """

    losses: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray
    entropy: np.ndarray


def token_losses(model: nn.Module, blocks: np.ndarray, *, progress: Progress = lambda done, total: None) -> np.ndarray:
    """Negative log-likelihood of every token but the first of each block, given the block's tokens before it.

    Args:
        model: an `OPTForCausalLM`, or an engine around its `Objective`; its mode (train or eval) is left as it was,
            dropout is off meanwhile.
        blocks: int32 (n, length), no padding.
        progress: called with (blocks done, n) after every batch.

    Returns:
        float32 (n, length - 1), in nats: transformers' `loss` is their mean.
    """
    return _scored(model, blocks, progress, kernels.losses, each_loss, ())


def token_predictions(
    model: nn.Module, blocks: np.ndarray, *, progress: Progress = lambda done, total: None
) -> Predictions:
    """The losses of `token_losses`, and out of the same forward pass what else calibration asks; arguments as there."""
    found = _scored(model, blocks, progress, kernels.predictions, each_prediction, (4,))
    return Predictions(*np.moveaxis(found, -1, 0))


def _scored(
    model: nn.Module, blocks: np.ndarray, progress: Progress, kernel: OfLogits, each: OfHidden, numbers: tuple[int, ...]
) -> np.ndarray:
    """So many numbers of every token but the first, float32 (n, length - 1, *numbers): by a kernel on logits, or without."""
    first = next(model.parameters())
    if not isinstance(model, OPTForCausalLM):
        batches = _by_objective(model, blocks, first.device, each)
    elif kernels.serve(first.dtype, first.device):
        batches = _by_network(model, blocks, kernel)
    else:
        batches = _by_objective(Objective(model), blocks, first.device, each)
    scores = np.empty((len(blocks), blocks.shape[1] - 1, *numbers), np.float32)
    done = 0
    for batch in batches:
        scores[done : done + len(batch)] = batch
        done += len(batch)
        progress(done, len(blocks))
    return scores


def _by_network(model: OPTForCausalLM, blocks: np.ndarray, kernel: OfLogits) -> Iterator[np.ndarray]:
    """On a CPU: weights packed for it, logits a few rows at a time, each row read twice and never written again."""
    network = Network(model)
    rows = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    size = max(1, TOKENS_AT_ONCE["cpu"] // blocks.shape[1])

    @torch.inference_mode()
    def score(start: int) -> np.ndarray:
        ids = torch.from_numpy(blocks[start : start + size].astype(np.int64))
        hidden = network.hidden(ids, slice(0, ids.shape[1]), causal)[:, :-1].flatten(0, 1)  # the last predicts nothing
        parts = zip(hidden.split(rows), ids[:, 1:].flatten().split(rows), strict=True)
        scores = [kernel(network.logits(part), targets) for part, targets in parts]
        return torch.cat(scores).unflatten(0, (len(ids), -1)).numpy()

    return side_by_side(score, range(0, len(blocks), size), network.device)


def _by_objective(
    objective: nn.Module, blocks: np.ndarray, device: torch.device, each: OfHidden
) -> Iterator[np.ndarray]:
    """By the model's own forward pass, anywhere."""
    size = max(1, TOKENS_AT_ONCE[device.type] // blocks.shape[1])
    training = objective.training
    objective.eval()
    try:
        for start in range(0, len(blocks), size):
            # No inference mode: a ZeRO-3 engine gathers weights in its forward, and they must stay usable for training.
            with torch.no_grad():
                ids = torch.from_numpy(blocks[start : start + size].astype(np.int64)).to(device)
                scores = objective(ids, each=each)
            yield scores.cpu().numpy()
    finally:
        objective.train(training)


def sequence_losses(losses: np.ndarray) -> np.ndarray:
    """Mean over each sequence's predicted tokens, float64 (n,), in nats; its exponential is the sequence's perplexity."""
    return losses.mean(axis=1, dtype=np.float64)


def perplexity(losses: np.ndarray, blocks: np.ndarray, separator: int | None = None) -> float:
    """exp of the mean loss over all predicted tokens (figure 10's measure, token-weighted).

    Args:
        losses: (n, length - 1), from `token_losses(model, blocks)`.
        blocks: int32 (n, length).
        separator: a token id (`</s>`) to leave out as a target, since synthetic blocks cannot have it; as context it
            stays.

    Returns:
        The perplexity; nan where no target is left.

    Raises:
        ValueError: losses of other blocks.
    """
    targets = blocks[:, 1:]
    if losses.shape != targets.shape:
        raise ValueError(f"losses of shape {losses.shape} are not those of blocks of shape {blocks.shape}")
    counted = losses if separator is None else losses[targets != separator]
    return perplexity_of(float(counted.mean(dtype=np.float64))) if counted.size else math.nan


def perplexity_of(loss: float) -> float:
    """exp of a mean loss in nats; infinite where that is no float64."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def sequence_perplexities(losses: np.ndarray) -> np.ndarray:
    """exp of every sequence's mean loss, float64 (n,); infinite where that is no float64."""
    with np.errstate(over="ignore"):
        return np.exp(sequence_losses(losses))


def sequence_perplexity(losses: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation (ddof=1) over sequences of each one's own perplexity.

    The mean exceeds `perplexity`, often by far: it is an arithmetic mean of exponentials, in which rare hard sequences
    count most. Of an infinite mean the deviation is nan.
    """
    each = sequence_perplexities(losses)
    with np.errstate(over="ignore", invalid="ignore"):
        return float(each.mean()), float(each.std(ddof=1)) if len(each) > 1 else 0.0
