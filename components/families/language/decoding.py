"""Which decoder writes a generation's data, and the proof that it is the one that ran.

Published code of this field asked for beam search and silently ran greedy decoding (docs/paper.md, traps).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessorList, OPTForCausalLM, RepetitionPenaltyLogitsProcessor

from components.families.device import device
from components.families.language import model as opt
from components.families.language.beam_search import generate_blocks
from components.families.language.editing import edit_blocks
from components.families.language.sampling import Sampling, sample_blocks
from components.recursion.family import GuardFailure, Progress

GUARDED = 2


@dataclass(frozen=True)
class Decoding:
    """How blocks are written after real training blocks: exact beam search (paper section 5.2; one beam is greedy search), or
    with `sampling` by drawing every token; or with `edit` not at all: the blocks that the model was trained on are passed on,
    tokens of a probability above `edit` drawn anew."""

    num_beams: int
    repetition_penalty: float
    precision: str
    batch_size: int | None
    sampling: Sampling | None = None
    edit: float | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What determines the blocks; what is not asked for is not in it."""
        found: dict[str, Any] = {"repetition_penalty": self.repetition_penalty, "precision": self.precision}
        if self.edit is not None:
            return {"edit": self.edit, **found}
        if self.sampling is not None:
            return {"sampling": vars(self.sampling), **found}
        return {"num_beams": self.num_beams, **found}

    def sequences(self, best_of: int) -> int:
        """How many advance together after a prompt."""
        return 0 if self.edit is not None else best_of if self.sampling else self.num_beams

    @property
    def how(self) -> str:
        """In words."""
        if self.edit is not None:
            return f"edited above {self.edit:g}"
        if self.sampling:
            return self.sampling.how + self._penalty
        return (f"{self.num_beams} beams" if self.num_beams > 1 else "greedy search") + self._penalty

    @property
    def _penalty(self) -> str:
        return f", penalty {self.repetition_penalty:g}" if self.repetition_penalty != 1 else ""

    @property
    def random(self) -> bool:
        """Whether the same prompt may be continued in more than one way."""
        return self.sampling is not None


