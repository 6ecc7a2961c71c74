"""Dropout whose masks are a function of seed, optimiser step, block and place in the network.

torch draws masks from one stream per process, so they depend on how a batch is cut into micro-batches and shared among
workers. Here every block has masks of its own: micro-batch size, workers and ranks change rounding only. The bits come
from SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators") in integer arithmetic, so
every processor and every GPU draws the same masks; torch's generators do not promise that.
"""

import hashlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from components.recursion.family import GuardFailure

STRIDE = -0x61C8864680B583EB
FACTORS = (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)
"""SplitMix64's constants, 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9 and 0x94D049BB133111EB, as signed 64-bit integers."""
LANES, LEVELS = 4, 2**16
"""Every 64-bit word decides for four numbers, each by 16 bits: a probability is rounded to a multiple of 1 / 65,536."""


class BlockDropout(TorchFunctionMode):
    """Within this context a model's dropout, attention dropout and layer drop take the masks of these blocks.

    The first axis of a tensor that is dropped from is the blocks, alone or merged with others (OPT's feed-forward part
    sees blocks x tokens). Places are counted in the order of the calls, which a model makes in the same order for every
    micro-batch. A layer is dropped for a whole step: all micro-batches and workers drop the same ones.
    """

    def __init__(self, seed: int, step: int, rows: np.ndarray, device: torch.device) -> None:
        """Prepare the masks of one micro-batch.

        Args:
            rows: the blocks' places in the training set, (blocks,), in the micro-batch's order; at least one.
            device: where the model is.
        """
        super().__init__()
        self._blocks = torch.tensor([_key(seed, step, int(row)) for row in rows], device=device)
        self._layers = torch.tensor(_key(seed, step))
        self._places = 0

    def __torch_function__(
        self, function: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        if function in (functional.dropout, torch.dropout):
            return self._dropout(*args, **{"training" if name == "train" else name: given[name] for name in given})
        if function is functional.scaled_dot_product_attention:
            return self._attention(*args, **given)
        if function is torch.rand and args in (([],), ((),)):
            return _uniform(_mixed(self._layers + self._place()))
        return function(*args, **given)

    def __enter__(self) -> "BlockDropout":
        self._before = _torchs_own(self._blocks.device)
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the context.

        Raises:
            GuardFailure: the model drew random numbers that are none of the above.
        """
        super().__exit__(kind, error, trace)
        if error is None and not torch.equal(self._before, _torchs_own(self._blocks.device)):
            raise GuardFailure(
                "the model draws random numbers while it is trained that are no dropout, attention dropout or layer drop: "
                "they would depend on the micro-batch; set their rate to 0 in its config.json"
            )

    def _dropout(self, values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or not 0 < p < 1:
            return functional.dropout(values, p, training, inplace)
        level = min(round(p * LEVELS), LEVELS - 1)
        dropped = torch.where(self._drawn(values.shape) >= level - LEVELS // 2, values * (LEVELS / (LEVELS - level)), 0)
        return values.copy_(dropped) if inplace else dropped

    def _attention(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
        is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    ) -> Tensor:  # fmt: skip
        """Attention by its definition where weights are dropped: none of torch's own forms takes a mask."""
        if not dropout_p:
            return functional.scaled_dot_product_attention(
                query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        if enable_gqa:
            key, value = (part.repeat_interleave(query.shape[-3] // part.shape[-3], -3) for part in (key, value))
        weights = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones(weights.shape[-2:], dtype=torch.bool, device=weights.device).tril()
        if attn_mask is not None:
            seen = attn_mask.dtype == torch.bool
            weights = weights.masked_fill(~attn_mask, -torch.inf) if seen else weights + attn_mask
        weights = functional.softmax(weights, dim=-1, dtype=torch.float32).to(query.dtype)
        return self._dropout(weights, dropout_p) @ value

    def _drawn(self, shape: torch.Size) -> Tensor:
        """Numbers of this shape, int16, each of the 65,536 equally likely."""
        blocks = len(self._blocks)
        if not shape or shape[0] % blocks:
            raise GuardFailure(
                f"dropout from a tensor of shape {tuple(shape)}, whose first axis is not the {blocks} blocks"
            )
        size = shape.numel() // blocks
        words = torch.arange(-(-size // LANES), device=self._blocks.device) * STRIDE
        starts = _mixed(self._blocks + self._place())
        return _mixed(starts[:, None] + words).view(torch.int16)[:, :size].reshape(shape)

    def _place(self) -> int:
        """What sets a place in the network apart from the others."""
        self._places += 1
        return (self._places * STRIDE + 2**63) % 2**64 - 2**63


def _key(*names: int) -> int:
    digest = hashlib.sha256(" ".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def _mixed(words: Tensor) -> Tensor:
    """SplitMix64's mixing of 64-bit words; products wrap around, shifts bring in zeros."""
    words = words ^ (words >> 30 & 2**34 - 1)
    words *= FACTORS[0]
    words ^= words >> 27 & 2**37 - 1
    words *= FACTORS[1]
    words ^= words >> 31 & 2**33 - 1
    return words


def _uniform(word: Tensor) -> Tensor:
    """A number from 0 up to but not 1 by a word's upper 24 bits, as many as a float32 has."""
    return (word >> 40 & 2**24 - 1).float() / 2**24


def _torchs_own(device: torch.device) -> Tensor:
    """The state of the generator that everything else on this device would draw from."""
    if device.type == "cuda":
        return torch.cat([torch.get_rng_state(), torch.cuda.get_rng_state(device)])
    return torch.get_rng_state()
