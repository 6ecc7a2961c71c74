"""OPT's forward pass for reading and writing text, in the form that is fastest without gradients.

Same weights, same arithmetic as transformers' module: query, key and value are one product, weights are packed once for
the processor's matrix units (oneDNN's layout, as torch.compile's freezing does), bias, ReLU and the residual are added
within the product. Attention is the caller's: over a block, or over beams and their ancestors.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import OPTForCausalLM
from transformers.models.opt.modeling_opt import OPTDecoderLayer

from components.families.language import kernels

Attend = Callable[[int, Tensor], Tensor]
"""Called with a layer's number and (n, length, 3, heads, head size): queries, keys and values of the tokens read; gives
(n, length, hidden size), or the last positions only where no others are asked for."""
Item = TypeVar("Item")
Done = TypeVar("Done")
ROWS = 160
"""Rows of the products that weights are packed for; others work too."""


class Linear:
    """x W^T + b, then ReLU, or plus a residual; W packed where there is a packing."""

    def __init__(self, *layers: nn.Linear, relu: bool = False) -> None:
        """Several layers with one input become one, their outputs side by side."""
        weight = (
            torch.cat([layer.weight.detach() for layer in layers]) if len(layers) > 1 else layers[0].weight.detach()
        )
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = torch.cat(biases) if biases else None
        self.relu = relu
        self.packed = weight.device.type == "cpu" and packs(weight.dtype)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS) if self.packed else weight

    def __call__(self, values: Tensor, residual: Tensor | None = None) -> Tensor:
        operation: Any = torch.ops.mkldnn._linear_pointwise
        if self.packed and residual is not None:
            return operation.binary(values, residual, self.weight, self.bias, "add")
        if self.packed:
            return operation(values, self.weight, self.bias, "relu" if self.relu else "none", [], "")
        out = functional.linear(values, self.weight, self.bias)
        if residual is not None:
            return residual + out
        return out.relu() if self.relu else out


@dataclass(frozen=True)
class Layer:
    """One decoder layer: attention, then feed-forward, each with its norm (before it; after it in OPT-350m)."""

    norm_first: bool
    attention_norm: nn.LayerNorm
    project: Linear
    merge: Linear
    feed_forward_norm: nn.LayerNorm
    widen: Linear
    activation: Callable[[Tensor], Tensor]
    narrow: Linear

    @classmethod
    def of(cls, layer: OPTDecoderLayer) -> "Layer":
        attention = layer.self_attn
        relu = isinstance(layer.activation_fn, nn.ReLU)
        return cls(
            layer.do_layer_norm_before,
            layer.self_attn_layer_norm,
            Linear(attention.q_proj, attention.k_proj, attention.v_proj),
            Linear(attention.out_proj),
            layer.final_layer_norm,
            Linear(layer.fc1, relu=relu),
            _unchanged if relu else layer.activation_fn,
            Linear(layer.fc2),
        )

    def __call__(self, hidden: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
        """(n, length, hidden size), or as many of the last positions as `attend` gives."""
        attended = attend(self.project(self.attention_norm(hidden) if self.norm_first else hidden))
        hidden = self.merge(attended, hidden[:, -attended.shape[1] :].contiguous())
        if not self.norm_first:
            hidden = self.attention_norm(hidden)
        hidden = self.narrow(
            self.activation(self.widen(self.feed_forward_norm(hidden) if self.norm_first else hidden)), hidden
        )
        return hidden if self.norm_first else self.feed_forward_norm(hidden)


class Network:
    """An OPT's weights as its forward pass wants them; a copy of the matrices, so make it once for many blocks."""

    def __init__(self, model: OPTForCausalLM) -> None:
        config, decoder = model.config, model.model.decoder
        self.config, self.device, self.dtype = config, model.device, model.dtype
        self.heads, self.head_size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.tokens, self.positions = decoder.embed_tokens, decoder.embed_positions
        self.project_in, self.project_out = decoder.project_in, decoder.project_out  # in OPT-350m
        self.layers = [Layer.of(layer) for layer in decoder.layers]
        self.norm = decoder.final_layer_norm
        self.output = Linear(model.lm_head)

    def hidden(self, tokens: Tensor, positions: slice, attend: Attend) -> Tensor:
        """The last layer's output for tokens (n, length) at these positions: as many, or one for all."""
        hidden = self.tokens(tokens)
        if self.project_in is not None:
            hidden = self.project_in(hidden)
        offset = self.positions.offset
        hidden = hidden + self.positions.weight[positions.start + offset : positions.stop + offset]
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden, partial(self._attend, attend, number))
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., vocabulary) from the last layer's output."""
        if self.norm is not None:
            hidden = self.norm(hidden)
        if self.project_out is not None:
            hidden = self.project_out(hidden)
        return self.output(hidden)

    def _attend(self, attend: Attend, number: int, projected: Tensor) -> Tensor:
        return attend(number, projected.unflatten(-1, (3, self.heads, self.head_size)))


def packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN packs weights of this type for this CPU: float32 on any, bf16 only with AVX-512 or AVX-NE-CONVERT.

    On other CPUs torch multiplies bf16 without a packing, more slowly and with the same precision.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def causal(number: int, projected: Tensor) -> Tensor:
    """Attention of a block to itself."""
    if kernels.attend_over(projected.shape[-1], 1, projected.dtype, projected.device):
        return kernels.attend_causally(projected)
    query, keys, values = projected.permute(2, 0, 3, 1, 4)
    return functional.scaled_dot_product_attention(query, keys, values, is_causal=True).transpose(1, 2).flatten(2)


def side_by_side(work: Callable[[Item], Done], items: Sequence[Item], device: torch.device) -> Iterator[Done]:
    """Each item's result, in order; on a CPU each of torch's threads takes items of its own.

    A batch a thread is a quarter faster than all threads on one batch, which wait for each other after every operation.
    """
    threads = min(torch.get_num_threads(), len(items)) if device.type == "cpu" else 1
    if threads <= 1:
        yield from map(work, items)
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(work, items)
    finally:
        torch.set_num_threads(before)


def _unchanged(values: Tensor) -> Tensor:
    return values
