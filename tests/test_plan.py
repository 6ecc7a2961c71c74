"""From settings to chains: what a condition says is what its chain does, and what it will cost."""

from pathlib import Path

import pytest

from components import config
from components.cluster import Capacity, Machine
from components.config.errors import BadInput
from components.config.settings import RecursionSettings
from components.families.language import architecture
from components.families.language import model as opt
from components.families.language.base import BASE
from components.families.language.cost import Rates
from components.families.precision import Computing
from components.regimes import Regime
from components.store import Store
from pipelines.recursion_chains import check_settings, prepare_corpus
from pipelines.recursion_plan import Plan, base_workers, make_plan, measured_over, print_plan
from tests.embedders import gpt2, saved
from tests.studies import Place

pytestmark = pytest.mark.usefixtures("rates_measured_once")


@pytest.fixture(scope="module")
def store(prepared: Place, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.open(str(prepared.copy_to(tmp_path_factory.mktemp("place")).store))


def plan(store: Store, *arguments: str, capacity: Capacity | None = None) -> Plan:
    settings = config.load(RecursionSettings, ["--preset", "smoke", *arguments])
    computing = Computing("fp32", "")
    models = check_settings(settings)
    return make_plan(settings, store, prepare_corpus(settings, store), models, computing, capacity)


CONDITION = "--conditions.mine."


def test_what_a_condition_says_reaches_its_chain(store: Store) -> None:
    given = {
        "real_fraction": "0.5", "epochs": "3", "learning_rate": "0.004", "start": "previous",
        "repetition_penalty": "2.0", "num_beams": "4",
    }  # fmt: skip
    arguments = [part for name, value in given.items() for part in (CONDITION + name, value)]
    planned = plan(store, *arguments)
    mine = next(work for work in planned.chains if work.chain.condition == "mine")
    settings = mine.chain.settings
    assert Regime(**settings["regime"]) == Regime("replace", 0.5)
    assert settings["start"] == "previous"
    assert (settings["fit"]["epochs"], settings["fit"]["learning_rate"]) == (3, 0.004)
    assert (settings["sample"]["repetition_penalty"], settings["sample"]["num_beams"]) == (2.0, 4)
    assert mine.family.decoding.repetition_penalty == 2.0


def test_mauve_is_in_the_plan_and_its_model_a_part_of_what_measuring_is(store: Store, tmp_path: Path) -> None:
    folder = saved(gpt2, tmp_path / "model")
    without, asked = plan(store), plan(store, "--measure.mauve", str(folder))
    for plain, work in zip(without.chains, asked.chains, strict=True):
        assert work.family.embedder is not None
        assert work.family.settings["measure"]["mauve"] == work.family.embedder.digest
        assert {**work.family.settings, "measure": {}} == {**plain.family.settings, "measure": {}}
        costs = zip(without.costs[plain.chain.identity], asked.costs[work.chain.identity], strict=True)
        for index, (less, more) in enumerate(costs):
            embedding = work.family.embedding_flops(index)
            assert more.flops - less.flops == pytest.approx(embedding)
            assert more.seconds["measure"] > less.seconds["measure"]


def test_the_plan_says_over_how_many_blocks_text_is_measured_and_who_writes_fewer(store: Store) -> None:
    few = ("--conditions.few.sample_size", "20", "--conditions.filtered.drop_most_surprising", "0.5")
    planned = plan(store, *few)
    assert {work.family.measured for work in planned.chains} == {32}  # the training blocks of the smoke preset
    line, warning = measured_over(planned.chains)
    assert "over 32 blocks" in line
    assert "few (20), filtered (16)" in warning
    assert "measure.blocks=16" in warning
    equal = plan(store, *few, "--measure.blocks", "16")
    assert {work.family.measured for work in equal.chains} == {16}
    assert [line for line in measured_over(equal.chains) if "fewer" in line] == []
    for work, other in zip(planned.chains, equal.chains, strict=True):
        same = ("fit", "sample")
        assert [work.chain.settings[kind] for kind in same] == [other.chain.settings[kind] for kind in same]
        assert work.chain.identity != other.chain.identity


def test_the_remedies_of_a_condition_reach_its_chain_and_leave_the_others_as_they_were(store: Store) -> None:
    given = {
        "decoding": "sampling", "temperature": "0.9", "top_k": "50", "top_p": "0.95", "best_of": "4",
        "drop_least_surprising": "0.1", "drop_most_surprising": "0.2", "judge": "own", "drop_duplicates": "0.7",
        "fresh_real": "0.25", "sample_size": "40",
    }  # fmt: skip
    arguments = [part for name, value in given.items() for part in (CONDITION + name, value)]
    planned = plan(store, *arguments, "--corpus.reserve_blocks", "16")
    mine, other = (
        next(work for work in planned.chains if work.chain.condition == name) for name in ("mine", "no-real-data")
    )
    settings = mine.chain.settings
    assert Regime(**settings["regime"]) == Regime("replace", 0.0, 0.25)
    assert settings["sample"]["sampling"] == {"temperature": 0.9, "top_k": 50, "top_p": 0.95}
    assert settings["sample"]["selection"] == {
        "best_of": 4, "drop_least_surprising": 0.1, "drop_most_surprising": 0.2, "judge": "own", "drop_duplicates": 0.7
    }  # fmt: skip
    assert settings["compose"]["sample_size"] == settings["sample"]["sample_size"] == 40
    assert "num_beams" not in settings["sample"]
    assert set(other.chain.settings["sample"]) == {"num_beams", "repetition_penalty", "precision", "format"}
    assert other.chain.settings["regime"] == {"name": "replace", "real_fraction": 0.0}
    assert planned.costs[mine.chain.identity][1].generated == 40 * 16
    assert planned.costs[mine.chain.identity][1].trained == 5 * 40 * 16  # epochs


def test_greedy_is_beam_search_of_one_beam_and_editing_writes_nothing(store: Store) -> None:
    planned = plan(store, CONDITION + "decoding", "greedy", "--conditions.edited.edit", "0.9")
    found = {work.chain.condition: work.family.decoding for work in planned.chains}
    assert (found["mine"].num_beams, found["mine"].sampling) == (1, None)
    assert (found["edited"].edit, found["edited"].sequences(1)) == (0.9, 0)


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("temperature", "0.5", "belongs to decoding=sampling, not to beam"),
        ("best_of", "4", "belongs to decoding=sampling, not to beam"),
        (
            "sample_size",
            "40",
            "40 blocks are wanted of 32 prompts, after each of which 2 beams would write the same again",
        ),
        ("growth", "1.0", "give decoding=sampling, or less"),
        (
            "fresh_real",
            "0.5",
            r"16 new blocks are wanted to generation 1, 0 are set aside; give corpus.reserve_blocks=16",
        ),
    ],
)
def test_a_remedy_that_cannot_be_is_refused(store: Store, field: str, value: str, line: str) -> None:
    with pytest.raises(BadInput, match=line) as refused:
        plan(store, CONDITION + field, value)
    assert refused.value.field == f"conditions.mine.{field}"


