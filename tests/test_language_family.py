"""The language family in the loop: what it trains on, writes and measures, and the guards around it."""

import math
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet
import pytest
import torch
from transformers import AutoTokenizer

from components.families.language import architecture
from components.families.language import model as opt
from components.families.language.beam_search import generate_blocks
from components.families.language.decoding import Decoding, guard_decoding
from components.families.language.family import LanguageFamily
from components.families.language.fitting import validation_loss_of
from components.families.language.measuring import measured_sets
from components.families.language.perplexity import perplexity, sequence_losses, token_losses, token_predictions
from components.families.language.training import Recipe
from components.measures.calibration import expected_calibration_error
from components.measures.diversity import (
    compression_ratio,
    distinct_n,
    distinct_n_per_sequence,
    distinct_texts,
    ngram_entropy,
    repetition_4,
    self_bleu,
    share_found,
    vocabulary_coverage,
)
from components.measures.tails import kl_to_real, rare_token_mass, zipf_exponent
from components.recursion.family import GuardFailure, Origin, Pool, Step
from components.recursion.loop import make_chain, run_chain
from components.recursion.peers import Peers
from components.recursion.records import Generation
from components.regimes import REAL, Regime
from components.store import Store
from tests.families import BLOCKS, DECODING, LENGTH, RECIPE, SIZE, language


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> LanguageFamily:
    return language(tmp_path_factory.mktemp("language"))


def run(
    family: LanguageFamily, folder: Path, generations: int, regime: Regime, start: str = "scratch"
) -> list[Generation]:
    chain = make_chain(family, "a condition", regime, start, seed=0)
    return list(run_chain(chain, family, Store.open(str(folder)), generations))


@pytest.fixture(scope="module")
def generations(family: LanguageFamily, tmp_path_factory: pytest.TempPathFactory) -> list[Generation]:
    return run(family, tmp_path_factory.mktemp("store"), 2, Regime("replace", 0.25))


def synthetic(family: LanguageFamily, generation: Generation) -> np.ndarray:
    return family.samples(generation.directories["sample"])


def test_every_real_training_block_is_continued_once_by_the_generations_own_beam_search(family, generations):
    for generation in generations:
        model = opt.load(generation.directories["fit"] / "model")
        expected, _ = generate_blocks(model, family.corpus.train, new_tokens=LENGTH, num_beams=3, batch_size=7)
        assert (synthetic(family, generation) == expected).all()
        rows = parquet.read_table(generation.directories["sample"] / "synthetic.parquet")["prompt_row"].to_pylist()
        assert rows == list(range(BLOCKS))


def test_token_ids_are_passed_on_as_they_are_and_mixed_with_the_share_of_real_blocks(family, generations):
    """Nothing is decoded and tokenised again: the rows of the composition are the rows the model was trained on."""
    kept = []
    for index in (1, 2):
        frame = pd.read_parquet(generations[index].directories["compose"] / "composition.parquet")
        real = (frame["source"] == REAL).to_numpy()
        assert real.sum() == round(0.25 * BLOCKS)
        assert set(frame["source"][~real]) == {index - 1}
        kept.append(set(frame["row"][real]))
        rows = np.where(real[:, None], family.corpus.train, synthetic(family, generations[index - 1]))
        again = train_model_on(rows, family, generations[index])
        written = opt.load(generations[index].directories["fit"] / "model").state_dict()
        assert all(torch.equal(again[name], written[name]) for name in written)
    assert kept[0] != kept[1]  # the real share is drawn anew in each generation


def train_model_on(rows: np.ndarray, family: LanguageFamily, generation: Generation) -> dict[str, torch.Tensor]:
    """The fit of a generation, done again outside the loop from the rows it should have seen."""
    from components.families.language.training import Batches, TorchEngine, fine_tune
    from components.recursion.generation import _random

    seed = int(_random(generation.chain, generation.index, "fit").generate_state(1)[0])
    model = architecture.create(SIZE, seed)
    engine = TorchEngine(model, RECIPE, Batches.cut(RECIPE, len(rows), 1), torch.device("cpu"))
    weights, _ = fine_tune(
        engine,
        rows,
        lambda module: float(token_losses(module, family.corpus.validation).mean(dtype=np.float64)),
        RECIPE,
        seed,
    )
    return weights


