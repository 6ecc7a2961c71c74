"""Blocks drawn from a model's distribution, a token at a time: temperature, top-k and nucleus (top-p) as transformers has them.

The randomness is a number below 1 for every token, drawn beforehand for all prompts together: which prompts are decoded
together, and on which worker, changes nothing. The token is the first whose cumulative probability exceeds its number.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    OPTForCausalLM,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from components.families.device import device_of_sums
from components.families.language.decoder import banned_tokens, check_length, decode, in_batches, penalise
from components.families.language.network import Network


@dataclass(frozen=True)
class Sampling:
    """What a token is drawn from: logits divided by `temperature`, of them the `top_k` largest (0: all), of these the fewest
    that have `top_p` of the probability (Holtzman et al. 2020, arXiv 1904.09751)."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    @property
    def how(self) -> str:
        """In words."""
        unlike = {name: value for name, value in vars(self).items() if value != getattr(Sampling, name)}
        return ", ".join(["sampling", *(f"{name} {value:g}" for name, value in unlike.items())])

    def warpers(self) -> LogitsProcessorList:
        """In transformers' order; what changes nothing is left out."""
        found = LogitsProcessorList()
        if self.temperature != 1.0:
            found.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k:
            found.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1.0:
            found.append(TopPLogitsWarper(self.top_p))
        return found


def sample_blocks(
    model: OPTForCausalLM,
    prompts: np.ndarray,
    numbers: np.ndarray,
    sampling: Sampling,
    *,
    known: int,
    repetition_penalty: float = 1.0,
    batch_size: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Continue every prompt by tokens that are drawn, `</s>` banned throughout.

    Args:
        model: on any device, in any floating type.
        prompts: int32 (n, prompt length), no padding.
        numbers: float32 (n, candidates, new tokens), each evenly distributed from 0 to 1: what is drawn goes by them alone.
        known: the tokenizer's entries; a model may have a few rows more, to be a multiple of something, which are not drawn.
        repetition_penalty: multiplies the logit of every token that occurs in prompt or continuation where it is negative,
            divides it where it is positive, before all else.
        batch_size: prompts decoded together; it changes memory and speed only (and rounding).
        progress: called with (prompts done, n) after every batch.

    Returns:
        tokens, int32 (n, candidates, new tokens), and scores, float32 (n, candidates): log-likelihoods under the model as
        it is, in nats.

    Raises:
        ValueError: no token asked for, a penalty that is not positive, a sequence longer than the model's positions, or a
            batch size below 1.
    """
    _, candidates, new_tokens = numbers.shape
    check_length(model.config, prompts.shape[1], new_tokens, repetition_penalty)

    def write(network: Network, batch: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        drawn = torch.from_numpy(numbers[rows]).to(network.device)
        return _sample(network, batch, drawn, sampling, known, repetition_penalty)

    tokens, scores = in_batches(model, prompts, new_tokens, candidates, batch_size, progress, write)
    return tokens.reshape(numbers.shape), scores.reshape(numbers.shape[:2])


def _sample(
    network: Network, prompts: Tensor, numbers: Tensor, sampling: Sampling, known: int, penalty: float
) -> tuple[Tensor, Tensor]:
    count, candidates, new_tokens = numbers.shape
    banned, warpers = banned_tokens(network.config, prompts.device), sampling.warpers()
    parents = torch.arange(candidates, device=prompts.device).expand(count, candidates)
    first, where = prompts.shape[1], device_of_sums(prompts.device)

    def choose(logits: Tensor, scores: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        likely = torch.log_softmax(logits, -1, dtype=torch.float32)
        ranked = logits.to(torch.float32, copy=True)
        if penalty != 1.0:
            penalise(ranked, seen, penalty)
        ranked.index_fill_(-1, banned, -torch.inf)
        ranked[..., known:] = -torch.inf
        ranked = ranked.to(where)
        ranked = warpers(seen.flatten(0, 1).to(where), ranked.flatten(0, 1)).view_as(ranked)
        cumulative = ranked.softmax(-1).cumsum(-1).expand(count, candidates, -1)
        tokens = drawn_tokens(cumulative, numbers[:, :, seen.shape[-1] - first].to(where)).to(logits.device)
        gained = likely.expand(count, candidates, -1).gather(-1, tokens[..., None])[..., 0]
        return scores + gained, parents, tokens

    return decode(network, prompts, new_tokens, candidates, choose)


def drawn_tokens(cumulative: Tensor, numbers: Tensor) -> Tensor:
    """The first token whose cumulative probability exceeds the number, int64 (...).

    Args:
        cumulative: float32 (..., vocabulary), sums of probabilities; the last one may differ from 1 by rounding.
        numbers: float32 (...), from 0 up to but not 1.
    """
    whole = cumulative[..., -1]
    wanted = torch.minimum(numbers * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    return torch.searchsorted(cumulative.contiguous(), wanted[..., None].contiguous(), right=True)[..., 0]
