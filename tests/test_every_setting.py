"""Every setting changes what is computed, or is refused where it does not, or is declared here as neutral.

Settings are found by walking the models that validate them, so a new one fails here until it has a value to be tried with.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin

import numpy as np
import pytest
from PIL import Image
from pydantic import BaseModel

from components import config, corpus
from components.config import sweep as sweeps
from components.config.errors import BadInput
from components.config.settings import RecursionSettings, StudySettings
from components.config.small_families import DiscreteSettings, GaussianSettings, MixtureSettings, VaeSettings
from components.config.sweep import SweepSettings
from components.families.language import architecture
from components.families.language import model as opt
from components.families.precision import Computing
from components.families.vae import images
from components.recursion.worker import ChainWork
from components.store import Store
from components.sweep import space
from pipelines import discrete, gaussian, mixture, small_families, vae
from pipelines.recursion_chains import check_settings, make_chains, prepare_corpus
from pipelines.study import study_identity
from pipelines.sweep_plan import check_given
from tests.embedders import gpt2, saved
from tests.test_bad_input import ENOUGH

NEUTRAL = {
    "preset": "a name for values, which are all there as settings",
    "dry_run": "says whether to compute, not what",
    "store.path": "where results are kept",
    "store.cache": "where a machine keeps its copies of them",
    "cluster.address": "where the work is done",
    "cluster.concurrent_chains": "how much of it is done at once",
    "cluster.max_failures": "how often it is tried again",
    "tracking.experiment": "where results are shown",
    "tracking.models": "which files are shown",
    "train.zero_stage": "what is partitioned among workers: rounding only",
    "train.workers": "who computes a batch: rounding only",
    "train.micro_batch_size": "how a batch is cut: rounding only",
    "train.deterministic": "which kernels a GPU takes: rounding only",
    "generate.batch_size": "how many prompts are decoded together: rounding only",
    "name": "under which the same sweep is found",
    "trials": "how long a sweep goes on: the trials it has are the same",
    "threshold": "which answers are read out of the same trials",
}
"""Settings that no result goes by, and why."""


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings; of conditions by name those of the one that is called `one`."""
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if name == "conditions":
            yield from leaves(section, f"{prefix}conditions.one.")
        elif section is not None:
            yield from leaves(section, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _section(annotation: Any) -> Any:
    """The model that a field holds, if it holds one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, dict):
        return next(filter(None, map(_section, get_args(annotation))), None)
    return None


class Kind(ABC):
    """An entry point's settings, a value for each, and contexts to try them in.

    `identities` yields all that determines what the command of these arguments computes, the first part first.
    """

    model: type[BaseModel]
    values: Mapping[str, str]
    contexts: Mapping[str, Sequence[str]]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def identities(self, arguments: Sequence[str]) -> Iterator[Any]:
        """All that a study of these settings is identified by."""

    def outcomes(self, context: str) -> dict[str, str]:
        """By setting what changing it does: `changes`, `nothing`, or the line that refuses it."""
        arguments, found = self.contexts[context], {}
        before = list(self.identities(arguments))
        for name in leaves(self.model):
            given = [f"--{name}", self.values[name]]
            if given not in [list(pair) for pair in pairwise(arguments)]:
                try:
                    same = all(
                        part == whole for part, whole in zip(self.identities([*arguments, *given]), before, strict=True)
                    )
                    found[name] = "nothing" if same else "changes"
                except BadInput as fault:
                    found[name] = str(fault)
        return found


SHARED = {
    "generations": "3",
    "seeds": "[5]",
    "store.path": "elsewhere",
    "store.cache": "elsewhere",
    "cluster.address": "a-head:6379",
    "cluster.concurrent_chains": "3",
    "cluster.max_failures": "7",
    "tracking.experiment": "another",
    "tracking.models": "none",
    "dry_run": "true",
}
OF_A_REGIME = {"conditions.one.regime": "accumulate", "conditions.one.real_fraction": "0.25"}


class Recursion(Kind):
    model = RecursionSettings

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.store = Store.open(str(folder / "store"))
        self._prepared: dict[str, Any] = {}

    @cached_property
    def values(self) -> Mapping[str, str]:
        text = self._text("other", ENOUGH.replace(b"fox", b"cat"))
        return SHARED | OF_A_REGIME | {
            "preset": "laptop",
            "conditions.one.epochs": "3",
            "conditions.one.learning_rate": "0.02",
            "conditions.one.start": "previous",
            "conditions.one.repetition_penalty": "1.5",
            "conditions.one.decoding": "greedy",
            "conditions.one.num_beams": "4",
            "conditions.one.temperature": "0.7",
            "conditions.one.top_k": "9",
            "conditions.one.top_p": "0.8",
            "conditions.one.fresh_real": "0.25",
            "conditions.one.sample_size": "20",
            "conditions.one.growth": "0.5",
            "conditions.one.best_of": "3",
            "conditions.one.drop_least_surprising": "0.25",
            "conditions.one.drop_most_surprising": "0.25",
            "conditions.one.judge": "own",
            "conditions.one.drop_duplicates": "0.5",
            "conditions.one.edit": "0.9",
            "corpus.path": str(text),
            "corpus.dataset": str(self._dataset("other", b"cat")),
            "corpus.dataset_config": "second",
            "corpus.block_size": "8",
            "corpus.remainder": "drop_every_1000_lines",
            "corpus.train_blocks": "30",
            "corpus.shared_blocks": "true",
            "corpus.reserve_blocks": "9",
            "corpus.heldout_blocks": "7",
            "corpus.vocabulary_size": "270",
            "tokenizer": str(self._model("tokenizer", 280)),
            "model.name": str(self._model("other", 300)),
            "model.hidden_size": "48",
            "model.layers": "1",
            "model.heads": "1",
            "model.ffn_size": "24",
            "model.positions": "40",
            "model.vocabulary_size": "600",
            "model.dropout": "0.3",
            "base.epochs": "2",
            "base.learning_rate": "0.1",
            "base.batch_size": "7",
            "base.blocks": "11",
            "base.per_seed": "true",
            "train.engine": "torch",
            "train.zero_stage": "3",
            "train.precision": "bf16",
            "train.epochs": "4",
            "train.learning_rate": "0.03",
            "train.final_learning_rate": "0.0001",
            "train.weight_decay": "0.3",
            "train.batch_size": "9",
            "train.micro_batch_size": "3",
            "train.start": "generation0",
            "train.keep": "last",
            "train.workers": "2",
            "train.deterministic": "true",
            "generate.decoding": "greedy",
            "generate.num_beams": "3",
            "generate.temperature": "0.6",
            "generate.top_k": "5",
            "generate.top_p": "0.9",
            "generate.repetition_penalty": "1.3",
            "generate.batch_size": "5",
            "generate.precision": "bf16",
            "measure.blocks": "3",
            "measure.mauve": str(saved(gpt2, self.folder / "embedder")),
        }  # fmt: skip

    @cached_property
    def contexts(self) -> Mapping[str, Sequence[str]]:
        text = [
            "--preset",
            "smoke",
            "--conditions.no-real-data",
            "null",
            "--seeds",
            "[1, 2]",
            "--model.dropout",
            "0.0",
            "--train.precision",
            "fp32",
        ]
        plain = [*text, "--corpus.path", str(self._text("text", ENOUGH)), "--corpus.vocabulary_size", "300"]
        empty = [*plain, "--conditions.one", "{}"]
        own = "{epochs: 2, learning_rate: 0.01, start: generation0, repetition_penalty: 1.2, decoding: beam, num_beams: 3}"
        named = [
            *plain[:-2],
            "--model.name",
            str(self._model("named", 300)),
            "--tokenizer",
            "None",
            "--conditions.one",
            "{}",
        ]
        hub = [*text, "--corpus.dataset", str(self._dataset("text", b"fox")), "--corpus.dataset_config", "first"]
        return {
            "as most studies are": empty,
            "a named model": named,
            "a named model's architecture from random weights": [*named, "--train.start", "scratch"],
            "everything from random weights": [*empty, "--train.start", "scratch"],
            "no base model": [*empty, "--base.epochs", "0", "--train.start", "generation0", "--train.epochs", "2"],
            "one epoch and no base model": [*empty, "--base.epochs", "0", "--train.start", "scratch", "--train.epochs", "1"],
            "two workers": [*empty, "--train.workers", "2", "--base.epochs", "0", "--train.start", "scratch"],
            "the plain engine": [*empty, "--train.engine", "torch", "--train.workers", "2"],
            "greedy search": [*empty, "--generate.decoding", "greedy"],
            "sampling": [*empty, "--generate.decoding", "sampling"],
            "editing": [*plain, "--conditions.one.edit", "0.5"],
            "a condition with all of its own": [*plain, "--conditions.one", own],
            "a condition that drops blocks": [*plain, "--conditions.one.drop_most_surprising", "0.1"],
            "all blocks for all seeds": [*empty, "--corpus.train_blocks", "None", "--base.epochs", "0", "--train.start", "scratch"],
            "new real blocks": [*empty, "--corpus.reserve_blocks", "12"],
            "a dataset": [*hub, "--corpus.vocabulary_size", "300", "--conditions.one", "{}"],
            "the documentation inside a package": [*text, "--conditions.one", "{}"],
            "a store in a bucket": [*empty, "--store.path", "s3://bucket/a"],
        }  # fmt: skip

    def identities(self, arguments: Sequence[str]) -> Iterator[Any]:
        settings = config.load(RecursionSettings, arguments)
        models = check_settings(settings)
        inputs = corpus.identity_inputs(settings.corpus, settings.tokenizer or str(settings.model.name))
        yield (key := json.dumps(inputs, sort_keys=True))
        if key not in self._prepared:
            self._prepared[key] = prepare_corpus(settings, self.store)
        computing = Computing("fp32", "")
        bases, chains = make_chains(settings, self.store, self._prepared[key], models, computing)
        yield [base.identity for base in bases]
        yield _chains(settings, chains)

    def _text(self, name: str, content: bytes) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for split, part in {"train": 3, "valid": 2, "test": 1}.items():
            (folder / f"{split}.txt").write_bytes(content[: len(content) * part // 3])
        return folder

    def _dataset(self, name: str, word: bytes) -> Path:
        """Two configurations, as a repository of the Hub has them."""
        folder = self.folder / f"dataset-{name}"
        lines = ["---", "configs:"]
        for configuration, with_word in (("first", word), ("second", b"dog")):
            self._text(f"dataset-{name}", b"")
            (folder / configuration).mkdir(exist_ok=True)
            lines += [f"- config_name: {configuration}", "  data_files:"]
            for split, part in {"train": 3, "validation": 2, "test": 1}.items():
                content = ENOUGH.replace(b"fox", with_word)
                (folder / configuration / f"{split}.txt").write_bytes(content[: len(content) * part // 3])
                lines += [f"  - split: {split}", f"    path: {configuration}/{split}.txt"]
        (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
        return folder

    def _model(self, name: str, entries: int) -> Path:
        """An OPT with a tokenizer of its own."""
        folder = self.folder / f"model-{name}"
        if not folder.exists():
            settings = config.load(RecursionSettings, ["--preset", "smoke"])
            text = settings.corpus.model_copy(
                update={"path": str(self._text("text", ENOUGH)), "vocabulary_size": entries}
            )
            made = prepare_corpus(settings.model_copy(update={"corpus": text}), self.store)
            size = architecture.ModelSize(320, 16, 1, 2, {"named": 32}.get(name, 48), 64, 0.0)
            opt.save(architecture.create(size, 0), folder, made.place / "tokenizer")
        return folder


def _chains(settings: StudySettings, chains: Sequence[ChainWork[Any]]) -> tuple[Any, ...]:
    named = [work.chain.identity for work in chains]
    return study_identity(settings.entry_point, named, settings.generations), *named


class Small(Kind):
    """A family whose chains take a process each."""

    def __init__(
        self,
        folder: Path,
        model: type[StudySettings],
        families: Callable[[Any, Store], Mapping[str, Any]],
        values: Mapping[str, str],
        contexts: Mapping[str, Sequence[str]],
    ) -> None:
        super().__init__(folder)
        self.model, self.families = model, families
        self.values = SHARED | {"preset": "laptop", "shown": "[0, 7]", "chains": "77"} | values
        contexts = {
            **contexts,
            "a store in a bucket": [*next(iter(contexts.values())), "--store.path", "s3://bucket/a"],
        }
        self.contexts = {name: ["--preset", "smoke", *arguments] for name, arguments in contexts.items()}
        self.store = Store.open(str(folder / "store"))

    def identities(self, arguments: Sequence[str]) -> Iterator[Any]:
        settings = config.load(self.model, arguments)
        families = self.families(settings, self.store)
        conditions = {name: settings.conditions[name] for name in families}
        yield _chains(settings, small_families.make_chains(settings, self.store, conditions, families))


def _families(family_of: Callable[[Any, str], Any]) -> Callable[[Any, Store], Mapping[str, Any]]:
    return lambda settings, store: {name: family_of(settings, name) for name in settings.conditions}


def _of_images(settings: VaeSettings, store: Store) -> Mapping[str, Any]:
    real = images.prepare(settings.data, store)
    return {name: vae.family_of(settings, name, real, Computing("fp32", "")) for name in settings.conditions}


SAMPLED = OF_A_REGIME | {"conditions.one.sample_size": "33", "conditions.one.chains": "55"}


def gaussians(folder: Path) -> Kind:
    values = SAMPLED | {"conditions.one.growth": "0.5", "dimensions": "2", "ddof": "0"}
    only = [
        part for name in ("replace-100", "accumulate-100", "subsample-100") for part in (f"--conditions.{name}", "null")
    ]
    contexts = {
        "plain": ["--conditions.one.sample_size", "44"],
        "a condition with chains of its own": [*only, "--conditions.one.chains", "9"],
    }
    return Small(folder, GaussianSettings, _families(gaussian.family_of), values, contexts)


def distributions(folder: Path) -> Kind:
    values = SAMPLED | {
        "conditions.one.distribution": "zipf",
        "conditions.one.outcomes": "7",
        "conditions.one.exponent": "2.5",
        "conditions.one.probabilities": "[0.9, 0.1]",
    }
    only = [
        part
        for name in ("uniform-10", "zipf-100-keep-10-percent", "given")
        for part in (f"--conditions.{name}", "null")
    ]
    contexts = {
        "uniform": ["--conditions.one.sample_size", "44"],
        "zipf": ["--conditions.one.distribution", "zipf"],
        "given": ["--conditions.one.probabilities", "[0.5, 0.5]"],
        "a condition with chains of its own": [*only, "--conditions.one.chains", "9"],
    }
    return Small(folder, DiscreteSettings, _families(discrete.family_of), values, contexts)


def mixtures(folder: Path) -> Kind:
    values = SAMPLED | {
        "conditions.one.blobs": "1",
        "conditions.one.separation": "9",
        "conditions.one.components": "3",
        "em.tol": "0.01",
        "em.reg_covar": "0.1",
        "em.max_iter": "9",
        "em.init_params": "k-means++",
    }
    only = [
        part for name in ("blob-100", "two-100", "two-100-one-component") for part in (f"--conditions.{name}", "null")
    ]
    contexts = {
        "two blobs": ["--conditions.one.sample_size", "44"],
        "one blob": ["--conditions.one.blobs", "1"],
        "a condition of one component with chains of its own": [
            *only, "--conditions.one.chains", "9", "--conditions.one.components", "1",
        ],
    }  # fmt: skip
    return Small(folder, MixtureSettings, _families(mixture.family_of), values, contexts)


def autoencoders(folder: Path) -> Kind:
    (folder / "pictures").mkdir()
    for number, picture in enumerate(np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)):
        Image.fromarray(picture).save(folder / "pictures" / f"{number}.png")
    values = OF_A_REGIME | {
        "conditions.one.fresh": "false",
        "conditions.one.sampling": "bernoulli",
        "data.name": "mnist_784",
        "data.path": str(folder / "pictures"),
        "data.train_images": "20",
        "data.shared_images": "true",
        "latents": "3",
        "train.epochs": "5",
        "train.batch_size": "31",
        "train.learning_rate": "0.2",
        "train.weight_decay": "0.2",
        "train.precision": "bf16",
        "train.deterministic": "true",
    }
    contexts = {
        "digits": ["--conditions.one", "{}", "--conditions.no-real-data", "null"],
        "pictures": [
            "--conditions.one",
            "{}",
            "--conditions.no-real-data",
            "null",
            "--data.path",
            str(folder / "pictures"),
            "--data.train_images",
            "12",
        ],
    }
    contexts["all pictures"] = [*contexts["pictures"][:-1], "None"]
    return Small(folder, VaeSettings, _of_images, values, contexts)


class Sweeps(Kind):
    """What a sweep adds to its study, whose own settings are those of the study's entry point."""

    model = SweepSettings
    values: ClassVar = {
        "preset": "laptop",
        "family": "discrete",
        "name": "another",
        "trials": "9",
        "search": "{sample_size: 'randint(5,50)'}",
        "sampler": "random",
        "sampler_seed": "4",
        "objectives": "cost",
        "pruning.grace": "3",
        "pruning.factor": "5",
        "threshold": "0.7",
    }
    contexts: ClassVar = {
        "the default preset": ["--family", "gaussian"],
        "Gaussians": ["--family", "gaussian", "--preset", "smoke"],
        "a grid": ["--family", "gaussian", "--preset", "smoke", "--sampler", "grid", "--trials", "4"],
        "one objective": ["--family", "gaussian", "--preset", "smoke", "--objectives", "collapse"],
        "real data": ["--family", "gaussian", "--preset", "smoke", "--search.real_fraction", "uniform(0,1)"],
        "rungs beyond the end": ["--family", "gaussian", "--preset", "smoke", "--pruning.grace", "12"],
    }

    def identities(self, arguments: Sequence[str]) -> Iterator[Any]:
        chosen = sweeps.load(arguments)
        searched = space.parse(chosen.settings.search)
        space.check(searched, chosen.settings.search, chosen.condition)
        check_given(chosen, searched)
        yield chosen.determining


KINDS: Mapping[str, Callable[[Path], Kind]] = {
    "recursion": Recursion,
    "gaussian": gaussians,
    "discrete": distributions,
    "mixture": mixtures,
    "vae": autoencoders,
    "sweep": Sweeps,
}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Kind]:
    @cache
    def kind(name: str) -> Kind:
        return KINDS[name](tmp_path_factory.mktemp(name))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        patch.setattr("components.families.vae.images._openml", lambda name: np.zeros((60, 8, 8), np.uint8))
        yield kind


