"""The shape of an OPT, what it costs by formula, and one of any size from random weights (section 5.2: OPT-125m)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import OPTConfig, OPTForCausalLM

RARE = ("attention_dropout", "layerdrop")
"""Rates that OPT's published models do not use."""


@dataclass(frozen=True)
class ModelSize:
    """An OPT's size; `positions` is the longest sequence in tokens, `vocabulary_size` the rows of the embedding.

    `dropout`, `attention_dropout` and `layerdrop` are rates while it is trained.
    """

    vocabulary_size: int
    hidden_size: int
    layers: int
    heads: int
    ffn_size: int
    positions: int
    dropout: float
    separator: int = 2
    """The id of `</s>`, which stands before every line and which no synthetic block may hold."""
    attention_dropout: float = 0.0
    layerdrop: float = 0.0

    @property
    def settings(self) -> dict[str, float]:
        """What determines a fit; attention dropout and layer drop only where there are any."""
        return {name: value for name, value in vars(self).items() if value or name not in RARE}


def size_of(config: OPTConfig) -> ModelSize:
    """The size of an OPT by its configuration."""
    return ModelSize(
        vocabulary_size=config.vocab_size,
        hidden_size=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        ffn_size=config.ffn_dim,
        positions=config.max_position_embeddings,
        dropout=config.dropout,
        separator=config.eos_token_id,
        attention_dropout=config.attention_dropout,
        layerdrop=config.layerdrop,
    )


def create(size: ModelSize, seed: int, configuration: Mapping[str, Any] | None = None) -> OPTForCausalLM:
    """An OPT with random weights; the global random state is left as it was.

    Weights are drawn as transformers draws them (normal, `init_std`), but each once: its constructor takes twice as long.

    Args:
        configuration: a named model's config.json, whose architecture is then built, with the dropout of `size`. If None,
            an OPT of this size, built as OPT-125m is.
    """
    config = _as_opt_125m(size) if configuration is None else OPTConfig(**{**configuration, "dropout": size.dropout})
    with torch.device("meta"):
        model = OPTForCausalLM(config)
    model.to_empty(device="cpu")
    model.tie_weights()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0, config.init_std)
            else:
                weight.fill_(1 if name.endswith("layer_norm.weight") else 0)
        if config.pad_token_id is not None:
            model.model.decoder.embed_tokens.weight[config.pad_token_id].zero_()
    return model


def _as_opt_125m(size: ModelSize) -> OPTConfig:
    return OPTConfig(
        vocab_size=size.vocabulary_size,
        hidden_size=size.hidden_size,
        word_embed_proj_dim=size.hidden_size,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        ffn_dim=size.ffn_size,
        max_position_embeddings=size.positions,
        dropout=size.dropout,
        attention_dropout=size.attention_dropout,
        layerdrop=size.layerdrop,
        do_layer_norm_before=True,
        pad_token_id=1,
        bos_token_id=size.separator,
        eos_token_id=size.separator,
    )


def parameter_count(size: ModelSize, configuration: Mapping[str, Any] | None = None) -> int:
    """Parameters of `create(size, ..., configuration)`; an output layer that is the embedding is counted once."""
    if configuration is not None:
        with torch.device("meta"):
            return int(OPTForCausalLM(OPTConfig(**configuration)).num_parameters())
    hidden, ffn = size.hidden_size, size.ffn_size
    embeddings = (size.vocabulary_size + size.positions + 2) * hidden  # OPT leaves its first two positions unused
    attention, feed_forward, norms = 4 * (hidden + 1) * hidden, 2 * hidden * ffn + ffn + hidden, 4 * hidden
    return embeddings + size.layers * (attention + feed_forward + norms) + 2 * hidden


def flops_per_token(size: ModelSize) -> int:
    """Floating-point operations of one token's forward pass: 2 for every weight of a matrix, the output layer included.

    The products within attention, 4 * layers * hidden_size * (tokens seen), are left out: 3 % at the laptop's size, where a token sees 32
    others on average. A training step costs three times as much (Kaplan et al. 2020, arXiv 2001.08361, table 1).
    """
    hidden = size.hidden_size
    return 2 * (size.layers * (4 * hidden * hidden + 2 * hidden * size.ffn_size) + size.vocabulary_size * hidden)
