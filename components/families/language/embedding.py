"""Texts as vectors, by a model that the user names: what MAUVE compares (Pillutla et al. 2021, arXiv 2102.01454)."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from components.config.errors import BadInput
from components.corpus import hub
from components.corpus import tokenizer as corpus_tokenizer
from components.families.device import device
from components.families.language.checkpoint import locate
from components.families.language.model import no_progress_bars, weights_digest
from components.recursion.family import Progress

SETTING = "measure.mauve"
TOKENS_AT_ONCE = 2**11
UNUSED = "pooler."
"""Of weights that a checkpoint may lack: what some models put behind the states that are taken here."""


@dataclass(frozen=True)
class Embedder:
    """A folder or a name on the Hub; `digest` of its weights and its tokenizer, `parameters` that every token meets."""

    name: str
    digest: str
    parameters: int


def look_at(name: str) -> Embedder:
    """Whether a model can embed text. One that lies here is tried on a word, one on the Hub only asked for its configuration.

    Raises:
        BadInput: nothing there, the Hub out of reach, pickled or missing weights, no tokenizer, or an encoder with a decoder.
    """
    if Path(name).expanduser().is_dir():
        name = str(Path(name).expanduser().resolve())  # a worker has another working directory
    files = locate(name, download=False, setting=SETTING)
    try:
        config = _configuration(files.config)
        with torch.device("meta"):
            parameters = AutoModel.from_config(config, trust_remote_code=False).num_parameters(exclude_embeddings=True)
        tokenizer = _tokenizer(name)
        tried = embed(name, ["a"]) if files.weights is not None else np.zeros(1)
    except BadInput:
        raise
    except Exception as error:  # whatever an odd folder provokes in transformers and the libraries below it
        reason = " ".join(str(error).split()).partition(". ")[0] or type(error).__name__
        if "custom code" in reason:  # which the rest of the error advises to run
            reason = "works by code of its author only, which is never run here"
        raise BadInput(SETTING, name, f"{reason}; give a text model such as openai-community/gpt2") from error
    if not tokenizer("a")["input_ids"]:  # what AutoTokenizer makes of a bare config.json
        raise BadInput(SETTING, name, "no tokenizer there; give a folder with tokenizer.json beside the weights")
    if not np.isfinite(tried).all():
        raise BadInput(SETTING, name, "its embedding of a word is not finite; copy the weights again")
    digest = hashlib.sha256(f"{weights_digest(name, SETTING)}\n{_tokenizer_digest(tokenizer)}".encode()).hexdigest()
    return Embedder(name, digest, parameters)


@torch.inference_mode()
def embed(name: str, texts: Sequence[str], progress: Progress = lambda done, total: None) -> np.ndarray:
    """The last layer's state at each text's last token, in fp32; (texts, hidden size). What a model has no positions for is cut off.

    Raises:
        BadInput: weights that are not those of the model's configuration.
    """
    tokenizer, model = _tokenizer(name), _model(name)
    longest = min(
        tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", tokenizer.model_max_length)
    )
    tokens = [
        torch.tensor(ids or [0]) for ids in tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]
    ]
    states = np.empty((len(tokens), model.config.hidden_size), np.float32)
    size = max(1, TOKENS_AT_ONCE // max(map(len, tokens), default=1))
    for start in range(0, len(tokens), size):
        batch = tokens[start : start + size]
        lengths = torch.tensor([len(ids) for ids in batch])
        ids = pad_sequence(batch, batch_first=True)
        seen = torch.arange(ids.shape[1]) < lengths[:, None]
        found = model(input_ids=ids.to(device()), attention_mask=seen.long().to(device())).last_hidden_state
        states[start : start + len(batch)] = found[torch.arange(len(batch)), lengths - 1].float().cpu().numpy()
        progress(start + len(batch), len(tokens))
    return states


def _tokenizer(name: str) -> PreTrainedTokenizerBase:
    here = Path(name).is_dir() or not hub.reachable()
    return AutoTokenizer.from_pretrained(name, local_files_only=here, trust_remote_code=False)


def _tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 (hex) of what decides about a text's ids: the tokenizer, and after how many ids it cuts a text off.

    Of a tokenizer without a serialised backend: its class, its entries and its special tokens.
    """
    if isinstance(tokenizer, PreTrainedTokenizerFast):
        content: object = corpus_tokenizer.digest(tokenizer)
    else:
        content = [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items()), str(tokenizer.special_tokens_map)]
    described = json.dumps([content, tokenizer.model_max_length])
    return hashlib.sha256(described.encode()).hexdigest()


def _configuration(path: Path) -> PretrainedConfig:
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    if config.is_encoder_decoder:
        raise ValueError(f"a {config.model_type} is an encoder with a decoder, which does not end in one state a token")
    return config


def _model(name: str) -> PreTrainedModel:
    files = locate(name, download=True, setting=SETTING)
    with no_progress_bars():
        model, report = AutoModel.from_pretrained(
            files.weights,
            config=_configuration(files.config),
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    lacking = sorted(key for key in report["missing_keys"] if not key.startswith(UNUSED))  # they would be random
    if lacking:
        raise BadInput(SETTING, name, f"{len(lacking)} of its weights are missing, such as {lacking[0]}; copy it again")
    return model.to(device()).eval()
