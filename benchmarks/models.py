"""The models that speeds are measured on: random weights, as sure of their words as trained ones."""

import numpy as np
import torch
from transformers import OPTForCausalLM

from components.families.language import architecture

PROMPT, NEW, BEAMS = 64, 64, 5
SIZES = {
    "OPT-125m": architecture.ModelSize(50272, 768, 12, 12, 3072, 2048, 0.0),
    "between": architecture.ModelSize(8192, 256, 6, 8, 1024, 128, 0.0),
    "laptop": architecture.ModelSize(2048, 128, 3, 4, 512, 128, 0.0),
}
SURENESS = 6.0
"""Random weights give every word nearly the same probability; six times as large logits give the best beams two to three
nats a token, as text has, and hardly any ties, which rounding would decide."""


def create(name: str) -> OPTForCausalLM:
    model = architecture.create(SIZES[name], seed=0).eval()
    with torch.no_grad():
        model.model.decoder.final_layer_norm.weight *= SURENESS
    return model


def prompts(name: str, count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(4, SIZES[name].vocabulary_size, (count, PROMPT), dtype=np.int32)


def generation_flops(size: architecture.ModelSize, sequences: int = BEAMS) -> float:
    """Of one prompt: every prompt token through the layers once, every new token of every sequence but the last ones through
    layers and output layer, attention to the tokens before it; the output layer once more after the prompt.

    2 operations a weight and token; attention 4 * layers * hidden size * tokens seen.
    """
    output = 2 * size.vocabulary_size * size.hidden_size
    layers = architecture.flops_per_token(size) - output
    seen = sum(range(1, PROMPT + 1)) + sequences * sum(PROMPT + step for step in range(1, NEW))
    attention = 4 * size.layers * size.hidden_size * seen
    return PROMPT * layers + output + sequences * (NEW - 1) * (layers + output) + attention


def scoring_flops(size: architecture.ModelSize) -> float:
    """Of one block of 64 tokens, of which the last one predicts nothing."""
    output = 2 * size.vocabulary_size * size.hidden_size
    attention = 4 * size.layers * size.hidden_size * sum(range(1, PROMPT + 1))
    return PROMPT * architecture.flops_per_token(size) - output + attention