HELD_OUT = 40  # blocks of held-out text, fewer than the 48 that a generation writes


def test_the_metrics_are_the_real_test_split_under_the_model_and_the_samples_under_generation_0(family, generations):
    first = opt.load(generations[0].directories["fit"] / "model")
    for generation in generations:
        model = opt.load(generation.directories["fit"] / "model")
        test, blocks = token_losses(model, family.corpus.test), synthetic(family, generation)
        foreseen = token_predictions(model, family.corpus.test)
        under_first = np.exp(sequence_losses(token_losses(first, blocks)))
        of_test = np.exp(sequence_losses(test))
        text = family.corpus.test[:, 1:] != family.corpus.separator
        of_text = np.exp([losses[counted].mean() for losses, counted in zip(test, text, strict=True)])
        expected = {
            "test/perplexity": perplexity(test, family.corpus.test),
            "test/perplexity_without_separator": perplexity(test, family.corpus.test, family.corpus.separator),
            "test/sequence_perplexity_mean": of_test.mean(),
            "test/sequence_perplexity_std": of_test.std(ddof=1),
            "test/calibration_error": expected_calibration_error(foreseen.confidence, foreseen.correct),
            "test/next_token_entropy": foreseen.entropy.mean(),
            "synthetic/perplexity_under_generation0_mean": under_first.mean(),
            "synthetic/perplexity_under_generation0_median": np.median(under_first),
            "synthetic/perplexity_under_generation0_p99": under_first.max(),  # of 48
        }
        if generation is generations[0]:
            expected |= {
                "heldout/perplexity_under_generation0_mean": of_text.mean(),
                "heldout/perplexity_under_generation0_median": np.median(of_text),
                "heldout/perplexity_under_generation0_p99": of_text.max(),  # of 40
            }
        for name, value in expected.items():
            assert generation.metrics[name] == pytest.approx(value, rel=1e-5), name