@pytest.mark.parametrize("name", KINDS)
def test_every_setting_has_a_value_to_be_tried_with_and_no_other_is_named(kinds: Callable[[str], Kind], name: str):
    kind = kinds(name)
    known = set(leaves(kind.model))
    assert known <= set(kind.values)
    extra = set(kind.values) - known
    assert not extra if name in ("recursion", "sweep") else extra <= {"shown", "chains"}


@pytest.mark.parametrize("name", KINDS)
def test_a_setting_changes_an_identity_or_is_refused_in_one_line_or_is_declared_as_neutral(
    kinds: Callable[[str], Kind], name: str
):
    """And each is taken somewhere: what is refused everywhere would be no setting."""
    kind = kinds(name)
    outcomes = {context: kind.outcomes(context) for context in kind.contexts}
    by_setting = {
        setting: {context: found[setting] for context, found in outcomes.items() if setting in found}
        for setting in leaves(kind.model)
    }
    by_setting.pop("preset")  # another one brings other values
    for setting, found in by_setting.items():
        taken = "nothing" if setting in NEUTRAL else "changes"
        lines = {line for line in found.values() if line not in ("nothing", "changes")}
        assert taken in found.values(), (setting, found)
        assert set(found.values()) <= {taken, *lines}, (setting, found)
        parts = [part for line in lines for part in line.splitlines()]  # one for each setting that is refused
        assert all(re.match(r"[\w.-]+ = .*: \S", part) for part in parts), parts
