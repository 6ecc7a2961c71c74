"""Where a pretrained model lies (a folder, the Hub's cache, the Hub) and whether it is whole, before any weight is read.

The Hub has `facebook/opt-125m` as a pickle, which can run code when it is read, and its safetensors in a pull request
of the Hub's own conversion bot: that is the revision used here, as by transformers.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError, safe_open
from transformers import OPTConfig, OPTForCausalLM

from components.builtin import folder_of
from components.config.errors import BadInput
from components.corpus import hub

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
CONVERSION = ("SFconvertbot", "Adding `safetensors` variant of this model")
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Checkpoint:
    """`weights` is a folder with safetensors, or None where they are on the Hub only: then `digests` holds their SHA-256."""

    config: Path
    weights: Path | None
    digests: Mapping[str, str] = field(default_factory=dict)


def locate(name: str, download: bool, setting: str = "model.name") -> Checkpoint:
    """Find a model by folder, `builtin`, in the Hub's cache, or on the Hub; its weights are fetched from there if `download`.

    `setting` is what gave the name.

    Raises:
        BadInput: nothing there, the Hub out of reach, or no safetensors.
    """
    folder = Path(folder_of(name)).expanduser()
    if folder.is_dir():
        _check_listing(setting, name, [file.name for file in folder.iterdir()], "in this folder")
        return Checkpoint(folder / "config.json", folder)
    if folder.exists():
        raise BadInput(setting, name, "is a file; give the folder that holds config.json and model.safetensors")
    if not HUB_NAME.fullmatch(name):
        raise BadInput(setting, name, "no such folder")
    return _cached(name) or _on_hub(setting, name, download)


def _cached(name: str) -> Checkpoint | None:
    """A model in the Hub's cache. Its configuration and its weights may be of different revisions there, since
    transformers asks the conversion bot's pull request for the weights only."""
    repository = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    references = sorted((repository / "refs").rglob("*"), key=lambda path: (path.name != "main", path))
    snapshots = [repository / "snapshots" / path.read_text().strip() for path in references if path.is_file()]
    config = next((folder / "config.json" for folder in snapshots if (folder / "config.json").is_file()), None)
    weights = next((folder for folder in snapshots if weight_files(folder)), None)
    return Checkpoint(config, weights) if config and weights else None


def _on_hub(setting: str, name: str, download: bool) -> Checkpoint:
    if not hub.reachable():  # asked first: the Hub's libraries retry for half a minute
        raise BadInput(
            setting,
            name,
            "no such folder, not in the Hugging Face cache, and the Hub does not answer; "
            f"put a local folder in {setting}, or use preset=laptop, which downloads nothing",
        )
    api = HfApi()
    try:
        revision = "main"  # by its name, not by its commit: the cache finds names
        info = api.model_info(name, revision=revision, files_metadata=True, timeout=hub.SECONDS)
        if not _has_weights(file.rfilename for file in info.siblings or ()):
            revision = _conversion(api, name) or revision
            info = api.model_info(name, revision=revision, files_metadata=True, timeout=hub.SECONDS)
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise BadInput(
            setting, name, f"the Hub refuses it (status {status}); give a public model or a local folder"
        ) from None
    siblings = {file.rfilename: file for file in info.siblings or ()}
    _check_listing(setting, name, siblings, "on the Hub")
    weights = [WEIGHTS] if WEIGHTS in siblings else [file for file in siblings if SHARD.fullmatch(file)]
    config = Path(hf_hub_download(name, "config.json", revision=revision))
    if not download:
        large = {file: siblings[file].lfs for file in weights}
        return Checkpoint(config, None, {file: entry.sha256 for file, entry in large.items() if entry})
    for file in weights if WEIGHTS in siblings else [INDEX, *weights]:
        hf_hub_download(name, file, revision=revision)
    return Checkpoint(config, config.parent)


