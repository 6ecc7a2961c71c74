"""Which decoder writes a generation's data, and the proof that it is the one that ran.

Published code of this field asked for beam search and silently ran greedy decoding (docs/paper.md, traps).
"""

from dataclasses import dataclass

import numpy as np
import torch
from transformers import OPTForCausalLM

from components.families.language.beam_search import generate_blocks
from components.recursion.family import GuardFailure


@dataclass(frozen=True)
class Decoding:
    """How blocks are generated: exact beam search from every real training block (paper section 5.2)."""

    num_beams: int
    repetition_penalty: float
    precision: str
    batch_size: int | None


def guard_decoding(model: OPTForCausalLM, prompts: np.ndarray, tokens: np.ndarray, decoding: Decoding) -> None:
    """Hold the blocks written after a few prompts against transformers' own decoder, token for token in fp32.

    Args:
        prompts: int32 (n, length), the first ones of a worker's share.
        tokens: int32 (n, new tokens), what this generation wrote after them. Blocks written in bf16 differ between any
            two kernels by rounding; then our decoder is asked again in fp32.

    Raises:
        GuardFailure: not one of the blocks is the decoder's. One of them may differ: two tokens can be so close that
            rounding decides (1 in 18,000 prompts).
    """
    precise = model
    if model.dtype != torch.float32:
        precise = OPTForCausalLM(model.config).to(model.device).eval()
        precise.load_state_dict(model.state_dict())
        tokens, _ = generate_blocks(
            precise,
            prompts,
            new_tokens=tokens.shape[1],
            num_beams=decoding.num_beams,
            repetition_penalty=decoding.repetition_penalty,
            batch_size=len(prompts),
        )
    ids = torch.from_numpy(prompts.astype(np.int64)).to(model.device)
    with torch.inference_mode():
        written = precise.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            num_beams=decoding.num_beams,
            do_sample=False,
            min_new_tokens=tokens.shape[1],
            max_new_tokens=tokens.shape[1],
            repetition_penalty=decoding.repetition_penalty,
        )
    expected = written[:, prompts.shape[1] :].cpu().numpy()
    if len(prompts) and not (tokens == expected).all(axis=1).any():
        raise GuardFailure(
            f"{decoding.num_beams} beams with penalty {decoding.repetition_penalty} would not have written these blocks"
        )
