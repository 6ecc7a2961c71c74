"""Each seed trains on real data of its own: blocks of a text, images, and a base model where that is asked for."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import config, corpus
from components.config import sweep as sweeps
from components.config.errors import BadInput
from components.config.settings import CorpusSettings, RecursionSettings
from components.config.small_families import ImagesSettings, VaeSettings
from components.corpus import blocks
from components.families.language.base import BASE, BaseWork
from components.families.precision import Computing
from components.families.vae import images
from components.scorecard.claims.pairs import alike
from components.seeds import MOST_SETS, number_of_sets, rows_of_seed
from components.store import Store
from pipelines.drawn import Drawn, drawn_blocks, drawn_images
from pipelines.recursion_chains import check_settings, prepare_corpus
from pipelines.recursion_plan import Plan, make_plan, print_plan
from pipelines.recursion_run import base_perplexities, settings_of_conditions
from pipelines.small_families import make_chains as make_small_chains
from pipelines.sweep_families import runs_of
from pipelines.vae import family_of, of_seed
from tests.studies import Place

pytestmark = pytest.mark.usefixtures("rates_measured_once")

LENGTH = 16
TWO = ("--seeds", "2", "--conditions.keep-half.real_fraction", "0.5")


# the sets


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 5))
def test_the_seeds_of_one_permutation_share_no_row_and_take_the_whole_pool(size: int, sets: int, turn: int):
    seeds = range(turn * sets, (turn + 1) * sets)
    taken = [rows_of_seed(sets * size, size, seed) for seed in seeds]
    assert sorted(np.concatenate(taken).tolist()) == list(range(sets * size))
    assert all((np.diff(rows) > 0).all() for rows in taken)  # in the order of the text


def test_another_permutation_cuts_the_pool_otherwise():
    first, later = (rows_of_seed(400, 100, seed).tolist() for seed in (0, 4))
    assert 0 < len({*first} & {*later}) < 100


def test_as_many_sets_as_fit_up_to_eight_and_one_where_two_do_not():
    assert [number_of_sets(rows, 100) for rows in (100, 199, 200, 350, 10_000)] == [1, 1, 2, 3, MOST_SETS]


# blocks of a text


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    for split, numbers in {"train": range(900), "valid": range(900, 960), "test": range(960, 1020)}.items():
        lines = "".join(f"Entry {number} says that {number * number} follows {number - 1} .\n" for number in numbers)
        (folder / f"{split}.txt").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def make(text: Path, tmp_path_factory: pytest.TempPathFactory):
    def made(**settings: object) -> Path:
        folder = tmp_path_factory.mktemp("corpus")
        given = CorpusSettings(path=str(text), block_size=LENGTH, vocabulary_size=400, **settings)  # type: ignore[arg-type]
        corpus.prepare(given, "train", folder)
        return folder

    return made


@pytest.fixture(scope="module")
def own(make) -> Path:
    return make(train_blocks=40)


def test_two_seeds_have_disjoint_blocks_and_a_digest_each_and_all_else_in_common(own: Path):
    one, other = (corpus.load(own, seed) for seed in (0, 1))
    assert one.train.shape == other.train.shape == (40, LENGTH)
    assert not {*map(bytes, one.train)} & {*map(bytes, other.train)}
    assert one.digests["train"] == blocks.digest(one.train) != other.digests["train"]
    np.testing.assert_array_equal(one.pool, other.pool)
    differing = {name for name in one.digests if one.digests[name] != other.digests[name]}
    assert differing == {"train"}


def test_all_seeds_blocks_are_rows_of_the_pool_in_the_order_of_the_text(own: Path):
    for seed in (0, 3, 17):
        loaded = corpus.load(own, seed)
        np.testing.assert_array_equal(loaded.train, loaded.pool[rows_of_seed(len(loaded.pool), 40, seed)])
    assert len(loaded.pool) == MOST_SETS * 40


def test_a_base_model_sees_no_block_of_any_seed(own: Path, make):
    loaded, whole = corpus.load(own), corpus.load(make())
    assert {*map(bytes, loaded.pool)}.isdisjoint(map(bytes, loaded.pretrain))
    together = np.concatenate([loaded.pool, loaded.pretrain])
    assert sorted(together.tolist()) == sorted(whole.train.tolist())


def test_the_base_keeps_half_of_the_text_and_seeds_share_where_the_rest_has_no_two_sets(make):
    there = len(corpus.load(make()).train)
    two = corpus.load(make(train_blocks=there // 4 - 1))
    assert len(two.pool) == 2 * len(two.train)
    assert len(two.pretrain) >= there / 2
    one = make(train_blocks=there // 4 + 1)
    first, second = (corpus.load(one, seed) for seed in (0, 1))
    np.testing.assert_array_equal(first.train, second.train)
    assert len(first.pool) == len(first.train)
    assert first.digests == second.digests


def test_shared_blocks_are_those_that_a_corpus_always_had_evenly_spread(make):
    whole, shared = corpus.load(make()), make(train_blocks=40, shared_blocks=True)
    for seed in (0, 1, 5):
        loaded = corpus.load(shared, seed)
        picked = np.arange(40) * len(whole.train) // 40
        np.testing.assert_array_equal(loaded.train, whole.train[picked])
        np.testing.assert_array_equal(loaded.pretrain, np.delete(whole.train, picked, axis=0))
        assert loaded.digests["train"] == blocks.digest(loaded.train)


def test_blocks_set_aside_are_in_no_seeds_set(make):
    loaded = corpus.load(make(train_blocks=40, reserve_blocks=25))
    parts = [{*map(bytes, part)} for part in (loaded.pool, loaded.reserve, loaded.pretrain)]
    assert [len(part) for part in parts[:2]] == [MOST_SETS * 40, 25]
    assert all(one.isdisjoint(other) for one, other in combinations(parts, 2))


def test_a_corpus_with_shared_blocks_is_another_one_and_without_train_blocks_the_same(text: Path):
    def inputs(**settings: object) -> dict[str, object]:
        return corpus.identity_inputs(CorpusSettings(path=str(text), **settings), "train")  # type: ignore[arg-type]

    assert inputs(train_blocks=40) != inputs(train_blocks=40, shared_blocks=True)
    assert inputs() == inputs(shared_blocks=True)


# chains of a study


@pytest.fixture(scope="module")
def store(prepared: Place, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.open(str(prepared.copy_to(tmp_path_factory.mktemp("place")).store))


def settings_of(*arguments: str) -> RecursionSettings:
    return config.load(RecursionSettings, ["--preset", "smoke", *arguments])


def plan(store: Store, *arguments: str) -> Plan:
    settings = settings_of(*arguments)
    return make_plan(settings, store, prepare_corpus(settings, store), check_settings(settings), Computing("fp32", ""))


def training(planned: Plan) -> dict[tuple[str, int], str]:
    """By condition and seed, the digest of the real blocks that a chain trains on."""
    return {(work.chain.condition, work.chain.seed): work.chain.settings["data"]["training"] for work in planned.chains}


def test_seeds_train_on_their_own_blocks_and_conditions_of_one_seed_on_the_same(store: Store):
    found = training(plan(store, *TWO))
    assert found["no-real-data", 0] != found["no-real-data", 1]
    assert [found["no-real-data", seed] for seed in (0, 1)] == [found["keep-half", seed] for seed in (0, 1)]


def test_a_chains_family_has_the_blocks_that_its_chain_says(store: Store):
    for work in plan(store, *TWO).chains:
        assert blocks.digest(work.family.real()) == work.chain.settings["data"]["training"]


def test_a_seed_more_changes_no_other_chain(store: Store):
    few, more = (
        {(work.chain.condition, work.chain.seed): work.chain.identity for work in plan(store, "--seeds", seeds).chains}
        for seeds in ("2", "5")
    )
    assert len(more) == 5
    assert few.items() <= more.items()


def test_shared_blocks_give_all_seeds_one_training_set(store: Store):
    found = training(plan(store, *TWO, "--corpus.shared_blocks", "true"))
    assert len({*found.values()}) == 1


def test_a_sweeps_seeds_train_on_their_own_blocks(store: Store):
    chosen = sweeps.load(["--preset", "smoke"])
    chains = runs_of(chosen, store, Computing("fp32", "")).chains(chosen.with_conditions({"a trial": {}}))
    assert [work.chain.seed for work in chains] == [0, 1]
    assert len({work.chain.settings["data"]["training"] for work in chains}) == 2


def test_conditions_are_compared_by_their_chains_of_one_seed(store: Store):
    """Whichever seeds of a condition came to their end: conditions without an end are left out."""
    chains = [work.chain for work in plan(store, *TWO, "--conditions.third.epochs", "2").chains]
    found = settings_of_conditions(chains, {"no-real-data", "keep-half"})
    assert list(found) == ["no-real-data", "keep-half"]
    assert alike(*found.values(), "data", "base")


# base models


def test_one_base_serves_all_seeds_and_a_base_per_seed_is_another_for_each(store: Store):
    one, each = plan(store, *TWO), plan(store, *TWO, "--base.per_seed", "true")
    assert len({work.chain.settings["base"] for work in one.chains}) == len(one.bases) == 1
    found = {
        work.chain.seed: {other.chain.settings["base"] for other in each.chains if other.chain.seed == work.chain.seed}
        for work in each.chains
    }
    assert [len(identities) for identities in found.values()] == [1, 1]
    assert found[0].isdisjoint(found[1])
    assert [base.identity for base in each.bases] == [*found[0], *found[1]]
    assert found[0] == {one.bases[0].identity}  # a study that goes over to a base per seed keeps seed 0's chains


def test_a_base_per_seed_costs_one_pretraining_per_seed(store: Store):
    one, each = plan(store, *TWO), plan(store, *TWO, "--base.per_seed", "true")
    names = [base.title for base in each.bases]
    assert names == [f"{BASE} of seed 0", f"{BASE} of seed 1"]
    assert [each.costs[name] for name in names] == [one.costs[BASE]] * 2
    [pretraining] = one.costs[BASE]
    assert each.bytes - one.bytes == pretraining.bytes
    assert each.seconds - one.seconds == pytest.approx(sum(pretraining.seconds.values()))
    assert each.expected(names[1]) == one.expected(BASE)


def test_base_models_of_two_seeds_begin_at_other_weights(store: Store):
    first, second = plan(store, *TWO, "--base.per_seed", "true").bases
    assert (first.seed, second.seed) == (0, 1)
    assert replace(second, of_seed=0) == first


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--base.epochs", "0"), r"base\.per_seed = True: belongs to base\.epochs above 0"),
        (
            ("--model.name", "given", "--tokenizer", "None"),
            r"base\.per_seed = True: .* is the base model and is not pretrained here",
        ),
    ],
)
def test_a_base_per_seed_is_refused_where_none_is_pretrained(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model_folder: Path,
    arguments: tuple[str, ...],
    line: str,
):
    named = [str(model_folder) if argument == "given" else argument for argument in arguments]
    with pytest.raises(BadInput, match=line):
        plan(store, "--base.per_seed", "true", *named)


# what is said


def said(store: Store, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    planned = plan(store, *arguments)
    capsys.readouterr()
    print_plan(settings_of(*arguments), planned)
    return " ".join(capsys.readouterr().out.split())


def test_the_plan_says_what_each_seed_trains_on(store: Store, capsys: pytest.CaptureFixture[str]):
    assert "each seed trains on its own 32 of 256 blocks" in said(store, capsys, *TWO)
    shared = said(store, capsys, *TWO, "--corpus.shared_blocks", "true")
    assert "all seeds train on the same 32 blocks" in shared


def blocks_drawn(planned: Plan) -> Drawn:
    return drawn_blocks(planned.bases, planned.chains)


def test_what_seeds_have_in_common_is_known(store: Store):
    own = blocks_drawn(plan(store, *TWO))
    assert (own.own, own.disjoint, own.size, own.pool, own.base) == (True, True, 32, 256, "one")
    assert blocks_drawn(plan(store, *TWO, "--base.per_seed", "true")).base == "per seed"
    assert blocks_drawn(plan(store, *TWO, "--train.start", "scratch")).base == "none"
    shared = blocks_drawn(plan(store, *TWO, "--corpus.shared_blocks", "true", "--base.epochs", "0"))
    assert (shared.own, shared.overlapping, shared.base) == (False, False, "none")
    nine = blocks_drawn(plan(store, "--seeds", "9"))
    assert (nine.own, nine.overlapping) == (True, True)


def test_a_named_model_is_a_base_that_all_seeds_have_in_common(store: Store, model_folder: Path):
    planned = plan(store, *TWO, "--model.name", str(model_folder), "--tokenizer", "None")
    assert blocks_drawn(planned).base == "named"


# images


def prepared_images(store: Store, *arguments: str):
    settings = config.load(VaeSettings, ["--preset", "smoke", "--seeds", "2", *arguments])
    real = images.prepare(settings.data, store)
    families = {name: family_of(settings, name, real, Computing("fp32", "")) for name in settings.conditions}
    return make_small_chains(settings, store, settings.conditions, families, of_seed)


def test_seeds_train_on_their_own_images_and_conditions_of_one_seed_on_the_same(store: Store):
    chains = prepared_images(store)
    found = {(work.chain.condition, work.chain.seed): work.chain.settings["data"]["training"] for work in chains}
    assert found["no-real-data", 0] != found["no-real-data", 1]
    assert [found["no-real-data", seed] for seed in (0, 1)] == [found["keep-half", seed] for seed in (0, 1)]
    one, other = (work.family.real["train"] for work in chains[:2])
    assert one.shape == other.shape == (256, 8, 8)
    assert {*map(bytes, one)}.isdisjoint(map(bytes, other))
    facts = drawn_images(chains)
    assert (facts.own, facts.disjoint, facts.size, facts.pool, facts.base) == (True, True, 256, 6 * 256, "none")


def test_shared_images_give_all_seeds_one_training_set_evenly_spread(store: Store):
    chains = prepared_images(store, "--data.shared_images", "true")
    assert len({work.chain.settings["data"]["training"] for work in chains}) == 1
    everything = np.load(images.prepare(ImagesSettings(), store).place / "train.npy")
    np.testing.assert_array_equal(chains[1].family.real["train"], images.evenly(everything, 256))
    assert not drawn_images(chains).own


def test_all_images_are_one_training_set_for_all_seeds(store: Store):
    chains = prepared_images(store, "--data.train_images", "None")
    assert len({work.chain.settings["data"]["training"] for work in chains}) == 1
    assert len(chains[0].family.real["train"]) == 1617


# a real study


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_with_a_base_per_seed_makes_each_and_logs_its_perplexity(prepared: Place, tmp_path: Path):
    place = prepared.copy_to(tmp_path / "place")
    ended = place.run("--seeds", "2", "--generations", "0", "--base.per_seed", "true")
    assert ended.returncode == 0, ended.stderr[-3000:]
    kinds = [kind for kind, _ in place.computed()]
    assert {kind: kinds.count(kind) for kind in ("base", "compose", "fit")} == {"base": 2, "compose": 2, "fit": 2}
    trained = [pd.read_parquet(file) for file in place.store.glob("compose/*/composition.parquet")]
    assert [len(frame) for frame in trained] == [32, 32]

    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=place.uri)
    experiment = client.get_experiment_by_name("recursion")
    (study,) = client.search_runs([experiment.experiment_id], "tags.`recursion.kind` = 'study'")
    found = {name: value for name, value in study.data.metrics.items() if name.startswith("base/")}
    assert set(found) == {"base/test_perplexity/seed-0", "base/test_perplexity/seed-1"}
    assert len({*found.values()}) == 2


def test_one_base_has_one_perplexity_and_bases_that_are_not_there_none(store: Store):
    assert base_perplexities(plan(store).bases) == {}
    assert isinstance(plan(store).bases[0], BaseWork)
