"""The training loss: next-token cross-entropy whose logits are written once and become their own gradient.

Logits are the largest thing in a step (a gigabyte and a half in fp32 for the paper's batch of 128 blocks). torch's own way
writes them, their logarithms, their gradient, and in bf16 a copy of each; here a few rows at a time are computed, turned
into the gradient in place, and used up (as Liger's fused linear cross-entropy does, Hsu et al. 2024, arXiv 2410.10989).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import OPTForCausalLM

from components.families.language import kernels

ROWS_AT_ONCE = 1024
WORDS_AT_ONCE = 8192
"""Rows of the output layer's gradient made at a time: a tenth faster on a CPU than the whole."""


class Objective(nn.Module):
    """A model with its training loss as forward pass, which is what an engine wraps."""

    def __init__(self, model: OPTForCausalLM) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        if model.device.type == "cpu":
            model.set_attn_implementation("eager")  # torch's fused one takes three times as long, backward in bf16

    def forward(self, ids: Tensor, each: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None) -> Tensor:
        """Nats of every token but the first of each block, given the block's tokens before it.

        Args:
            ids: int64 (n, length).
            each: `each_loss` for every token's, (n, length - 1), without a gradient, instead of their sum; `each_prediction` for
                four numbers of every token, (n, length - 1, 4).
        """
        hidden = self.model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
        weight, targets = self.model.lm_head.weight, ids[:, 1:].flatten()
        if each:
            return each(hidden, weight, targets).unflatten(0, (len(ids), -1))
        return summed_loss(hidden, weight, targets)


@torch.no_grad()
def each_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropies, float32 (rows,), of targets under logits hidden (rows, size) x weight^T (vocabulary, size)."""
    parts = zip(hidden.split(ROWS_AT_ONCE), targets.split(ROWS_AT_ONCE), strict=True)
    return torch.cat([functional.cross_entropy((h @ weight.T).float(), t, reduction="none") for h, t in parts])


@torch.no_grad()
def each_prediction(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """What logits hidden x weight^T say of each row's target, float32 (rows, 4): see `kernels.predictions`."""
    parts = []
    for rows, of_rows in zip(hidden.split(ROWS_AT_ONCE), targets.split(ROWS_AT_ONCE), strict=True):
        logs = functional.log_softmax((rows @ weight.T).float(), -1)
        chosen, best = logs.gather(-1, of_rows[:, None])[:, 0], logs.amax(-1)
        entropy = -(logs.exp() * logs).sum(-1)
        parts.append(torch.stack([-chosen, best.exp(), (chosen == best).float(), entropy], dim=-1))
    return torch.cat(parts)


def summed_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Sum of `each_loss`, with its gradient. Products are in autocast's type where it is on, all else in fp32."""
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    loss: Tensor = _SummedLoss.apply(hidden.to(dtype), weight, targets)
    return loss


class _SummedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            return _SummedLoss._forward(ctx, hidden, weight, targets)

    @staticmethod
    def _forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        cast = weight.to(hidden.dtype)
        of_hidden, of_weight = torch.empty_like(hidden), torch.empty_like(weight)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(hidden), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            logits = functional.linear(hidden[rows], cast)
            total += _losses_and_gradient(logits, targets[rows]).sum()
            torch.mm(logits, cast, out=of_hidden[rows])
            for part, words in zip(of_weight.split(WORDS_AT_ONCE), logits.split(WORDS_AT_ONCE, dim=1), strict=True):
                product = words.T @ hidden[rows]
                part.add_(product) if start else part.copy_(product)
        ctx.save_for_backward(of_hidden, of_weight)
        return total

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor, Tensor, None]:
        of_hidden, of_weight = ctx.saved_tensors
        return of_hidden.mul_(factor), of_weight.mul_(factor), None


def _losses_and_gradient(logits: Tensor, targets: Tensor) -> Tensor:
    """Losses, float32 (rows,); the logits become the gradient of the losses' sum."""
    if kernels.serve(logits.dtype, logits.device):
        return kernels.losses(logits, targets, gradient=True)
    log_probabilities = functional.log_softmax(logits, -1, dtype=torch.float32)
    losses = -log_probabilities.gather(-1, targets[:, None])[:, 0]
    logits.copy_(log_probabilities.exp_())
    logits.scatter_add_(-1, targets[:, None], torch.full_like(logits[:, :1], -1))
    return losses
