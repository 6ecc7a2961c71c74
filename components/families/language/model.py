"""The model of the language experiments: OPT by name, from a folder, or of any size from random weights (section 5.2).

The paper fine-tunes `facebook/opt-125m`. Weights are read and written as safetensors only: a pickle can run code.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import OPTConfig, OPTForCausalLM
from transformers.utils import logging

from components.families.language.checkpoint import by_name, check_weights, configuration, locate, weight_files

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)


@dataclass(frozen=True)
class ModelSize:
    """An OPT's size; `positions` is the longest sequence in tokens, `vocabulary_size` the rows of the embedding."""

    vocabulary_size: int
    hidden_size: int
    layers: int
    heads: int
    ffn_size: int
    positions: int
    dropout: float
    separator: int = 2
    """The id of `</s>`, which stands before every line and which no synthetic block may hold."""


def create(size: ModelSize, seed: int) -> OPTForCausalLM:
    """An OPT of this size with random weights, built as OPT-125m is; the global random state is left as it was.

    Weights are drawn as transformers draws them (normal, 0.02), but each once: its constructor takes twice as long.
    """
    config = OPTConfig(
        vocab_size=size.vocabulary_size,
        hidden_size=size.hidden_size,
        word_embed_proj_dim=size.hidden_size,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        ffn_dim=size.ffn_size,
        max_position_embeddings=size.positions,
        dropout=size.dropout,
        do_layer_norm_before=True,
        pad_token_id=1,
        bos_token_id=size.separator,
        eos_token_id=size.separator,
    )
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
        model.model.decoder.embed_tokens.weight[config.pad_token_id].zero_()
    return model


def load(name: Path | str, dropout: float | None = None) -> OPTForCausalLM:
    """The model in a folder, or of a name on the Hub (downloaded unless cached), in fp32 on the CPU, in eval mode.

    Raises:
        BadInput: as `check`.
    """
    files = locate(str(name), download=True)
    assert files.weights is not None
    config = configuration(str(name), files.config)
    check_weights(str(name), config, files.weights)
    if dropout is not None:
        config.dropout = dropout
    # Not transformers' own loading: it completes a model that lacks weights with random ones, and announces itself.
    tensors = [load_file(file) for file in weight_files(files.weights)]
    weights = by_name(config, {name: tensor for part in tensors for name, tensor in part.items()})
    with torch.device("meta"):
        model = OPTForCausalLM(config)
    wanted = {name: weights[name].to(torch.float32, copy=True) for name in model.state_dict()}  # a copy, not the file
    model.load_state_dict(wanted, assign=True)
    model.tie_weights()
    return model.eval()


def save(model: OPTForCausalLM, folder: Path, tokenizer_folder: Path | None) -> None:
    """Write a folder that `AutoModelForCausalLM` and `AutoTokenizer` load: safetensors, configurations, tokenizer."""
    with _no_progress_bars():
        model.save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if tokenizer_folder is not None and (tokenizer_folder / name).is_file():
            shutil.copyfile(tokenizer_folder / name, Path(folder) / name)


def check(name: str) -> ModelSize:
    """Look at a user's model without loading it, within seconds.

    Raises:
        BadInput: no such folder or name, the Hub out of reach and nothing cached, no OPT, no weights or only pickled
            ones, or weights that are not those of its configuration.
    """
    files = locate(name, download=False)
    config = configuration(name, files.config)
    if files.weights is not None:
        check_weights(name, config, files.weights)
    return ModelSize(
        vocabulary_size=config.vocab_size,
        hidden_size=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        ffn_size=config.ffn_dim,
        positions=config.max_position_embeddings,
        dropout=config.dropout,
        separator=config.eos_token_id,
    )


def weights_digest(name: str) -> str:
    """SHA-256 over configuration and weights of a model, the same whether it lies in a folder, a cache or on the Hub.

    Raises:
        BadInput: as `check`.
    """
    files = locate(name, download=False)
    digests = {file.name: _sha256(file) for file in weight_files(files.weights)} if files.weights else files.digests
    lines = [f"{file} {digests[file]}\n" for file in sorted(digests)]
    return hashlib.sha256("".join([*lines, _sha256(files.config)]).encode()).hexdigest()


def parameter_count(size: ModelSize) -> int:
    """Parameters of `create(size, ...)`; the output layer is the embedding, counted once."""
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
