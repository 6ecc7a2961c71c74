"""Perplexity of blocks under a model: figure 10 (real test split) and figures 11 and 15 (one value a sequence).

A block is scored by itself, with no context from the blocks before it: its first token is given, the others are
predicted. The paper's published code averages the means of batches and calls exp(std of the loss) a standard deviation of
perplexity; here every token weighs the same, and deviations are taken over sequences.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from transformers import OPTForCausalLM

from components.families.language import kernels
from components.families.language.network import Network, causal, side_by_side
from components.families.language.objective import Objective

LOGITS_AT_ONCE = 2**22
"""Held by a thread on a CPU: 16 MiB in fp32, which its caches can hold, 1.3 times as fast as 256 MiB."""
TOKENS_AT_ONCE = {"cpu": 2**11, "cuda": 2**15}


def token_losses(
    model: nn.Module, blocks: np.ndarray, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> np.ndarray:
    """Negative log-likelihood of every token but the first of each block, given the block's tokens before it.

    Args:
        model: an `OPTForCausalLM`, or an engine around its `Objective`; its mode (train or eval) is left as it was,
            dropout is off meanwhile.
        blocks: int32 (n, length), no padding.
        progress: called with (blocks done, n) after every batch.

    Returns:
        float32 (n, length - 1), in nats: transformers' `loss` is their mean.
    """
    first = next(model.parameters())
    if not isinstance(model, OPTForCausalLM):
        batches = _by_objective(model, blocks, first.device)
    elif kernels.serve(first.dtype, first.device):
        batches = _by_network(model, blocks)
    else:
        batches = _by_objective(Objective(model), blocks, first.device)
    losses = np.empty((len(blocks), blocks.shape[1] - 1), np.float32)
    done = 0
    for batch in batches:
        losses[done : done + len(batch)] = batch
        done += len(batch)
        progress(done, len(blocks))
    return losses


def _by_network(model: OPTForCausalLM, blocks: np.ndarray) -> Iterator[np.ndarray]:
    """On a CPU: weights packed for it, logits a few rows at a time, each row read twice and never written again."""
    network = Network(model)
    rows = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    size = max(1, TOKENS_AT_ONCE["cpu"] // blocks.shape[1])

    @torch.inference_mode()
    def score(start: int) -> np.ndarray:
        ids = torch.from_numpy(blocks[start : start + size].astype(np.int64))
        hidden = network.hidden(ids, slice(0, ids.shape[1]), causal)[:, :-1].flatten(0, 1)  # the last predicts nothing
        parts = zip(hidden.split(rows), ids[:, 1:].flatten().split(rows), strict=True)
        losses = [kernels.losses(network.logits(part), targets) for part, targets in parts]
        return torch.cat(losses).view(len(ids), -1).numpy()

    return side_by_side(score, range(0, len(blocks), size), network.device)


def _by_objective(objective: nn.Module, blocks: np.ndarray, device: torch.device) -> Iterator[np.ndarray]:
    """By the model's own forward pass, anywhere."""
    size = max(1, TOKENS_AT_ONCE[device.type] // blocks.shape[1])
    training = objective.training
    objective.eval()
    try:
        for start in range(0, len(blocks), size):
            # No inference mode: a ZeRO-3 engine gathers weights in its forward, and they must stay usable for training.
            with torch.no_grad():
                ids = torch.from_numpy(blocks[start : start + size].astype(np.int64)).to(device)
                losses = objective(ids, each=True)
            yield losses.cpu().numpy()
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
    return math.exp(counted.mean(dtype=np.float64)) if counted.size else math.nan


def sequence_perplexity(losses: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation (ddof=1) over sequences of each one's own perplexity.

    The mean exceeds `perplexity`, often by far: it is an arithmetic mean of exponentials, in which rare hard sequences
    count most.
    """
    each = np.exp(sequence_losses(losses))
    return float(each.mean()), float(each.std(ddof=1)) if len(each) > 1 else 0.0
