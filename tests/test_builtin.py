"""The base model that ships: it is what its card says, small enough to be committed, and `-e pretrain` makes it again."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

from components import builtin
from components.config import pretrain as config
from components.corpus import documentation, pretraining
from components.corpus.blocks import cut, tokenise
from components.corpus.tokenizer import digest, load_tokenizer
from components.families.language import architecture
from components.families.language import model as opt
from components.families.language.perplexity import perplexity, token_losses
from components.families.language.pretraining import Schedule, train_part
from components.recursion.peers import Peers

CARD = (builtin.FOLDER / "README.md").read_text()
MOST_BYTES = 16 * 2**20
LOSS_TOLERANCE = 0.02
"""In nats a token, of a mean over a twentieth of the training: other processors round otherwise."""


def of_card(name: str) -> list[str]:
    """The cells of a row of the card's tables."""
    (row,) = re.findall(rf"^\| {re.escape(name)}[^|]* \|(.*)\|$", CARD, re.MULTILINE)
    return [cell.strip() for cell in row.split("|")]


def settings() -> config.PretrainSettings:
    return config.load(["--preset", "builtin"])


def size() -> architecture.ModelSize:
    of = settings()
    return architecture.ModelSize(
        of.vocabulary_size, of.hidden_size, of.layers, of.heads, of.ffn_size, of.positions, of.dropout
    )


def test_its_weights_are_bf16_safetensors_and_all_of_it_is_small() -> None:
    assert sum(file.stat().st_size for file in builtin.FOLDER.iterdir()) < MOST_BYTES
    with safe_open(builtin.FOLDER / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118
    assert opt.check(builtin.NAME) == size()


def test_its_tokenizer_is_the_one_that_its_card_names() -> None:
    tokenizer = load_tokenizer(builtin.NAME)
    assert digest(tokenizer) in CARD
    assert len(tokenizer) == settings().vocabulary_size


@pytest.mark.parametrize(("every", "tolerance"), [(32, 0.1), pytest.param(1, 0.01, marks=pytest.mark.slow)])
def test_its_perplexity_on_the_studys_text_is_the_one_that_its_card_states(every: int, tolerance: float) -> None:
    """Of all its blocks, or quickly of some."""
    lines = [line for text in documentation.documents([documentation.STUDY]) for line in text.splitlines(keepends=True)]
    blocks = cut(tokenise(lines, load_tokenizer(builtin.NAME)), settings().block_size, "drop_once")
    _, characters, count, _ = of_card("study")
    assert int(count.replace(",", "")) == len(blocks)
    assert int(characters.replace(",", "")) == sum(map(len, lines))
    model = opt.load(builtin.NAME).eval()
    stated = float(of_card(f"documentation of {documentation.STUDY}")[0])
    some = blocks[::every]
    assert perplexity(token_losses(model, some), some) == pytest.approx(stated, rel=tolerance)


def test_every_package_that_it_read_is_on_its_card_with_its_licence() -> None:
    for package, licence in documentation.PRETRAINING.items():
        assert of_card(package)[1] == licence


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_same_command_reads_the_same_text_and_begins_with_the_same_losses(tmp_path: Path) -> None:
    """A twentieth of the training, from random weights."""
    of = settings()
    text, out = tmp_path / "text", tmp_path / "part"
    text.mkdir()
    out.mkdir()
    pretraining.prepare(of.vocabulary_size, of.block_size, of.blocks, text)
    blocks = pretraining.load(text)
    for split in pretraining.SPLITS:
        assert of_card(split)[3] == f"`{blocks.digests[split]}`", split
    schedule = Schedule(of.epochs, of.learning_rate, of.weight_decay, of.batch_size, of.warm_up)
    train_part(
        size(), blocks.train, schedule, "fp32", 0, of.parts, None, out, of.seed, Peers(), lambda done, total: None
    )
    ours = pd.read_parquet(out / "losses.parquet")["loss"]
    stated = pd.read_parquet(builtin.FOLDER / "losses.parquet")["loss"][: len(ours)]
    assert np.mean(ours) == pytest.approx(np.mean(stated), abs=LOSS_TOLERANCE)
