"""The keys and values of a batch of prompts and of their beams, of which nothing is ever copied.

Slots of a prompt: its tokens, then one for every beam's newest token. A mask says which slots are a beam's own ancestors;
a beam that goes on from another inherits that one's mask. Beams soon have most ancestors in common, and a slot that no
beam sees any more is taken again, so attention reads little more than one sequence a prompt.
"""

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from components.families.language import kernels
from components.families.language.network import Network, causal


class Ancestry:
    """What the decoder remembers of one batch; `attend_*` are the attention that `Network.hidden` asks for."""

    def __init__(self, network: Network, count: int, prompt_length: int, new_tokens: int, num_beams: int) -> None:
        slots = prompt_length + (new_tokens - 1) * num_beams
        shape = (len(network.layers), count, network.heads, slots, network.head_size)
        self.compiled = kernels.attend_over(network.head_size, num_beams, network.dtype, network.device)
        create = torch.empty if self.compiled else torch.zeros  # torch reads masked slots too: they must be numbers
        self.keys = create(shape, dtype=network.dtype, device=network.device)
        self.values = create(shape, dtype=network.dtype, device=network.device)
        self.visible = torch.zeros(count, num_beams, slots, dtype=torch.bool, device=network.device)
        self.visible[:, :, :prompt_length] = True
        self.prompt_length, self.num_beams, self.last_layer = prompt_length, num_beams, len(network.layers) - 1
        self.used = prompt_length  # no slot from here on has been written to
        self.rows = torch.arange(count, device=network.device)[:, None]
        self.bits = (1 << torch.arange(num_beams, dtype=torch.int32, device=network.device))[:, None]

    def attend_prompt(self, number: int, projected: Tensor) -> Tensor:
        """Of the prompts to themselves; of the last layer only the last position's output is needed."""
        query, keys, values = projected.permute(2, 0, 3, 1, 4)
        self.keys[number, :, :, : self.prompt_length] = keys
        self.values[number, :, :, : self.prompt_length] = values
        if number != self.last_layer:
            return causal(number, projected)
        return functional.scaled_dot_product_attention(query[:, :, -1:], keys, values).transpose(1, 2).flatten(2)

    def branch(self, parents: Tensor) -> None:
        """Every beam goes on from a beam, `parents` (n, num_beams): it sees what that one saw, and a slot of its own."""
        self.visible = self.visible[self.rows, parents]
        taken = reduce(torch.bitwise_or, self.visible[:, :, : self.used + self.num_beams].unbind(1))
        self.own = taken.to(torch.uint8).argsort(dim=1, stable=True)[:, : self.num_beams]
        self.visible.scatter_(2, self.own[..., None], True)
        self.used = taken.shape[1]
        if self.own.device.type == "cpu":  # a GPU would be waited for: there attention reads every slot ever taken
            taken.scatter_(1, self.own, True)
            self.used = int(taken.any(0).nonzero().amax()) + 1
        if self.compiled:
            self.seen = (self.visible[:, :, : self.used] * self.bits).sum(1, dtype=torch.int32)
            self.own = self.own.to(torch.int32)

    def attend_beams(self, number: int, projected: Tensor) -> Tensor:
        """Of every beam's newest token, (n, num_beams, 3, heads, head size), to its ancestors and itself."""
        keys, values = self.keys[number], self.values[number]
        if self.compiled:
            return kernels.attend(projected, keys, values, self.own, self.seen)
        keys[self.rows, :, self.own] = projected[:, :, 1]
        values[self.rows, :, self.own] = projected[:, :, 2]
        used = slice(0, self.used)
        attended = functional.scaled_dot_product_attention(
            projected[:, :, 0].transpose(1, 2), keys[:, :, used], values[:, :, used], self.visible[:, None, :, used]
        )
        return attended.transpose(1, 2).flatten(2)
