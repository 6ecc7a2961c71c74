"""Settings: presets and dotted overrides, validated whole, refused in one line a fault."""

import pytest
from omegaconf import OmegaConf

from components import config
from components.config.errors import BadInput
from components.config.settings import RecursionSettings


def load(*arguments: str) -> RecursionSettings:
    return config.load(RecursionSettings, arguments)


@pytest.mark.parametrize("preset", config.presets())
def test_every_preset_is_valid_and_survives_the_way_through_its_own_yaml(preset):
    settings = load("--preset", preset)
    assert settings.preset == preset
    again = RecursionSettings.model_validate(OmegaConf.to_container(OmegaConf.create(config.to_yaml(settings))))
    assert again == settings


def test_the_presets_of_the_contract_are_there():
    assert {"laptop", "paper", "penalty-2", "published-code", "scratch", "smoke"} <= set(config.presets())


def test_the_paper_preset_is_the_papers_experiment():
    paper = load("--preset", "paper")
    a, b = paper.conditions["no-real-data"], paper.conditions["keep-10-percent"]
    assert (a.epochs, a.real_fraction, b.epochs, b.real_fraction) == (5, 0.0, 10, 0.1)
    assert (len(paper.seeds), paper.generations) == (5, 9)
    assert (paper.model.name, paper.corpus.dataset_config) == ("facebook/opt-125m", "wikitext-2-raw-v1")
    assert (paper.train.learning_rate, paper.train.final_learning_rate, paper.train.batch_size) == (2e-5, 1e-6, 128)
    assert (paper.train.weight_decay, paper.train.keep, paper.train.start) == (0.01, "best", "pretrained")
    assert (paper.generate.num_beams, paper.generate.repetition_penalty, paper.corpus.block_size) == (5, 1.0, 64)


@pytest.mark.parametrize(
    ("preset", "penalty", "remainder"),
    [("penalty-2", 2.0, "drop_once"), ("published-code", 3.0, "drop_every_1000_lines")],
)
def test_the_ablations_differ_from_the_paper_in_their_penalty(preset, penalty, remainder):
    """And the published code in its remainder; in nothing else."""
    expected = load("--preset", "paper").model_dump()
    for condition in expected["conditions"].values():
        condition["repetition_penalty"] = penalty
    expected["corpus"]["remainder"] = remainder
    assert load("--preset", preset).model_dump() == expected | {"preset": preset}


def test_another_dataset_does_not_keep_the_configuration_of_the_presets():
    assert load("--preset", "paper", "--corpus.dataset", "my/texts").corpus.dataset_config is None
    own = load("--preset", "paper", "--corpus.dataset", "my/texts", "--corpus.dataset_config", "clean")
    assert own.corpus.dataset_config == "clean"


def test_any_field_is_set_by_its_dotted_name():
    settings = load("--train.engine", "torch", "--conditions.mine.real_fraction=0.25", "--seeds", "[3,5]")
    assert settings.train.engine == "torch"
    assert settings.conditions["mine"].real_fraction == 0.25
    assert settings.seeds == (3, 5)


def test_a_number_of_seeds_counts_from_zero():
    assert load("--seeds", "3").seeds == (0, 1, 2)


def test_a_condition_set_to_null_leaves_the_study():
    assert set(load("--conditions.keep-10-percent", "null").conditions) == {"no-real-data"}


def test_what_mlflow_hands_on_for_no_value_is_no_value():
    assert load("--corpus.train_blocks", "None").corpus.train_blocks is None


def test_settings_cannot_be_changed_after_they_were_validated():
    with pytest.raises(ValueError, match="frozen"):
        load().train.epochs = 3  # type: ignore[misc]


def test_an_interpolation_in_a_value_is_kept_as_text_and_reads_nothing_of_the_environment(monkeypatch):
    monkeypatch.setenv("SECRET", "hidden")
    assert load("--tokenizer", "${oc.env:SECRET}").tokenizer == "${oc.env:SECRET}"