def _conversion(api: HfApi, name: str) -> str | None:
    """The revision in which the Hub's bot offers a pickled model as safetensors; anybody may write under its title."""
    for discussion in api.get_repo_discussions(name, author=CONVERSION[0], discussion_type="pull_request"):
        if (discussion.author, discussion.title, discussion.status) == (*CONVERSION, "open"):
            return discussion.git_reference
    return None


def _check_listing(setting: str, name: str, files: Iterable[str], where: str) -> None:
    files = list(files)
    if "config.json" not in files:
        raise BadInput(setting, name, f"no config.json {where}; give a model as save_pretrained writes it")
    if _has_weights(files):
        return
    pickles = sorted(file for file in files if file.endswith(PICKLES))
    if pickles:
        raise BadInput(
            setting,
            name,
            f"only pickled weights {where} ({', '.join(pickles)}), which could run code; convert them to {WEIGHTS}",
        )
    raise BadInput(setting, name, f"no weights {where}; {WEIGHTS} is needed")


def _has_weights(files: Iterable[str]) -> bool:
    return not {WEIGHTS, INDEX}.isdisjoint(files)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model, or nothing where one is missing.

    Raises:
        BadInput: the index of its shards names none.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        return []
    try:
        names = {str(name) for name in json.loads((folder / INDEX).read_text())["weight_map"].values()}
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError):
        remedy = f"its {INDEX} has no weight_map as save_pretrained writes it; copy it again"
        raise BadInput("model.name", folder, remedy) from None
    return sorted(folder / name for name in names) if all((folder / name).is_file() for name in names) else []


def configuration(name: str, path: Path) -> OPTConfig:
    try:
        kind = json.loads(path.read_text()).get("model_type")
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError):
        raise BadInput("model.name", name, "its config.json is not a JSON object; give an OPT") from None
    if kind != "opt":
        raise BadInput("model.name", name, f"its config.json says model_type {kind!r}; give an OPT")
    try:
        config = OPTConfig.from_json_file(path)
        with torch.device("meta"):
            OPTForCausalLM(config)
    except Exception as error:  # whatever of Python's own errors an odd value provokes in transformers
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
        raise BadInput("model.name", name, f"its config.json makes no OPT: {reason}") from None
    return config


def check_weights(name: str, config: OPTConfig, folder: Path) -> None:
    """Hold names and shapes in the files' headers against those that the configuration asks for."""
    files = weight_files(folder)
    if not files:
        raise BadInput("model.name", name, f"a file that {INDEX} names is missing; copy all of them")
    present: dict[str, list[int]] = {}
    for file in files:
        try:
            with safe_open(file, "pt") as tensors:
                present |= {key: tensors.get_slice(key).get_shape() for key in tensors.keys()}  # noqa: SIM118
        except SafetensorError:
            raise BadInput("model.name", name, f"{file.name} is not a whole safetensors file; copy it again") from None
    present = by_name(config, present)
    with torch.device("meta"):
        asked = {key: list(tensor.shape) for key, tensor in OPTForCausalLM(config).state_dict().items()}
    wrong = sorted(key for key, shape in asked.items() if present.get(key) != shape)
    if wrong:
        raise BadInput(
            "model.name",
            name,
            f"{len(wrong)} of its weights are missing or of another shape than config.json says, such as {wrong[0]}",
        )


def by_name(config: OPTConfig, entries: dict[str, Entry]) -> dict[str, Entry]:
    """A checkpoint's entries under the names that `OPTForCausalLM` has for them.

    Meta's own checkpoints hold the bare decoder; and of a tied embedding safetensors hold one name only, whichever
    their writer chose (transformers issue 43159: OPT-125m came back without its embedding).
    """
    entries = {re.sub("^decoder", "model.decoder", key): entry for key, entry in entries.items()}
    embedding, output = "model.decoder.embed_tokens.weight", "lm_head.weight"
    if config.tie_word_embeddings and (embedding in entries or output in entries):
        # Written twice they are the same; the embedding is the one that counts.
        entries[embedding] = entries[output] = entries[embedding if embedding in entries else output]
    return entries
