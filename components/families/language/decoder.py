"""Text of a fixed length from many prompts at once: what beam search and sampling have in common.

Several sequences a prompt, `width` of them, advance by a token a step; which tokens, `Choose` says. Nothing is copied: a
prompt is read once for all its sequences, and a mask says which tokens are a sequence's ancestors (ancestry.py). The weights
are packed for the processor (network.py), and what lies between the matrix products is compiled for it (native/).
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from transformers import OPTConfig, OPTForCausalLM

from components.families.language.ancestry import Ancestry
from components.families.language.architecture import ModelSize, parameter_count, size_of
from components.families.language.memory import needed_to_write, prompt_memory
from components.families.language.network import Network, side_by_side
from components.families.memory import planned_memory

PROMPTS_AT_ONCE = {"cpu": 64, "cuda": 256}
"""Decoded together by a thread or a GPU, where there is memory: on a CPU within 5 % of the fastest of 16 to 128, at the
laptop's size and at OPT-125m's; on a GPU not measured yet."""

Choose = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Called with logits (n, 1 after the prompt and `width` later, vocabulary), scores float32 (n, as many) and the tokens so far,
int64 (n, as many, length); gives the scores, the sequence each goes on from, and the new tokens, all (n, width)."""

Write = Callable[[Network, Tensor, slice], tuple[Tensor, Tensor]]
"""Called with a batch of prompts, int64 (b, length), and its place among all; gives tokens (b, ...) and scores (b, ...)."""


def in_batches(
    model: OPTForCausalLM,
    prompts: np.ndarray,
    new_tokens: int,
    width: int,
    batch_size: int | None,
    progress: Callable[[int, int], None],
    write: Write,
) -> tuple[np.ndarray, np.ndarray]:
    """What `write` makes of all prompts, int32 (n, length), a batch at a time; `batch_size` None for `prompts_at_once`.

    Raises:
        ValueError: a batch size below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, must be at least 1")
    network = Network(model)
    size = batch_size or prompts_at_once(
        size_of(network.config), network.dtype, network.device, prompts.shape[1], new_tokens, width
    )

    def written(start: int) -> tuple[np.ndarray, np.ndarray]:
        rows = slice(start, min(start + size, len(prompts)))
        batch = torch.from_numpy(prompts[rows].astype(np.int64)).to(network.device)
        tokens, scores = write(network, batch, rows)
        return tokens.cpu().numpy().astype(np.int32), scores.cpu().numpy()

    parts, done = [], 0
    for part in side_by_side(written, range(0, len(prompts), size), network.device):
        parts.append(part)
        done += len(part[0])
        progress(done, len(prompts))
    if not parts:
        return np.empty((0, new_tokens), np.int32), np.empty(0, np.float32)
    return np.concatenate([tokens for tokens, _ in parts]), np.concatenate([scores for _, scores in parts])


def prompts_at_once(
    size: ModelSize,
    dtype: torch.dtype,
    device: torch.device,
    prompt_length: int,
    new_tokens: int,
    width: int,
    needed: int = 0,
) -> int:
    """As many prompts as are fast together and fit into the memory that a worker may plan with, all threads' batches included.

    Args:
        needed: bytes that the worker holds at least, at other times too: fewer workers share the machine where that is much.
    """
    precision = "bf16" if dtype == torch.bfloat16 else "fp32"
    need = needed_to_write(size, parameter_count(size), precision, prompt_length, new_tokens, width, device.type)
    held = need.gpu_memory if device.type == "cuda" else need.memory
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    a_prompt = threads * prompt_memory(size, dtype.itemsize, prompt_length, new_tokens, width)
    fitting = 1 + (planned_memory(device, max(needed, held)) - held) // a_prompt
    return max(1, min(PROMPTS_AT_ONCE[device.type], fitting))


@torch.inference_mode()
def decode(network: Network, prompts: Tensor, new_tokens: int, width: int, choose: Choose) -> tuple[Tensor, Tensor]:
    """Continue every prompt of one batch, int64 (n, length) without padding, by `new_tokens` tokens, `width` times.

    Returns:
        tokens, int64 (n, width, new_tokens), and scores, float32 (n, width), as `choose` left them.
    """
    count, prompt_length = prompts.shape
    first_row = torch.arange(count, device=prompts.device)[:, None] * width
    ancestry = Ancestry(network, count, prompt_length, new_tokens, width)

    logits = network.logits(network.hidden(prompts, slice(0, prompt_length), ancestry.attend_prompt))
    sequences = torch.empty(count * width, prompt_length + new_tokens, dtype=torch.int64, device=prompts.device)
    sequences[:, :prompt_length] = prompts.repeat_interleave(width, 0)
    scores = torch.zeros(count, 1, dtype=torch.float32, device=prompts.device)
    for length in range(prompt_length, prompt_length + new_tokens):
        seen = sequences.view(count, width, -1)[:, : logits.shape[1], :length]
        scores, parents, tokens = choose(logits, scores, seen)
        sequences = sequences.index_select(0, (first_row + parents).flatten())
        sequences[:, length] = tokens.flatten()
        if length + 1 < prompt_length + new_tokens:
            ancestry.branch(parents)
            logits = network.logits(network.hidden(tokens, slice(length, length + 1), ancestry.attend_beams))
    assert scores.shape == (count, width)
    return sequences.view(count, width, -1)[:, :, prompt_length:], scores


def penalise(ranked: Tensor, seen: Tensor, penalty: float) -> None:
    """Make the tokens seen before less likely, in place (Keskar et al. 2019, arXiv 1909.05858, as transformers does it)."""
    values = ranked.gather(-1, seen)
    ranked.scatter_(-1, seen, torch.where(values < 0, values * penalty, values / penalty))


def banned_tokens(config: OPTConfig, device: torch.device) -> Tensor:
    """`</s>`, int64: what a fixed length bans."""
    ids: list[int] | int | None = config.eos_token_id
    return torch.tensor(
        ids if isinstance(ids, list) else [] if ids is None else [ids], dtype=torch.int64, device=device
    )


def check_length(config: OPTConfig, prompt_length: int, new_tokens: int, penalty: float) -> None:
    if prompt_length < 1 or new_tokens < 1:
        raise ValueError(f"a prompt of {prompt_length} and {new_tokens} new tokens: both must be at least 1")
    if prompt_length + new_tokens > config.max_position_embeddings:
        raise ValueError(
            f"a prompt of {prompt_length} and {new_tokens} new tokens exceed "
            f"the model's {config.max_position_embeddings} positions"
        )
    if not penalty > 0:
        raise ValueError(f"repetition_penalty is {penalty}, must be positive")