FAULTS = {
    "unknown preset": (["--preset", "nothing"], r"^preset = nothing: no such preset; there are .*laptop"),
    "unknown field": (["--corpus.pth", "x"], r"^corpus\.pth = x: no such setting; there are path, "),
    "unknown field of a condition": (
        ["--conditions.a.real", "1"],
        r"^conditions\.a\.real = 1: no such setting; .*real_fraction",
    ),
    "wrong type": (["--generations", "many"], r"^generations = many: .*integer"),
    "fraction beyond one": (
        ["--conditions.a.real_fraction", "1.5"],
        r"^conditions\.a\.real_fraction = 1.5: .*less than or equal to 1",
    ),
    "fraction below zero": (
        ["--conditions.a.real_fraction", "-0.5"],
        r"^conditions\.a\.real_fraction = -0.5: .*greater",
    ),
    "fraction with another regime": (
        ["--conditions.a.real_fraction", "0.5", "--conditions.a.regime", "accumulate"],
        r"^conditions\.a = .*: real_fraction 0.5 belongs to regime=replace",
    ),
    "fresh data with another regime": (
        ["--conditions.a.fresh_real", "0.5", "--conditions.a.regime", "subsample"],
        r"^conditions\.a = .*: fresh_real 0.5 belongs to regime=replace",
    ),
    "more real data than all": (
        ["--conditions.a.fresh_real", "0.5", "--conditions.a.real_fraction", "0.6"],
        r"^conditions\.a = .*: real_fraction 0.6 and fresh_real 0.5 are more than 1",
    ),
    "a share that grows": (
        ["--conditions.a.fresh_real", "0.5", "--conditions.a.growth", "1"],
        r"^conditions\.a = .*: fresh_real 0.5 belongs to growth=0",
    ),
    "nothing passed on": (
        ["--conditions.a.drop_least_surprising", "0.5", "--conditions.a.drop_most_surprising", "0.5"],
        r"^conditions\.a = .*: drop_least_surprising and drop_most_surprising leave nothing",
    ),
    "editing and writing": (
        ["--conditions.a.edit", "0.9", "--conditions.a.decoding", "greedy", "--conditions.a.growth", "1"],
        r"^conditions\.a = .*: edit 0.9 writes nothing new; leave out decoding, growth",
    ),
    "unknown decoder": (
        ["--generate.decoding", "dream"],
        r"^generate\.decoding = dream: .*'beam', 'greedy' or 'sampling'",
    ),
    "generations below zero": (["--generations", "-1"], r"^generations = -1: .*greater than or equal to 0"),
    "no beams": (["--generate.num_beams", "0"], r"^generate\.num_beams = 0: .*greater than or equal to 1"),
    "no epochs": (["--conditions.a.epochs", "0"], r"^conditions\.a\.epochs = 0"),
    "unknown regime": (
        ["--conditions.a.regime", "pool"],
        r"^conditions\.a\.regime = pool: .*'replace', 'subsample' or 'accumulate'",
    ),
    "no seeds": (["--seeds", "0"], r"^seeds"),
    "unknown engine": (["--train.engine", "jax"], r"^train\.engine = jax"),
    "ZeRO 4": (["--train.zero_stage", "4"], r"^train\.zero_stage = 4: .*less than or equal to 3"),
    "not a number": (["--train.learning_rate", "fast"], r"^train\.learning_rate = fast: .*number"),
    "no value": (["--generations"], r"^generations = : a value is missing"),
    "no name": (["laptop"], r"^settings = laptop: settings come as --dotted\.name value"),
    "broken YAML": (["--seeds", "[1,"], r"^seeds = \[1,: not a value that YAML can read"),
    "a section as a value": (["--train", "3"], r"^train = 3"),
    "a value as a section": (["--generations.most", "3"], r"^generations"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_in_one_line_with_field_value_and_remedy(fault):
    arguments, message = FAULTS[fault]
    with pytest.raises(BadInput, match=message) as caught:
        load(*arguments)
    assert len(str(caught.value).splitlines()) == 1


def test_settings_that_nothing_goes_by_have_a_line_each():
    with pytest.raises(BadInput) as caught:
        load(
            "--train", "{epochs: 3, learning_rate: 0.1}",
            "--conditions", "{no-real-data: {epochs: 2, judge: own}, keep-10-percent: {real_fraction: 0.1, epochs: 3}}",
            "--store.cache=/x",
        )  # fmt: skip
    assert [line.split(" = ")[0] for line in str(caught.value).splitlines()] == [
        "train.epochs",
        "conditions.no-real-data.judge",
        "store.cache",
    ]


def test_a_preset_may_hold_what_nothing_goes_by_and_no_value_is_never_refused():
    settings = load("--model.name", "a/model", "--tokenizer", "None", "--base.blocks", "None", "--base.epochs", "0")
    assert settings.model.hidden_size == 128  # the preset's; the model has its own
    assert load("--corpus.path", "a-folder", "--preset", "paper").corpus.dataset == "Salesforce/wikitext"


def test_every_fault_has_a_line_of_its_own():
    with pytest.raises(BadInput) as caught:
        load("--generations", "-1", "--corpus.pth", "x", "--train.engine", "jax")
    assert [line.split(" = ")[0] for line in str(caught.value).splitlines()] == [
        "generations",
        "corpus.pth",
        "train.engine",
    ]