def test_beams_are_refused_where_there_are_none(store: Store) -> None:
    with pytest.raises(BadInput, match="sampling has no beams; leave it out"):
        plan(store, CONDITION + "decoding", "sampling", CONDITION + "num_beams", "3")


def test_an_empty_field_of_a_condition_inherits(store: Store) -> None:
    planned = plan(store, "--train.weight_decay", "0.5", "--train.keep", "last", "--generate.repetition_penalty", "3.0")
    settings = planned.chains[0].chain.settings
    assert (settings["fit"]["weight_decay"], settings["fit"]["keep"]) == (0.5, "last")
    assert settings["sample"]["repetition_penalty"] == 3.0


def test_a_study_is_conditions_times_seeds_and_each_pair_is_a_chain_of_its_own(store: Store) -> None:
    planned = plan(store, "--seeds", "3", CONDITION + "regime", "accumulate")
    assert len(planned.chains) == len({work.chain.identity for work in planned.chains}) == 6


def test_the_number_of_generations_and_of_workers_is_no_part_of_a_chains_identity(store: Store) -> None:
    one, other = plan(store), plan(store, "--generations", "7", "--train.workers", "2", "--train.zero_stage", "3")
    assert [work.chain.identity for work in one.chains] == [work.chain.identity for work in other.chains]


def test_without_a_base_every_generation_starts_from_random_weights(store: Store) -> None:
    planned = plan(store, "--base.epochs", "0")
    assert planned.bases == []
    assert planned.chains[0].chain.settings["start"] == "scratch"


def test_a_model_by_name_is_the_base_with_its_own_size_and_tokenizer(store: Store, tmp_path: Path) -> None:
    corpus_folder = prepare_corpus(config.load(RecursionSettings, ["--preset", "smoke"]), store).place
    given = architecture.create(architecture.ModelSize(512, 24, 1, 2, 48, 64, 0.0), 0)
    opt.save(given, tmp_path / "model", corpus_folder / "tokenizer")
    planned = plan(store, "--model.name", str(tmp_path / "model"), "--tokenizer", "None")
    family = planned.chains[0].family
    assert (family.size.hidden_size, family.size.layers, family.size.positions) == (24, 1, 64)
    [base] = planned.bases
    assert family.pretrained == (base.identity, store.root / "base" / base.identity)
    [bringing_in] = planned.costs[BASE]
    assert bringing_in.trained == 0  # nothing is pretrained
    assert base.name == str(tmp_path / "model")


