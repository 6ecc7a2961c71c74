"""Perplexity of blocks under a model: figure 10 (real test split) and figures 11 and 15 (one value a sequence).

A block is scored by itself, with no context from the blocks before it: its first token is given, the others are
predicted. The paper's published code averages the means of batches and calls exp(std of the loss) a standard deviation of
perplexity; here every token weighs the same, and deviations are taken over sequences.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

LOGITS_AT_ONCE = {"cpu": 2**22, "cuda": 2**26}
"""Held at a time if no batch size is given. On a CPU 16 MiB in fp32, which its caches can hold: 1.3 times as fast as 256 MiB."""


def token_losses(
    model: nn.Module,
    blocks: np.ndarray,
    *,
    batch_size: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Negative log-likelihood of every token but the first of each block, given the block's tokens before it.

    Args:
        model: an `OPTForCausalLM`, or an engine around one that is called the same way; its mode (train or eval) is
            left as it was, dropout is off meanwhile.
        blocks: int32 (n, length), no padding.
        batch_size: blocks scored together (by the vocabulary's size if None).
        progress: called with (blocks done, n) after every batch.

    Returns:
        float32 (n, length - 1), in nats: transformers' `loss` is their mean.
    """
    first = next(model.parameters())
    inside: Any = getattr(model, "module", model)  # an engine has the model inside
    at_once = LOGITS_AT_ONCE[first.device.type]
    size = batch_size or max(1, at_once // (inside.config.vocab_size * blocks.shape[1]))
    losses = np.empty((len(blocks), blocks.shape[1] - 1), np.float32)
    training = model.training
    model.eval()
    try:
        # No inference mode: a ZeRO-3 engine gathers weights in its forward, and they must stay usable for training.
        with torch.no_grad():
            for start in range(0, len(blocks), size):
                ids = torch.from_numpy(blocks[start : start + size].astype(np.int64)).to(first.device)
                logits = model(input_ids=ids, use_cache=False).logits.flatten(0, 1).float()
                targets = functional.pad(ids[:, 1:], (0, 1))  # cheaper than a copy of the logits without the last
                batch = functional.cross_entropy(logits, targets.flatten(), reduction="none")
                losses[start : start + size] = batch.view(len(ids), -1)[:, :-1].cpu().numpy()
                progress(min(start + size, len(blocks)), len(blocks))
    finally:
        model.train(training)
    return losses


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