def write_blocks(
    folder: Path, prompts: np.ndarray, numbers: np.ndarray, decoding: Decoding, known: int, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Blocks by the model in `folder`, and the proof that they are the decoder's.

    Args:
        prompts: int32 (n, length): what is continued, or edited.
        numbers: float32 (n, candidates, length) below 1: what is drawn goes by them.
        known: the tokenizer's entries.

    Returns:
        tokens, int32 (n, candidates, length), and scores, float32 (n, candidates), in nats.

    Raises:
        GuardFailure: blocks that the decoder asked for would not have written.
    """
    dtype = torch.bfloat16 if decoding.precision == "bf16" else torch.float32
    model = opt.load(folder).to(device(), dtype).eval()
    tokens, scores = _write(model, prompts, numbers, decoding, known, decoding.batch_size, progress)
    guard_decoding(model, prompts[:GUARDED], numbers[:GUARDED], tokens[:GUARDED], decoding, known)
    return tokens, scores


def _write(
    model: OPTForCausalLM,
    prompts: np.ndarray,
    numbers: np.ndarray,
    decoding: Decoding,
    known: int,
    batch_size: int | None,
    progress: Progress = lambda done, total: None,
) -> tuple[np.ndarray, np.ndarray]:
    penalty = decoding.repetition_penalty
    if decoding.edit is not None:
        tokens, scores = edit_blocks(model, prompts, numbers[:, 0], decoding.edit, known=known, progress=progress)
    elif decoding.sampling:
        return sample_blocks(
            model,
            prompts,
            numbers,
            decoding.sampling,
            known=known,
            repetition_penalty=penalty,
            batch_size=batch_size,
            progress=progress,
        )
    else:
        tokens, scores = generate_blocks(
            model,
            prompts,
            new_tokens=numbers.shape[2],
            num_beams=decoding.num_beams,
            repetition_penalty=penalty,
            batch_size=batch_size,
            progress=progress,
        )
    return tokens[:, None], scores[:, None]


def guard_decoding(
    model: OPTForCausalLM,
    prompts: np.ndarray,
    numbers: np.ndarray,
    tokens: np.ndarray,
    decoding: Decoding,
    known: int,
) -> None:
    """Hold the blocks written after a few prompts against transformers' own decoder, token for token in fp32.

    Args:
        prompts: int32 (n, length), the first ones of a worker's share.
        numbers: float32 (n, candidates, length), what was drawn by.
        tokens: int32 (n, candidates, length), what this generation wrote after them. Blocks written in bf16 differ between
            any two kernels by rounding; then our decoder is asked again in fp32.

    Raises:
        GuardFailure: not one of the blocks is the decoder's. One of them may differ: two tokens can be so close that
            rounding decides (1 in 18,000 prompts).
    """
    if not len(prompts):
        return
    precise = model
    if model.dtype != torch.float32:
        precise = OPTForCausalLM(model.config).to(model.device).eval()
        precise.load_state_dict(model.state_dict())
        tokens, _ = _write(precise, prompts, numbers, decoding, known, len(prompts))
    expected: Callable[..., np.ndarray] = (
        _edited if decoding.edit is not None else _drawn if decoding.sampling else _searched
    )
    if not (tokens == expected(precise, prompts, numbers, tokens, decoding, known)).all(axis=-1).any():
        raise GuardFailure(f"this is not what {decoding.how} would have written")


def _searched(
    model: OPTForCausalLM, prompts: np.ndarray, numbers: np.ndarray, tokens: np.ndarray, decoding: Decoding, known: int
) -> np.ndarray:
    ids = torch.from_numpy(prompts.astype(np.int64)).to(model.device)
    with torch.inference_mode():
        written = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            num_beams=decoding.num_beams,
            do_sample=False,
            min_new_tokens=tokens.shape[2],
            max_new_tokens=tokens.shape[2],
            repetition_penalty=decoding.repetition_penalty,
        )
    return written[:, None, prompts.shape[1] :].cpu().numpy()


def _drawn(
    model: OPTForCausalLM, prompts: np.ndarray, numbers: np.ndarray, tokens: np.ndarray, decoding: Decoding, known: int
) -> np.ndarray:
    """What transformers' distribution gives at every token for the number drawn, after the tokens that were written."""
    assert decoding.sampling is not None
    count, candidates, length = tokens.shape
    before = np.repeat(prompts[:, None], candidates, axis=1)
    ids = torch.from_numpy(np.concatenate([before, tokens], axis=2).reshape(count * candidates, -1).astype(np.int64))
    processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty)])
    processors += decoding.sampling.warpers()
    found = np.empty((count * candidates, length), np.int64)
    with torch.inference_mode():
        logits = model(ids.to(model.device)).logits.float().cpu()
        logits[..., model.config.eos_token_id] = -torch.inf
        logits[..., known:] = -torch.inf
        for step in range(length):
            seen = ids[:, : prompts.shape[1] + step]
            cumulative = (
                processors(seen, logits[:, seen.shape[1] - 1]).softmax(-1).numpy().astype(np.float64).cumsum(-1)
            )
            wanted = numbers[:, :, step].reshape(-1, 1) * cumulative[:, -1:]
            found[:, step] = (cumulative <= wanted).sum(-1)
    return found.reshape(tokens.shape)


def _edited(
    model: OPTForCausalLM, blocks: np.ndarray, numbers: np.ndarray, tokens: np.ndarray, decoding: Decoding, known: int
) -> np.ndarray:
    ids = torch.from_numpy(blocks.astype(np.int64))
    with torch.inference_mode():
        probabilities = model(ids.to(model.device)).logits.float().softmax(-1).cpu().numpy()[:, :-1].astype(np.float64)
    own = np.take_along_axis(probabilities, ids.numpy()[:, 1:, None], -1)[..., 0]
    cumulative = probabilities[..., :known].cumsum(-1)
    drawn = (cumulative <= numbers[:, 0, 1:, None] * cumulative[..., -1:]).sum(-1)
    expected = blocks.copy()
    expected[:, 1:] = np.where(own > decoding.edit, drawn, blocks[:, 1:])
    return expected[:, None]
