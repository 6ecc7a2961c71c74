"""From text to token ids: a tokenizer by name or folder, or a byte-level BPE trained here with OPT's conventions.

The paper fine-tunes `facebook/opt-125m`, whose tokenizer is GPT-2's byte-level BPE with special tokens of its own:
`<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, and `</s>` put before every text.
"""

import hashlib
import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from components.builtin import folder_of
from components.config.errors import BadInput
from components.corpus import hub
from components.corpus.sources import Texts

TRAIN = "train"
OPT_IDS = ("<s>", "<pad>", "</s>", "<unk>")
RECOGNISED = ("<pad>", "</s>")  # in running text; Meta's tokenizer reads "<s>" and "<unk>" there as plain characters


def prepare_tokenizer(tokenizer: str, texts: Texts, vocabulary_size: int, folder: Path) -> PreTrainedTokenizerFast:
    """Train (`train`) or load (a folder, a name on the Hub) a tokenizer and save it in `folder` for `AutoTokenizer`.

    Returns:
        The tokenizer as it is read back from `folder`, so that nobody works with another one.

    Raises:
        BadInput: no such folder, no tokenizer in it, the Hub out of reach, or a tokenizer that cannot serve here.
    """
    made = train_tokenizer(texts, vocabulary_size) if tokenizer == TRAIN else load_tokenizer(tokenizer)
    made.init_kwargs.pop("auto_map", None)  # code of its author, not handed on to those who load what is saved here
    made.save_pretrained(folder)
    saved = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if digest(saved) != digest(made):
        raise BadInput(
            "tokenizer", tokenizer, "reads back differently once it is saved; give one that has tokenizer.json"
        )
    return saved


def train_tokenizer(texts: Texts, vocabulary_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most `vocabulary_size` entries, of the training and pretraining documents.

    The same documents give the same tokenizer: ties between pairs are broken by their ids.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(OPT_IDS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts.pretrain + texts.train, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="</s> $A", pair="</s> $A </s> $B", special_tokens=[("</s>", OPT_IDS.index("</s>"))]
    )
    content = json.loads(backend.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] in RECOGNISED]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        bos_token="</s>",
        eos_token="</s>",
        unk_token="</s>",
        pad_token="<pad>",
    )


def load_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """A tokenizer out of a folder, `builtin`, or by name from the Hub (its cache where the Hub is away); no code of others is run.

    Raises:
        BadInput: as `prepare_tokenizer`.
    """
    folder = Path(folder_of(name)).expanduser()
    if folder.is_dir():
        source, online = str(folder), False
    elif folder.exists() or name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise BadInput("tokenizer", name, "no such folder; give a tokenizer's folder, or tokenizer=train")
    else:
        source, online = name, hub.reachable()
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=not online, trust_remote_code=False)
    except Exception as error:  # a damaged tokenizer.json raises a bare Exception from the tokenizers library
        if not folder.is_dir() and not online:
            reason = "no such folder, not cached, and the Hugging Face Hub does not answer"
        elif "trust_remote_code" in str(error):  # which the error advises
            reason = "works by code of its author only, which is never run here"
        else:
            reason = " ".join(str(error).split())
        raise BadInput("tokenizer", name, f"{reason}; give tokenizer=<folder>, or preset=laptop") from error
    if not tokenizer.is_fast:
        raise BadInput("tokenizer", name, "has no fast form; give one with tokenizer.json")
    if not tokenizer("a", add_special_tokens=False)["input_ids"]:  # what AutoTokenizer makes of a bare config.json
        raise BadInput("tokenizer", name, "no tokenizer there; give a folder with tokenizer.json, or tokenizer=train")
    separator(tokenizer)
    return tokenizer


def separator(tokenizer: PreTrainedTokenizerFast) -> int:
    """The id of the token before every line (OPT's `</s>`); the end-of-text token where a tokenizer puts none.

    Raises:
        BadInput: the tokenizer has neither.
    """
    before = tokenizer("")["input_ids"]
    found = before[0] if before else tokenizer.eos_token_id
    if found is None:
        raise BadInput(
            "tokenizer", tokenizer.name_or_path, "has no end-of-text token to separate lines by; give another"
        )
    return int(found)


def vocabulary_size(tokenizer: PreTrainedTokenizerFast) -> int:
    """One more than the highest id: rows that an embedding needs for it (`len(tokenizer)` where ids have no gaps)."""
    return int(max(tokenizer.get_vocab().values())) + 1


def digest(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 (hex) of all that decides about ids: the serialised backend and the special tokens' parts."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content["truncation"] = content["padding"] = None  # a call's own, not the tokenizer's
    special = {part: str(token) for part, token in tokenizer.special_tokens_map.items()}
    return hashlib.sha256(json.dumps([content, special], sort_keys=True).encode()).hexdigest()