def test_a_models_folder_may_be_named_from_where_the_command_is_given(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus_folder = prepare_corpus(config.load(RecursionSettings, ["--preset", "smoke"]), store).place
    opt.save(
        architecture.create(architecture.ModelSize(512, 24, 1, 2, 48, 64, 0.0), 0),
        tmp_path / "model",
        corpus_folder / "tokenizer",
    )
    monkeypatch.chdir(tmp_path)
    planned = plan(store, "--model.name", "model", "--tokenizer", "None")
    [base] = planned.bases
    assert base.name == str(tmp_path / "model")  # a worker has another working directory


def test_the_published_codes_remainder_reaches_the_corpus() -> None:
    preset = config.load(RecursionSettings, ["--preset", "published-code"])
    assert preset.corpus.remainder == "drop_every_1000_lines"


def test_twice_the_epochs_cost_twice_the_fit_and_nothing_else(store: Store) -> None:
    planned = plan(store, CONDITION + "epochs", "2")
    once, twice = (planned.costs[work.chain.identity][0] for work in planned.chains)
    assert twice.seconds["fit"] == pytest.approx(2 * once.seconds["fit"])
    assert {kind: twice.seconds[kind] for kind in ("sample", "measure")} == {
        kind: once.seconds[kind] for kind in ("sample", "measure")
    }
    # 3 forwards a trained token, 1 epoch of 32 blocks of 16 tokens; and the validation split once more
    forward = architecture.flops_per_token(planned.chains[0].family.size)
    assert twice.flops - once.flops == pytest.approx(forward * (3 * 32 + len(planned.corpus.validation)) * 16)


def test_accumulating_costs_more_to_fit_with_every_generation(store: Store) -> None:
    planned = plan(store, CONDITION + "regime", "accumulate", CONDITION + "epochs", "1", "--generations", "3")
    constant, growing = (planned.costs[work.chain.identity] for work in planned.chains)
    shared, *later = growing
    assert (shared.trained, shared.generated, sum(shared.seconds.values()), shared.bytes) == (0, 0, 0.0, 0)
    assert [cost.trained for cost in later] == [constant[0].trained * (index + 1) for index in range(1, 4)]
    assert [cost.generated for cost in later] == [cost.generated for cost in constant[1:]]


def test_a_models_size_is_part_of_a_fit_from_random_weights(store: Store) -> None:
    fits = [
        plan(store, "--model.hidden_size", size, "--conditions.no-real-data.start", "scratch").chains[0].chain
        for size in ("32", "64")
    ]
    assert fits[0].settings["fit"] != fits[1].settings["fit"]


AS_OPT_125M = (
    "--model.hidden_size", "768", "--model.layers", "12", "--model.heads", "12", "--model.ffn_size", "3072",
    "--model.vocabulary_size", "50272", "--seeds", "8",
)  # fmt: skip


@pytest.mark.parametrize(("gigabytes", "side_by_side"), [(500, 8), (16, 2), (6, 1)])
def test_chains_side_by_side_are_bounded_by_memory_and_the_plan_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], gigabytes: int, side_by_side: int
) -> None:
    """A model of OPT-125m's shape on eight cores: 5.8 GB for every worker."""
    monkeypatch.setattr("pipelines.recursion_plan.measure_rates", lambda *sizes: Rates(1e3, 1e3, 1e3))
    planned = plan(store, *AS_OPT_125M, capacity=Capacity([Machine(8, 0, gigabytes * 10**9)]))
    assert planned.side_by_side == side_by_side
    print_plan(config.load(RecursionSettings, ["--preset", "smoke", *AS_OPT_125M]), planned)
    told = " ".join(capsys.readouterr().out.split())
    bound = "one worker for each CPU core" if side_by_side == 8 else "a worker needs 5."
    assert f"{side_by_side} chains side by side: {bound}" in told


def test_a_model_that_no_machine_holds_is_refused_before_anything_is_measured(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.recursion_plan.measure_rates", lambda *sizes: pytest.fail("measured"))
    with pytest.raises(BadInput, match=r"train\.workers = 1: each needs 5\.\d GB of memory, and none fits: .*4\.0 GB"):
        plan(store, *AS_OPT_125M, capacity=Capacity([Machine(8, 0, 4 * 10**9)]))


def test_the_base_model_has_as_many_workers_as_are_of_use_and_fit(store: Store) -> None:
    (base,) = plan(store, "--base.batch_size", "64").bases
    for memory, workers in ((10**12, 8), (3 * base.needed(3, "cpu").memory, 3), (1, 1)):
        assert base_workers(base, Capacity([Machine(16, 0, memory)]))[0] == workers


def test_chains_side_by_side_are_no_more_than_asked_for(store: Store) -> None:
    assert plan(store, "--seeds", "3", "--cluster.concurrent_chains", "1").side_by_side == 1
