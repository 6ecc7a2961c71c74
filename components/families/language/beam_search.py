"""Exact beam search of a fixed length: how the paper makes each generation's data (section 5.2, five beams, 64 tokens).

Same tokens as transformers' `generate(num_beams=..., min_new_tokens=max_new_tokens=new_tokens)`, several times as fast
(decoder.py says why).
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from transformers import OPTConfig, OPTForCausalLM

from components.families.language import kernels
from components.families.language.decoder import banned_tokens, check_length, decode, in_batches, penalise
from components.families.language.network import Network

TOP_K_GROUP = 32


def generate_blocks(
    model: OPTForCausalLM,
    prompts: np.ndarray,
    *,
    new_tokens: int,
    num_beams: int,
    repetition_penalty: float = 1.0,
    batch_size: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Continue every prompt by exactly `new_tokens` tokens.

    Args:
        model: on any device, in any floating type.
        prompts: int32 (n, prompt length), no padding.
        batch_size: prompts decoded together (`prompts_at_once` if None); it changes memory and speed only (and rounding).
        progress: called with (prompts done, n) after every batch.

    Returns:
        tokens, int32 (n, new_tokens), and scores, float32 (n,), as `beam_search` defines them.

    Raises:
        ValueError: an argument that `beam_search` refuses, or a batch size below 1.
    """
    _check(model.config, prompts.shape[1], new_tokens, num_beams, repetition_penalty)

    def write(network: Network, batch: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        return beam_search(
            network, batch, new_tokens=new_tokens, num_beams=num_beams, repetition_penalty=repetition_penalty
        )

    return in_batches(model, prompts, new_tokens, num_beams, batch_size, progress, write)


def beam_search(
    network: Network, prompts: Tensor, *, new_tokens: int, num_beams: int, repetition_penalty: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The best beam's continuation of every prompt of one batch, `</s>` banned throughout.

    Args:
        prompts: int64 (n, prompt length) on the model's device, no padding.
        repetition_penalty: of Keskar et al. 2019 (arXiv 1909.05858) as transformers applies it, to every token that
            occurs in prompt or continuation: several beams multiply its log-probability by the penalty; greedy search
            (one beam) multiplies its logit where that is negative and divides it where it is positive.

    Returns:
        tokens, int64 (n, new_tokens), and scores, float32 (n,), in nats: the sum of what beams are ranked by. With a
        penalty of 1 that is the continuation's log-likelihood under the model, and transformers' `sequences_scores`
        times `new_tokens`. Greedy search's score is the log-likelihood whatever the penalty. `</s>` keeps its share of
        the probability: it is banned after the normalisation.

    Raises:
        ValueError: no beam or no token asked for, a penalty that is not positive, more beams than half the vocabulary,
            or a sequence longer than the model's positions.
    """
    _check(network.config, prompts.shape[1], new_tokens, num_beams, repetition_penalty)
    banned = banned_tokens(network.config, prompts.device)
    best = _best_beams if num_beams > 1 else _best_token

    def choose(logits: Tensor, scores: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return best(logits, scores, seen, banned, num_beams, repetition_penalty)

    tokens, scores = decode(network, prompts, new_tokens, num_beams, choose)
    return tokens[:, 0], scores[:, 0]


def _best_beams(
    logits: Tensor, scores: Tensor, seen: Tensor, banned: Tensor, num_beams: int, penalty: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The `num_beams` best continuations by one token of each prompt's beams, best first.

    Args:
        logits: (n, beams, vocabulary), where beams is 1 after the prompt and `num_beams` later.
        scores: float32 (n, beams).
        seen: int64 (n, beams, length), the tokens so far.

    Returns:
        scores, parents (the beam that each continues) and tokens, all (n, num_beams).
    """
    # Each beam has at most num_beams tokens among the best; transformers takes twice as many, for beams that end.
    if kernels.serve(logits.dtype, logits.device):
        found = kernels.best_tokens(logits, seen if penalty != 1.0 else None, penalty, banned, num_beams)
        values, tokens = (each.view(*logits.shape[:2], num_beams) for each in found)
    else:
        ranked = torch.log_softmax(logits, -1, dtype=torch.float32)
        if penalty != 1.0:
            penalise(ranked, seen, penalty)
        ranked.index_fill_(-1, banned, -torch.inf)
        values, tokens = _top_k(ranked, num_beams)
    best, index = (scores[..., None] + values).flatten(1).topk(num_beams)
    return best, index // num_beams, tokens.flatten(1).gather(1, index)


def _best_token(
    logits: Tensor, scores: Tensor, seen: Tensor, banned: Tensor, num_beams: int, penalty: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Greedy search; arguments and results as in `_best_beams`, with one beam."""
    ranked = logits.to(torch.float32, copy=True)
    if penalty != 1.0:
        penalise(ranked, seen, penalty)
    ranked.index_fill_(-1, banned, -torch.inf)
    tokens = ranked.argmax(-1)
    log_probabilities = torch.log_softmax(logits, -1, dtype=torch.float32)
    return scores + log_probabilities.gather(-1, tokens[..., None])[..., 0], torch.zeros_like(tokens), tokens


def _top_k(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest along the last dimension and their indices, in two levels: the k largest lie in the k groups with
    the largest maxima, and maxima of groups are cheap where a top-k over a vocabulary of 50,000 is not."""
    size = values.shape[-1]
    if size % TOP_K_GROUP or size // TOP_K_GROUP < k:
        return values.topk(k)
    groups = size // TOP_K_GROUP  # group g holds the indices g, g + groups, g + 2 * groups, ...
    grouped = values.unflatten(-1, (TOP_K_GROUP, groups))
    chosen = grouped.amax(-2).topk(k).indices
    candidates = grouped.gather(-1, chosen[..., None, :].expand(*chosen.shape[:-1], TOP_K_GROUP, k)).flatten(-2)
    best, index = candidates.topk(k)
    return best, index // k * groups + chosen.gather(-1, index % k)


def _check(config: OPTConfig, prompt_length: int, new_tokens: int, num_beams: int, penalty: float) -> None:
    if num_beams < 1:
        raise ValueError(f"num_beams is {num_beams}, must be at least 1")
    if 2 * num_beams > config.vocab_size:
        raise ValueError(f"num_beams is {num_beams}, must be at most half the vocabulary of {config.vocab_size}")
    check_length(config, prompt_length, new_tokens, penalty)
