"""A model by name: its own architecture from random weights, a dropout of one's own, and one look at its weights."""

import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, OPTConfig, OPTForCausalLM, PreTrainedModel

from components import config
from components.config import sweep as sweeps
from components.config.settings import RecursionSettings
from components.families.language import model as opt
from components.families.language.base import BaseWork
from components.families.language.embedding import look_at
from components.families.precision import Computing
from components.recursion.family import GuardFailure
from components.recursion.loop import run_chain
from components.recursion.peers import Peers
from components.store import Store
from pipelines.recursion_chains import check_settings, prepare_corpus
from pipelines.recursion_plan import Plan, make_plan
from pipelines.sweep_families import runs_of
from tests.embedders import gpt2, saved
from tests.studies import Place

pytestmark = pytest.mark.usefixtures("rates_measured_once")


def unlike_ours() -> PreTrainedModel:
    """An OPT with an output layer of its own, norms after, and a narrower embedding: of no size that we build."""
    torch.manual_seed(0)
    return OPTForCausalLM(
        OPTConfig(
            vocab_size=512, hidden_size=32, word_embed_proj_dim=16, num_hidden_layers=2, num_attention_heads=2, ffn_dim=48,
            max_position_embeddings=32, do_layer_norm_before=False, tie_word_embeddings=False, activation_function="gelu",
            dropout=0.1, pad_token_id=1, bos_token_id=2, eos_token_id=2,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def store(prepared: Place, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.open(str(prepared.copy_to(tmp_path_factory.mktemp("place")).store))


@pytest.fixture
def named(store: Store, tmp_path: Path) -> list[str]:
    """Arguments that name a model."""
    corpus = prepare_corpus(config.load(RecursionSettings, ["--preset", "smoke"]), store).place
    unlike_ours().save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(corpus / "tokenizer").save_pretrained(tmp_path / "model")
    return ["--model.name", str(tmp_path / "model"), "--tokenizer", "None"]


def plan(store: Store, *arguments: str) -> Plan:
    settings = config.load(RecursionSettings, ["--preset", "smoke", *arguments])
    return make_plan(settings, store, prepare_corpus(settings, store), check_settings(settings), Computing("fp32", ""))


def base_of(store: Store, arguments: list[str]) -> BaseWork:
    (base,) = plan(store, *arguments).bases
    return base


def test_a_fit_from_random_weights_is_of_the_named_models_own_architecture(store: Store, named: list[str]) -> None:
    (work,) = plan(store, *named, "--train.start", "scratch").chains
    (first,) = islice(run_chain(work.chain, work.family, store, 0), 1)
    fitted, theirs = opt.load(first.directories["fit"] / "model"), unlike_ours()
    assert fitted.num_parameters() == theirs.num_parameters()
    assert {name: weight.shape for name, weight in fitted.state_dict().items()} == {
        name: weight.shape for name, weight in theirs.state_dict().items()
    }
    ids = torch.arange(4, 20)[None]
    theirs.load_state_dict(fitted.state_dict())
    assert torch.equal(theirs.eval()(ids).logits, fitted(ids).logits)  # activation, norms and projections are theirs


def test_the_named_models_configuration_is_part_of_a_fit_from_random_weights_only(
    store: Store, named: list[str], tmp_path: Path
) -> None:
    def settings(start: str) -> dict[str, object]:
        return dict(plan(store, *named, "--train.start", start).chains[0].chain.settings["fit"])

    scratch, previous = settings("scratch"), settings("previous")
    assert scratch["configuration"] == opt.architecture_of(named[1])
    assert "configuration" not in previous  # the base model's identity holds it
    other = unlike_ours()
    other.config.init_std = 0.1
    other.save_pretrained(tmp_path / "model")
    assert settings("scratch") != scratch


@pytest.mark.parametrize("start", ["scratch", "pretrained"])
def test_a_dropout_that_is_given_is_the_named_models_and_part_of_the_fit(
    store: Store, named: list[str], start: str
) -> None:
    fits = []
    for dropout in ("None", "0.0", "0.4"):
        planned = plan(store, *named, "--model.dropout", dropout, "--train.start", start)
        fits.append(planned.chains[0].chain.settings["fit"]["size"]["dropout"])
        if dropout == "0.4":
            for base in planned.bases:
                base(Peers(), lambda message: None)
            work = planned.chains[0]
            (first,) = islice(run_chain(work.chain, work.family, store, 0), 1)
            assert opt.load(first.directories["fit"] / "model").config.dropout == 0.4
    assert fits == [0.1, 0.0, 0.4]  # its own where none is given


def test_from_scratch_the_dropout_is_opts_own_where_none_is_given(store: Store) -> None:
    assert plan(store).chains[0].family.size.dropout == 0.1
    assert plan(store, "--model.dropout", "0.0").chains[0].family.size.dropout == 0.0


def test_no_worker_needs_the_named_models_files_to_know_the_base_models_identity(
    store: Store, named: list[str], tmp_path: Path
) -> None:
    base = base_of(store, named)
    identity = base.identity
    shutil.rmtree(tmp_path / "model")
    assert base.identity == identity


def test_a_base_model_goes_by_the_content_of_the_named_model(store: Store, named: list[str], tmp_path: Path) -> None:
    before = base_of(store, named)
    shutil.copytree(tmp_path / "model", tmp_path / "elsewhere")
    assert base_of(store, ["--model.name", str(tmp_path / "elsewhere"), *named[2:]]).identity == before.identity
    other = unlike_ours()
    with torch.no_grad():
        other.lm_head.weight[0, 0] += 1
    other.save_pretrained(tmp_path / "model")
    assert base_of(store, named).identity != before.identity


def test_a_worker_that_has_other_weights_under_the_name_makes_no_base_model_of_them(
    store: Store, named: list[str], tmp_path: Path
) -> None:
    base = replace(base_of(store, named), store=Store.open(str(tmp_path / "store")))
    shutil.copytree(store.root / "corpus", tmp_path / "store" / "corpus")
    base = replace(base, family=replace(base.family, corpus_folder=next((tmp_path / "store" / "corpus").iterdir())))
    other = unlike_ours()
    with torch.no_grad():
        other.lm_head.weight[0, 0] += 1
    other.save_pretrained(tmp_path / "model")
    with pytest.raises(GuardFailure, match="other weights under this name"):
        base(Peers(), lambda message: None)
    assert base.find() is None


@pytest.mark.parametrize("arguments", [[], ["--model.dropout", "0.1"]], ids=["pretrained here", "by name"])
def test_no_base_model_is_made_where_no_generation_starts_from_one(
    store: Store, named: list[str], arguments: list[str]
) -> None:
    given = [*named, *arguments] if arguments else []
    assert plan(store, *given).bases
    assert plan(store, *given, "--train.start", "scratch").bases == []
    mixed = plan(store, *given, "--train.start", "scratch", "--conditions.mine.start", "previous")
    (base,) = mixed.bases
    bases = {work.chain.condition: work.chain.settings["base"] for work in mixed.chains}
    assert bases == {"no-real-data": None, "mine": base.identity}


def test_a_sweep_makes_the_base_model_that_any_of_its_trials_starts_from(store: Store) -> None:
    def base(*arguments: str) -> BaseWork | None:
        chosen = sweeps.load(["--preset", "smoke", *arguments])
        return next(iter(runs_of(chosen, store, Computing("fp32", "")).bases), None)

    assert base() is not None
    assert base("--condition.start", "scratch") is None
    assert base("--train.start", "scratch", "--search.start", "choice(scratch,previous)") is not None


def test_the_embedders_tokenizer_is_part_of_what_mauve_is_measured_by(tmp_path: Path) -> None:
    folder = saved(gpt2, tmp_path / "model")
    before = look_at(str(folder)).digest
    assert look_at(str(saved(gpt2, tmp_path / "again"))).digest == before
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.model_max_length = 7  # where it cuts texts off
    tokenizer.save_pretrained(folder)
    shorter = look_at(str(folder)).digest
    tokenizer.backend_tokenizer.pre_tokenizer.add_prefix_space = True
    tokenizer.save_pretrained(folder)
    assert len({before, shorter, look_at(str(folder)).digest}) == 3
