"""Small models with random weights that embed text, each in a folder with a tokenizer."""

from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import torch
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from components.corpus.sources import Texts
from components.corpus.tokenizer import train_tokenizer

ENTRIES, POSITIONS = 300, 24
TEXTS = [text[:120] for _, text in sorted(topics.items())[:10]] + ["a"]


def gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=ENTRIES, bos_token_id=2, eos_token_id=2, n_positions=POSITIONS, n_embd=16, n_layer=2, n_head=2
        )
    )


def opt() -> PreTrainedModel:
    return OPTForCausalLM(
        OPTConfig(
            vocab_size=ENTRIES, hidden_size=16, word_embed_proj_dim=16, num_hidden_layers=2, ffn_dim=32,
            num_attention_heads=2, max_position_embeddings=POSITIONS,
        )
    )  # fmt: skip


def bert() -> PreTrainedModel:
    return BertModel(
        BertConfig(
            vocab_size=ENTRIES, hidden_size=16, num_hidden_layers=2, intermediate_size=32, num_attention_heads=2,
            max_position_embeddings=POSITIONS,
        ),
        add_pooling_layer=False,
    )  # fmt: skip


def t5() -> PreTrainedModel:
    return T5ForConditionalGeneration(
        T5Config(vocab_size=ENTRIES, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    )


def saved(model: Callable[[], PreTrainedModel], folder: Path) -> Path:
    """A model with random weights, such that its states are far from equal, and a tokenizer."""
    torch.manual_seed(0)
    made = model()
    with torch.no_grad():
        for weight in made.parameters():
            if weight.dim() == 2:
                weight.normal_(0, 0.3)
    made.save_pretrained(folder)
    train_tokenizer(Texts("topics", "line", (), tuple(TEXTS), (), ()), ENTRIES).save_pretrained(folder)
    return folder
