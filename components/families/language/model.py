"""The model of the language experiments: OPT by name or from a folder, written and read again (section 5.2).

The paper fine-tunes `facebook/opt-125m`. Weights are read and written as safetensors only: a pickle can run code.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import OPTForCausalLM
from transformers.utils import logging

from components.families.language.architecture import ModelSize
from components.families.language.checkpoint import by_name, check_weights, configuration, locate, weight_files

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)


def load(name: Path | str, dropout: float | None = None) -> OPTForCausalLM:
    """The model in a folder, or of a name on the Hub (downloaded unless cached), in fp32 on the CPU, in eval mode.

    Raises:
        BadInput: as `check`.
    """
    files = locate(str(name), download=True)
    assert files.weights is not None
    config = configuration(str(name), files.config)
    check_weights(str(name), config, files.weights)
    # Names code of the model's author: never run here, and not handed on to those who load what is made of this model.
    vars(config).pop("auto_map", None)
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
    with no_progress_bars():
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
        attention_dropout=config.attention_dropout,
        layerdrop=config.layerdrop,
    )


def weights_digest(name: str, setting: str = "model.name") -> str:
    """SHA-256 over configuration and weights of a model, the same whether it lies in a folder, a cache or on the Hub.

    Raises:
        BadInput: as `check`.
    """
    files = locate(name, download=False, setting=setting)
    digests = {file.name: _sha256(file) for file in weight_files(files.weights)} if files.weights else files.digests
    lines = [f"{file} {digests[file]}\n" for file in sorted(digests)]
    return hashlib.sha256("".join([*lines, _sha256(files.config)]).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Without transformers' own bars over weights, of which there is one for each model that is read or written."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
