"""Token-level editing: text that is passed on but for the tokens that a model finds too easy, which it draws anew.

ToEdit, Zhu et al. 2024 (arXiv 2412.14689, algorithm 1): a token whose probability given the text before it exceeds a
threshold is drawn from the model's distribution, every other one stays. The text before it is the text as it was.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from transformers import OPTForCausalLM

from components.families.device import device_of_sums
from components.families.language.decoder import in_batches
from components.families.language.network import Network, causal
from components.families.language.sampling import drawn_tokens

PROBABILITIES_AT_ONCE = 2**22


def edit_blocks(
    model: OPTForCausalLM,
    blocks: np.ndarray,
    numbers: np.ndarray,
    threshold: float,
    *,
    known: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[np.ndarray, np.ndarray]:
    """The blocks with those tokens drawn anew whose probability exceeds `threshold`; the first of a block stays.

    Args:
        model: on any device, in any floating type.
        blocks: int32 (n, length).
        numbers: float32 (n, length), each evenly distributed from 0 to 1: what is drawn goes by them alone.
        known: the tokenizer's entries; of a model's further rows none is drawn.
        progress: called with (blocks done, n) after every batch.

    Returns:
        blocks, int32 (n, length), and scores, float32 (n,): the log-likelihood of the blocks as they were, in nats.
    """

    def edit(network: Network, ids: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        drawn = torch.from_numpy(numbers[rows]).to(network.device)
        return _edited(network, ids, drawn, threshold, known)

    at_once = max(1, PROBABILITIES_AT_ONCE // (blocks.shape[1] * model.config.vocab_size))
    return in_batches(model, blocks, blocks.shape[1], 1, at_once, progress, edit)


@torch.inference_mode()
def _edited(network: Network, ids: Tensor, numbers: Tensor, threshold: float, known: int) -> tuple[Tensor, Tensor]:
    hidden = network.hidden(ids, slice(0, ids.shape[1]), causal)[:, :-1]
    probabilities = network.logits(hidden.contiguous()).softmax(-1, dtype=torch.float32)
    own = probabilities.gather(-1, ids[:, 1:, None])[..., 0]
    easy = own > threshold
    edited = ids.clone()
    where = device_of_sums(ids.device)
    cumulative = probabilities[easy][:, :known].to(where).cumsum(-1)
    edited[:, 1:][easy] = drawn_tokens(cumulative, numbers[:, 1:][easy].to(where)).to(ids.device)
    return edited, own.log().sum(1)
