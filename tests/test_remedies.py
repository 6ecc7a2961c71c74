"""Remedies in the loop: what each passes on to the next generation, against doing it again outside the loop."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet
import pytest

from components import corpus
from components.families.language import model as opt
from components.families.language.beam_search import generate_blocks
from components.families.language.decoding import Decoding
from components.families.language.family import LanguageFamily
from components.families.language.perplexity import sequence_losses, token_losses
from components.families.language.sampling import Sampling
from components.families.language.selection import Selection, kept_as_new, kept_by_surprise
from components.recursion.loop import make_chain, run_chain
from components.recursion.records import Generation
from components.regimes import FRESH, Regime
from components.store import Store, write_array
from tests.families import BLOCKS, DECODING, LENGTH, language

DRAWING = replace(DECODING, num_beams=1, sampling=Sampling(temperature=1.5))


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> LanguageFamily:
    return language(tmp_path_factory.mktemp("language"))


def run(
    family: LanguageFamily, folder: Path, generations: int = 1, regime: Regime | None = None, seed: int = 0
) -> list[Generation]:
    chain = make_chain(family, "a remedy", regime or Regime("replace"), "scratch", seed)
    return list(run_chain(chain, family, Store.open(str(folder)), generations))


def passed_on(generation: Generation) -> tuple[np.ndarray, np.ndarray]:
    """prompt_row (n,) and tokens (n, length)."""
    table = parquet.read_table(generation.directories["sample"] / "synthetic.parquet")
    tokens = table["tokens"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    return table["prompt_row"].to_numpy(), tokens


def trained_on(family: LanguageFamily, generations: list[Generation], index: int) -> np.ndarray:
    """The training blocks of a generation, by its composition."""
    frame = pd.read_parquet(generations[index].directories["compose"] / "composition.parquet")
    sets = {-1: family.corpus.train, FRESH: family.corpus.reserve}
    sets |= {source: passed_on(generations[source])[1] for source in range(index)}
    return np.array([sets[source][row] for source, row in zip(frame["source"], frame["row"], strict=True)])


def surprise(generation: Generation, blocks: np.ndarray) -> np.ndarray:
    return sequence_losses(token_losses(opt.load(generation.directories["fit"] / "model"), blocks))


def test_drawn_blocks_are_another_seeds_others_and_the_same_seeds_same(family, tmp_path):
    drawing = replace(family, decoding=DRAWING)
    first, again, other = (
        passed_on(run(drawing, tmp_path / name, 0, seed=seed)[0])[1] for name, seed in (("1", 0), ("2", 0), ("3", 1))
    )
    assert (first == again).all()
    assert (first != other).any(axis=1).mean() > 0.9
    assert len(np.unique(first, axis=0)) > 0.9 * BLOCKS


def test_of_n_candidates_the_one_that_generation_0_finds_likeliest_is_passed_on(family, tmp_path):
    one, best = (
        run(replace(family, decoding=DRAWING, selection=Selection(best_of=count)), tmp_path / str(count))
        for count in (1, 4)
    )
    for index in (0, 1):
        assert surprise(best[0], passed_on(best[index])[1]).mean() < surprise(one[0], passed_on(one[index])[1]).mean()
    assert passed_on(best[0])[0].tolist() == list(range(BLOCKS))
    assert best[0].metrics["tokens_per_second/sample"] > 0


@pytest.mark.parametrize("judge", ["generation0", "own"])
def test_the_least_and_most_surprising_blocks_are_dropped_and_the_rest_fill_the_training_set(family, tmp_path, judge):
    selection = Selection(drop_least_surprising=0.25, drop_most_surprising=0.125, judge=judge)
    generations = run(replace(family, selection=selection), tmp_path)
    for generation in generations:
        model = opt.load(generation.directories["fit"] / "model")
        written, _ = generate_blocks(model, family.corpus.train, new_tokens=LENGTH, num_beams=3, batch_size=7)
        judged_by = generations[0] if judge == "generation0" else generation
        expected = np.flatnonzero(kept_by_surprise(surprise(judged_by, written), 0.25, 0.125))
        rows, tokens = passed_on(generation)
        assert rows.tolist() == expected.tolist()
        assert (tokens == written[expected]).all()
        assert generation.metrics["synthetic/dropped"] == pytest.approx(0.375)
    times = pd.read_parquet(generations[1].directories["compose"] / "composition.parquet")["row"].value_counts()
    assert generations[1].metrics["data/rows"] == BLOCKS
    assert len(times) == len(expected) or set(times) <= {1, 2}


def test_near_duplicates_are_not_passed_on(family, tmp_path):
    plain = passed_on(run(family, tmp_path / "plain", 0)[0])[1]
    kept = passed_on(run(replace(family, selection=Selection(drop_duplicates=0.3)), tmp_path / "kept", 0)[0])
    expected = np.flatnonzero(kept_as_new(plain, 0.3))
    assert kept[0].tolist() == expected.tolist()
    assert len(expected) < BLOCKS


def test_editing_passes_on_what_the_model_was_trained_on_but_for_the_tokens_it_finds_too_easy(family, tmp_path):
    editing = replace(family, decoding=Decoding(1, 1.0, "fp32", None, edit=0.005))  # a tiny model is sure of little
    generations = run(editing, tmp_path, 2, Regime("replace", 0.25))
    for index, generation in enumerate(generations):
        before = trained_on(family, generations, index)
        rows, edited = passed_on(generation)
        assert rows.tolist() == list(range(BLOCKS))
        losses = token_losses(opt.load(generation.directories["fit"] / "model"), before)
        hard = np.exp(-losses) < 0.00499
        assert (edited[:, 0] == before[:, 0]).all()
        assert (edited[:, 1:][hard] == before[:, 1:][hard]).all()
        assert generation.metrics["synthetic/edited"] == pytest.approx((edited != before).mean())
        assert generation.metrics["synthetic/edited"] > 0


def test_fresh_blocks_come_from_the_reserve_and_each_only_once(family, tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for file in family.corpus_folder.rglob("*"):
        if file.is_file():
            target = folder / file.relative_to(family.corpus_folder)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(file.read_bytes())
    reserve = np.random.default_rng(0).integers(4, 300, (24, LENGTH), dtype=np.int32)
    write_array(folder / "reserve.npy", reserve)
    description = (folder / "corpus.json").read_text().replace('"digests": {', '"digests": {"reserve": "r",')
    (folder / "corpus.json").write_text(description)
    fresh = replace(family, corpus_folder=folder)
    assert (corpus.load(folder).reserve == reserve).all()
    generations = run(fresh, tmp_path / "store", 2, Regime("replace", 0.25, 0.25))
    seen = []
    for generation in generations[1:]:
        frame = pd.read_parquet(generation.directories["compose"] / "composition.parquet")
        seen += frame.loc[frame["source"] == FRESH, "row"].tolist()
        assert generation.metrics["data/gamma"] == pytest.approx(0.5)
    assert sorted(seen) == list(range(24))
    assert (trained_on(fresh, generations, 2)[frame["source"] == FRESH] == reserve[12:]).all()


@pytest.mark.parametrize(
    ("sample_size", "growth", "rows"),
    [(12, 0.0, [BLOCKS, 12, 12]), (None, 1.0, [BLOCKS, 2 * BLOCKS, 3 * BLOCKS]), (24, 0.5, [BLOCKS, 34, 42])],
)
def test_later_generations_are_trained_on_as_many_blocks_as_the_schedule_says(
    family, tmp_path, sample_size, growth, rows
):
    sized = replace(family, decoding=DRAWING, sample_size=sample_size, growth=growth)
    generations = run(sized, tmp_path, 2, Regime("replace", 0.25))
    assert [generation.metrics["data/rows"] for generation in generations] == rows
    for generation, following in zip(generations, rows[1:], strict=False):
        prompts, tokens = passed_on(generation)
        assert tokens.shape == (following, LENGTH)
        times = np.bincount(prompts, minlength=BLOCKS)
        assert times.max() - times.min() <= 1