def test_text_is_measured_over_as_many_blocks_of_the_samples_as_of_held_out_text(family, generations):
    """Every measure of the two is one function of blocks of one number, evenly spread, without separators."""
    separator, real = family.corpus.separator, np.asarray(family.corpus.train)
    assert (real == separator).any()
    tokenizer = AutoTokenizer.from_pretrained(family.corpus.tokenizer_folder)
    for generation in generations:
        every = {"synthetic": synthetic(family, generation), "heldout": np.asarray(family.corpus.heldout)}
        assert {name: len(blocks) for name, blocks in every.items()} == {"synthetic": BLOCKS, "heldout": HELD_OUT}
        assert generation.metrics["measure/blocks"] == HELD_OUT
        for name, them in every.items():
            blocks = them[[place * len(them) // HELD_OUT for place in range(HELD_OUT)]]
            assert separator not in blocks
            expected = measures(blocks, tokenizer.batch_decode(blocks), real, separator)
            trained = trained_on(family, generations, generation.index)
            expected["found_in_training_8"] = share_found(blocks, trained)
            for measure, value in expected.items():
                if math.isnan(value):  # a single kind of token has no exponent
                    assert f"{name}/{measure}" not in generation.metrics
                else:
                    assert generation.metrics[f"{name}/{measure}"] == pytest.approx(value, rel=1e-9), (name, measure)
            named = {metric.removeprefix(f"{name}/") for metric in generation.metrics if metric.startswith(f"{name}/")}
            others = {"rows"} | {metric for metric in named if metric.startswith("perplexity_under_generation0")}
            assert named - others == {measure for measure, value in expected.items() if not math.isnan(value)}


def measures(blocks: np.ndarray, texts: list[str], real: np.ndarray, separator: int) -> dict[str, float]:
    known, zipf = real[real != separator], zipf_exponent(blocks)
    estimates = {f"entropy_{n}": ngram_entropy(blocks, n) for n in (1, 2)}
    estimates["rare_token_mass"] = rare_token_mass(blocks, known)
    return {
        "distinct_texts": distinct_texts(blocks),
        **{f"distinct_{n}": distinct_n(blocks, n) for n in (1, 2, 3)},
        **{f"distinct_{n}_per_sequence": distinct_n_per_sequence(blocks, n) for n in (1, 2, 3)},
        **{name: estimate.value for name, estimate in estimates.items()},
        **{f"{name}_error": estimate.error for name, estimate in estimates.items()},
        "repetition_4": repetition_4(blocks),
        "compression_ratio": compression_ratio(texts),
        "vocabulary_coverage": vocabulary_coverage(blocks, known),
        "kl_real_1": kl_to_real(blocks, real, 1, separator),
        "kl_real_2": kl_to_real(blocks, real, 2, separator),
        "zipf_exponent": zipf.exponent,
        "zipf_exponent_low": zipf.low,
        "zipf_exponent_high": zipf.high,
        "found_in_real_8": share_found(blocks, real),
        "self_bleu": self_bleu(texts),
    }


def test_a_set_with_fewer_blocks_than_are_measured_has_no_measures_and_says_so(family, tmp_path, caplog):
    """Rather than numbers of 24 blocks beside those of 40: of the same text they would look better or worse."""
    few = replace(family, sample_size=24)
    assert few.fewest_samples(1) == 24
    generation = run(few, tmp_path / "few", 0, Regime("replace"))[0]
    measured = {name for name in generation.metrics if name.startswith("synthetic/")}
    assert measured == {
        "synthetic/rows",
        *(f"synthetic/perplexity_under_generation0_{name}" for name in ("mean", "median", "p99")),
    }
    assert "heldout/distinct_2" in generation.metrics
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "over 40 blocks" in warning
    assert "set of 24 has fewer" in warning
    assert "measure.blocks" in warning
    caplog.clear()
    generation = run(replace(few, measure_blocks=24), tmp_path / "equal", 0, Regime("replace"))[0]
    assert generation.metrics["measure/blocks"] == 24
    assert "synthetic/distinct_2" in generation.metrics
    assert not caplog.records


def test_edited_real_blocks_are_measured_without_their_separators(family):
    blocks, separator = np.asarray(family.corpus.train), family.corpus.separator
    sets = measured_sets(blocks, family.corpus, 40)
    text = blocks[blocks != separator]
    assert len(text) < blocks.size
    count = len(text) // LENGTH
    whole = text[: count * LENGTH].reshape(count, LENGTH)
    np.testing.assert_array_equal(sets["synthetic"], whole[[place * count // 40 for place in range(40)]])
    assert set(measured_sets(blocks, family.corpus, count + 1)) <= {"heldout"}
    assert separator not in np.concatenate(list(sets.values()))


def test_how_many_blocks_are_measured_and_which_are_held_out_is_a_part_of_measuring_alone(family, tmp_path):
    plain, fewer, more = (replace(family, measure_blocks=count).settings for count in (256, 8, 9999))
    assert plain == more  # there are no more than 40
    assert fewer["measure"] != plain["measure"]
    assert {**fewer, "measure": {}} == {**plain, "measure": {}}
    digests = {**family.corpus.digests, "heldout": "of other text"}
    other = replace(family)
    object.__setattr__(other, "corpus", replace(family.corpus, digests=digests))
    assert other.settings["measure"] != plain["measure"]
    assert other.digests() == family.digests()  # what fitting and sampling go by


def trained_on(family: LanguageFamily, generations: list[Generation], index: int) -> np.ndarray:
    """The rows of a generation's training set, one by one."""
    composition = pd.read_parquet(generations[index].directories["compose"] / "composition.parquet")
    written = {at: synthetic(family, generations[at]) for at in set(composition["source"]) - {REAL}}
    rows = zip(composition["source"], composition["row"], strict=True)
    return np.stack([(family.corpus.train if source == REAL else written[source])[row] for source, row in rows])


def test_what_a_model_copied_of_its_own_training_set_is_not_what_it_copied_of_the_real_one(family, generations):
    first, last = generations[0].metrics, generations[-1].metrics
    assert first["synthetic/found_in_training_8"] == first["synthetic/found_in_real_8"]
    assert last["synthetic/found_in_training_8"] > last["synthetic/found_in_real_8"]


def test_one_model_at_a_time_is_in_memory_while_sets_are_scored(family, generations, tmp_path, monkeypatch):
    """A second one beside it would double the memory that a card needs for a large model."""
    alive, load = weakref.WeakSet(), opt.load

    def loaded(folder: Path):
        assert not alive, "the last set's model is still there"
        alive.add(model := load(folder))
        return model

    monkeypatch.setattr(opt, "load", loaded)
    composed, fitted, sampled = (generations[0].directories[phase] for phase in ("compose", "fit", "sample"))
    found = family.measure(
        fitted, sampled, Origin(composed, Pool(), fitted), tmp_path, Step(0, np.random.SeedSequence(0))
    )
    assert not alive
    assert {name: generations[0].metrics[name] for name in found} == found


def test_the_cost_of_every_generation_is_among_its_metrics(generations):
    cost = {"seconds/fit", "seconds/sample", "seconds/measure", "tokens_per_second/fit", "tokens_per_second/sample"}
    for generation in generations:
        assert all(generation.metrics[name] > 0 for name in cost)


def test_the_scores_name_each_block_of_the_test_split_and_of_the_samples(family, generations):
    for generation in generations:
        scores = pd.read_parquet(generation.directories["measure"] / "scores.parquet")
        sizes = scores.groupby("set").size().to_dict()
        assert sizes == {"test": 40, "synthetic": BLOCKS}
        separators = (family.corpus.test[:, 1:] == family.corpus.separator).any(axis=1)
        assert separators.any()
        unlike = ~np.isclose(np.exp(scores["loss"]), scores["perplexity"], rtol=1e-6)
        assert (unlike == np.concatenate([separators, np.zeros(BLOCKS, bool)])).all()  # which only real text holds


def test_a_synthetic_set_carries_its_text_beside_its_tokens(family, generations):
    table = parquet.read_table(generations[1].directories["sample"] / "synthetic.parquet")
    tokenizer = AutoTokenizer.from_pretrained(family.corpus.tokenizer_folder)
    assert table["text"].to_pylist() == tokenizer.batch_decode(synthetic(family, generations[1]))


@pytest.mark.parametrize("start", ["generation0", "previous", "pretrained"])
def test_every_start_but_scratch_begins_at_the_weights_it_names(family, tmp_path, start):
    """The loss before the first step (validation, epoch 0) is that of the model named."""
    opt.save(architecture.create(SIZE, 9), tmp_path / "base" / "model", None)
    given = replace(family, pretrained=("b" * 64, tmp_path / "base"))
    chain = run(given, tmp_path / "store", 2, Regime("replace"), start)
    folders = {
        "generation0": chain[0].directories["fit"],
        "previous": chain[1].directories["fit"],
        "pretrained": tmp_path / "base",
    }
    before = pd.read_parquet(chain[2].directories["fit"] / "validation.parquet")["loss"][0]
    named = token_losses(opt.load(folders[start] / "model"), family.corpus.validation).mean(dtype=np.float64)
    assert before == pytest.approx(named, rel=1e-6)


def test_the_subsample_and_accumulate_regimes_train_on_blocks_too(family, tmp_path):
    for name, rows in (("subsample", [BLOCKS] * 3), ("accumulate", [BLOCKS, 2 * BLOCKS, 3 * BLOCKS])):
        chain = run(family, tmp_path / "store", 2, Regime(name))
        assert [generation.metrics["data/rows"] for generation in chain] == rows


# Guards: each was a silent failure in somebody's published code (design.md).


def fit(family: LanguageFamily, recipe: Recipe, out: Path) -> dict[str, float]:
    return family.train(architecture.create(SIZE, 0), family.corpus.train, recipe, 0, out, Peers(), lambda *_: None)


def test_weights_that_do_not_move_are_refused(family, tmp_path):
    with pytest.raises(GuardFailure, match="did not move"):
        fit(family, replace(RECIPE, learning_rate=1e-30, final_learning_rate=0.0), tmp_path)


def test_a_loss_that_is_not_a_number_is_refused(family, tmp_path):
    with pytest.raises(GuardFailure, match="loss of step"):
        fit(family, replace(RECIPE, learning_rate=1e30), tmp_path)


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.filterwarnings("error:overflow")
def test_a_model_that_diverged_has_an_infinite_perplexity_which_the_store_keeps(family, generations, tmp_path, keep):
    """At a learning rate of 20 the mean loss is above 709 nats, whose exponential is no float."""
    store = Store.open(str(tmp_path / "store"))
    unfinished = store.begin("fit")
    found = fit(family, replace(RECIPE, learning_rate=20.0, keep=keep), unfinished)
    assert found["validation/perplexity"] == math.inf
    out = store.finish("fit", {"seed": 1}, unfinished, found, 1.0).place
    assert store.find("fit", {"seed": 1}).metrics == found
    assert validation_loss_of(out) is None  # to be measured again, not taken for infinite
    assert 709 < pd.read_parquet(out / "validation.parquet")["loss"].iloc[-1] < math.inf  # the loss itself is kept
    composed, sampled = (generations[1].directories[phase] for phase in ("compose", "sample"))
    first = generations[0].directories["fit"]
    origin = Origin(composed, Pool([generations[0].directories["sample"]], [BLOCKS]), first)
    unfinished = store.begin("measure")
    measured = family.measure(out, sampled, origin, unfinished, Step(1, np.random.SeedSequence(0)))
    assert measured["test/perplexity"] == measured["test/sequence_perplexity_mean"] == math.inf
    store.finish("measure", {"seed": 1}, unfinished, measured, 1.0)
    assert store.find("measure", {"seed": 1}).metrics == measured
    scores = pd.read_parquet(store.find("measure", {"seed": 1}).place / "scores.parquet")
    assert scores[scores["set"] == "test"]["perplexity"].max() == math.inf


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_validation_perplexity_is_that_of_the_weights_that_are_passed_on(family, tmp_path, keep):
    """The learning rate rises, so that the last epoch is the worst one: `best` keeps another."""
    rising = replace(RECIPE, learning_rate=5e-3, final_learning_rate=1.0, keep=keep, epochs=3)
    found = fit(family, rising, tmp_path)
    passed_on = token_losses(opt.load(tmp_path / "model"), family.corpus.validation)
    assert found["validation/perplexity"] == pytest.approx(perplexity(passed_on, family.corpus.validation), rel=1e-5)
    assert (found["train/kept_epoch"] < 3) == (keep == "best")


def test_a_generation_0_no_better_than_its_start_is_refused(family, tmp_path):
    trained = run(family, tmp_path / "first", 0, Regime("replace"))[0].directories["fit"]
    worse = replace(family, pretrained=("t" * 64, trained), recipe=replace(RECIPE, learning_rate=1.0, epochs=1))
    with pytest.raises(GuardFailure, match="generation 0 is no better than its start"):
        run(worse, tmp_path / "second", 0, Regime("replace"), "pretrained")


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.full((BLOCKS, LENGTH - 1), 9, np.int32), "not .* as asked for"),
        (np.full((BLOCKS - 1, LENGTH), 9, np.int32), "not .* as asked for"),
        (np.full((BLOCKS, LENGTH), 2, np.int32), "separator"),
        (np.full((BLOCKS, LENGTH), 319, np.int32), "does not know"),
    ],
    ids=["short blocks", "missing blocks", "separators", "unknown tokens"],
)
def test_a_synthetic_set_of_the_wrong_shape_or_with_forbidden_tokens_is_refused(family, tokens, message):
    with pytest.raises(GuardFailure, match=message):
        family._guard_blocks(tokens, BLOCKS)


@pytest.mark.parametrize("penalty", [1.0, 3.0])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_decoder_that_silently_ran_greedy_is_found_out(family, penalty, precision):
    model = architecture.create(SIZE, 3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(6)  # far from uniform, so that greedy and beam search part
    prompts = np.asarray(family.corpus.train)
    arguments = {"new_tokens": LENGTH, "repetition_penalty": penalty, "batch_size": BLOCKS}
    greedy, _ = generate_blocks(model, prompts, num_beams=1, **arguments)
    beams, _ = generate_blocks(model, prompts, num_beams=5, **arguments)
    part = np.flatnonzero((greedy != beams).any(axis=1))[:2]
    prompts, greedy, beams = prompts[part], greedy[part], beams[part]
    assert len(part) == 2
    asked = Decoding(5, penalty, "fp32", None)
    numbers = np.zeros((2, 1, LENGTH), np.float32)  # nothing is drawn
    guard_decoding(model.to(precision), prompts, numbers, beams[:, None], asked, SIZE.vocabulary_size)
    if precision == torch.float32:  # bf16 tokens may differ by rounding: there our decoder itself is asked again
        with pytest.raises(GuardFailure, match="this is not what 5 beams"):
            guard_decoding(model, prompts, numbers, greedy[:, None], asked, SIZE.vocabulary_size)


def test_a_generation_whose_decoder_went_wrong_is_not_written(family, tmp_path, monkeypatch):
    """The faults are put into the decoder that `sample` calls: greedy search instead of beams; a separator in a later block."""
    model = parting_model(family.corpus.train[:2])
    opt.save(model, tmp_path / "model", family.corpus.tokenizer_folder)
    out = tmp_path / "out"
    out.mkdir()

    def greedy(*arguments, num_beams, **named):
        return generate_blocks(*arguments, num_beams=1, **named)

    def with_a_separator(*arguments, **named):
        tokens, scores = generate_blocks(*arguments, **named)
        tokens[-1, 3] = family.corpus.separator
        return tokens, scores

    for fault, message in ((greedy, "not what 3 beams would have written"), (with_a_separator, "separator")):
        monkeypatch.setattr("components.families.language.decoding.generate_blocks", fault)
        with pytest.raises(GuardFailure, match=message):
            family.sample(tmp_path, Origin(tmp_path, Pool(), tmp_path), out, Step(0, np.random.SeedSequence(0)))
        assert not (out / "synthetic.parquet").exists()


def parting_model(prompts: np.ndarray):
    """Random weights, far from uniform, with which greedy and beam search part after each of these prompts."""
    for seed in range(50):
        model = architecture.create(SIZE, seed)
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(6)
        beams, greedy = (
            generate_blocks(model, prompts, new_tokens=LENGTH, num_beams=number, batch_size=2)[0] for number in (3, 1)
        )
        if (beams != greedy).any(axis=1).all():
            return model
    raise AssertionError("no such model among fifty")


def test_the_identity_of_a_chain_ignores_what_changes_only_rounding_or_speed(family):
    same = replace(
        family, zero_stage=3, decoding=replace(DECODING, batch_size=5), recipe=replace(RECIPE, micro_batch_size=4)
    )
    other = replace(family, decoding=replace(DECODING, num_beams=4))
    chains = [make_chain(one, "c", Regime("replace"), "scratch", 0).identity for one in (family, same, other)]
    assert chains[0] == chains[1] != chains[2]
