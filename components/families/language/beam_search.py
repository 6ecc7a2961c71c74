"""Exact beam search of a fixed length: how the paper makes each generation's data (section 5.2, five beams, 64 tokens).

Same tokens as transformers' `generate(num_beams=..., min_new_tokens=max_new_tokens=new_tokens)`, several times as fast,
because nothing is copied: a prompt is read once for all its beams, and a mask says which tokens are a beam's ancestors
(ancestry.py). The weights are packed for the processor (network.py), and what lies between the matrix products is compiled
for it (native/).
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from transformers import OPTConfig, OPTForCausalLM

from components.families.device import planned_memory
from components.families.language import kernels
from components.families.language.ancestry import Ancestry
from components.families.language.network import Network, side_by_side

TOP_K_GROUP = 32
PROMPTS_AT_ONCE = {"cpu": 64, "cuda": 256}
"""Decoded together by a thread or a GPU, where there is memory: on a CPU within 5 % of the fastest of 16 to 128, at the
laptop's size and at OPT-125m's; on a GPU not measured yet."""


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
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, must be at least 1")
    _check(model.config, prompts.shape[1], new_tokens, num_beams, repetition_penalty)
    network = Network(model)
    size = batch_size or prompts_at_once(network, prompts.shape[1], new_tokens, num_beams)
    tokens = np.empty((len(prompts), new_tokens), np.int32)
    scores = np.empty(len(prompts), np.float32)

    def write(start: int) -> int:
        rows = slice(start, min(start + size, len(prompts)))
        batch = torch.from_numpy(prompts[rows].astype(np.int64)).to(network.device)
        best, score = beam_search(
            network, batch, new_tokens=new_tokens, num_beams=num_beams, repetition_penalty=repetition_penalty
        )
        tokens[rows], scores[rows] = best.cpu().numpy(), score.cpu().numpy()
        return len(batch)

    done = 0
    for count in side_by_side(write, range(0, len(prompts), size), network.device):
        done += count
        progress(done, len(prompts))
    return tokens, scores


def prompts_at_once(network: Network, prompt_length: int, new_tokens: int, num_beams: int) -> int:
    """As many prompts as are fast together and fit into the memory that a process may plan with, all threads' batches included."""
    config, device = network.config, network.device
    slots = prompt_length + (new_tokens - 1) * num_beams
    cached = 2 * config.num_hidden_layers * slots * config.hidden_size
    passing = num_beams * config.vocab_size + 2 * prompt_length * (4 * config.hidden_size + config.ffn_dim)
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    fitting = planned_memory(device) // (threads * network.dtype.itemsize * (cached + passing))
    return max(1, min(PROMPTS_AT_ONCE[device.type], fitting))


@torch.inference_mode()
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
    count, prompt_length = prompts.shape
    _check(network.config, prompt_length, new_tokens, num_beams, repetition_penalty)
    banned = torch.tensor(_separators(network.config), dtype=torch.int64, device=prompts.device)
    first_row = torch.arange(count, device=prompts.device)[:, None] * num_beams
    ancestry = Ancestry(network, count, prompt_length, new_tokens, num_beams)

    logits = network.logits(network.hidden(prompts, slice(0, prompt_length), ancestry.attend_prompt))
    sequences = torch.empty(count * num_beams, prompt_length + new_tokens, dtype=torch.int64, device=prompts.device)
    sequences[:, :prompt_length] = prompts.repeat_interleave(num_beams, 0)
    scores = torch.zeros(count, 1, dtype=torch.float32, device=prompts.device)
    for length in range(prompt_length, prompt_length + new_tokens):
        seen = sequences.view(count, num_beams, -1)[:, : logits.shape[1], :length]
        choose = _best_beams if num_beams > 1 else _best_token
        scores, parents, tokens = choose(logits, scores, seen, banned, num_beams, repetition_penalty)
        sequences = sequences.index_select(0, (first_row + parents).flatten())
        sequences[:, length] = tokens.flatten()
        if length + 1 < prompt_length + new_tokens:
            ancestry.branch(parents)
            logits = network.logits(network.hidden(tokens, slice(length, length + 1), ancestry.attend_beams))
    best = sequences.view(count, num_beams, -1)[:, 0, prompt_length:]
    assert best.shape == (count, new_tokens)
    assert scores.shape == (count, num_beams)
    return best, scores[:, 0]


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
            _penalise(ranked, seen, penalty)
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
        _penalise(ranked, seen, penalty)
    ranked.index_fill_(-1, banned, -torch.inf)
    tokens = ranked.argmax(-1)
    log_probabilities = torch.log_softmax(logits, -1, dtype=torch.float32)
    return scores + log_probabilities.gather(-1, tokens[..., None])[..., 0], torch.zeros_like(tokens), tokens


def _penalise(ranked: Tensor, seen: Tensor, penalty: float) -> None:
    """Make the tokens seen before less likely, in place."""
    values = ranked.gather(-1, seen)
    ranked.scatter_(-1, seen, torch.where(values < 0, values * penalty, values / penalty))


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


def _separators(config: OPTConfig) -> list[int]:
    ids: list[int] | int | None = config.eos_token_id
    return ids if isinstance(ids, list) else [] if ids is None else [ids]


def _check(config: OPTConfig, prompt_length: int, new_tokens: int, num_beams: int, penalty: float) -> None:
    if num_beams < 1:
        raise ValueError(f"num_beams is {num_beams}, must be at least 1")
    if 2 * num_beams > config.vocab_size:
        raise ValueError(f"num_beams is {num_beams}, must be at most half the vocabulary of {config.vocab_size}")
    if prompt_length < 1 or new_tokens < 1:
        raise ValueError(f"a prompt of {prompt_length} and {new_tokens} new tokens: both must be at least 1")
    if prompt_length + new_tokens > config.max_position_embeddings:
        raise ValueError(
            f"a prompt of {prompt_length} and {new_tokens} new tokens exceed "
            f"the model's {config.max_position_embeddings} positions"
        )
    if not penalty > 0:
        raise ValueError(f"repetition_penalty is {penalty}, must be positive")
