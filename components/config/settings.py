"""Every setting of a study, validated whole before anything is computed.

A study is conditions x seeds. What all conditions share stands in `corpus`, `model`, `base`, `train`,
`generate`; what a condition varies stands in `conditions.<name>`, where an empty field inherits.
"""

import os
import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from components.config.errors import is_control

Engine = Literal["deepspeed", "torch"]
Keep = Literal["best", "last"]
Precision = Literal["auto", "fp32", "bf16"]
Decoder = Literal["beam", "greedy", "sampling"]
Judge = Literal["generation0", "own"]
Regime = Literal["replace", "subsample", "accumulate"]
Start = Literal["pretrained", "generation0", "previous", "scratch"]


def _is_a_number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


def _is_a_name(text: str) -> str:
    if not re.fullmatch(r"\w[\w .,+%-]{0,99}", text):
        raise ValueError(
            "a condition's name has up to 100 letters, digits, spaces and . , + % - _, a letter or digit first"
        )
    return text


Number = BeforeValidator(_is_a_number)  # pydantic takes true for 1
Fraction = Annotated[float, Number, Field(ge=0, le=1)]
Share = Annotated[float, Number, Field(gt=0, le=1)]
Part = Annotated[float, Number, Field(ge=0, lt=1)]
Natural = Annotated[int, Number, Field(ge=0)]
Count = Annotated[int, Number, Field(ge=1)]
Rate = Annotated[float, Number, Field(gt=0)]
ConditionName = Annotated[str, AfterValidator(_is_a_name)]
"""It goes into names and keys of MLflow, where `..` and `/` mean folders, and onto pages and terminals."""


class Section(BaseModel):
    """A part of the settings: immutable, and no name in it that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_control_characters(cls, value: object) -> object:
        if isinstance(value, str) and any(map(is_control, value)):
            raise ValueError("holds a control character, or bytes that are no UTF-8; give plain text")
        return value


class CorpusSettings(Section):
    """The text, and how it becomes blocks. `path` wins over `dataset`; neither means the documentation inside the pinned networkx."""

    path: str | None = Field(
        None, description="a folder with train/valid/test text files, or one text file to be split"
    )
    dataset: str | None = Field(None, description="a dataset's name on the Hugging Face Hub")
    dataset_config: str | None = Field(None, description="the dataset's configuration, such as wikitext-2-raw-v1")
    block_size: Annotated[int, Field(ge=2)] = Field(
        64, description="tokens a block, of a prompt and of what is generated"
    )
    remainder: Literal["drop_once", "drop_every_1000_lines"] = Field(
        "drop_once",
        description="what does not fill a block: dropped once a split, or every 1,000 lines (published code)",
    )
    train_blocks: Count | None = Field(
        None, description="blocks that each seed trains on (all if empty); the base model gets what no seed can draw"
    )
    shared_blocks: bool = Field(
        False, description="all seeds train on the same blocks; otherwise each seed draws its own train_blocks"
    )
    reserve_blocks: Natural = Field(
        0, description="blocks of the training text set aside for fresh_real, which no model has seen before"
    )
    heldout_blocks: Count | None = Field(
        None, description="at most so many blocks to validate on, and to test on (all if empty)"
    )
    vocabulary_size: Annotated[int, Field(ge=260)] = Field(
        2048, description="entries of a tokenizer that is trained here"
    )


class ModelSettings(Section):
    """A model by `name`, whose own sizes count, or an OPT of the sizes given here."""

    name: str | None = Field(
        None,
        description="builtin, which ships with the project; a folder; or a name on the Hub such as facebook/opt-125m",
    )
    hidden_size: Count = 128
    layers: Count = 4
    heads: Count = 4
    ffn_size: Count = 512
    positions: Count = Field(128, description="longest sequence in tokens: a prompt and its continuation")
    vocabulary_size: Count | None = Field(
        None, description="rows of the embedding (the tokenizer's size, rounded up to 64, if empty)"
    )
    dropout: Annotated[float, Number, Field(ge=0, lt=1)] | None = Field(
        None, description="while training (if empty, the named model's own, or 0.1 from scratch)"
    )


class BaseModelSettings(Section):
    """Pretraining of a from-scratch model before generation 0 (`epochs: 0` for none)."""

    epochs: Natural = 0
    learning_rate: Rate = 2e-3
    batch_size: Count = 64
    blocks: Count | None = Field(None, description="at most this many pretraining blocks (all if empty)")
    per_seed: bool = Field(False, description="each seed pretrains its own base model; this costs one base per seed")


class TrainSettings(Section):
    """Fine-tuning of every generation: AdamW, cosine annealing per epoch, no warm-up, no clipping (paper.md)."""

    engine: Engine = "deepspeed"
    zero_stage: Annotated[int, Field(ge=0, le=3)] = Field(
        1, description="what ZeRO partitions among a chain's workers; one worker has nothing to partition"
    )
    precision: Precision = Field("auto", description="auto: bf16 where the workers' machines multiply it, else fp32")
    epochs: Count = 5
    learning_rate: Rate = 2e-5
    final_learning_rate: Annotated[float, Field(ge=0)] = 1e-6
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    batch_size: Count = Field(128, description="blocks an optimiser step, over all workers")
    micro_batch_size: Count | None = Field(
        None, description="blocks a worker holds at once; changes rounding only (if empty, as many as fit)"
    )
    start: Start = Field("pretrained", description="the weights that every generation starts from")
    keep: Keep = Field(
        "best", description="the checkpoint kept: lowest loss on the original validation split, or the last"
    )
    workers: Count = Field(1, description="Ray Train workers a chain")
    deterministic: bool = Field(
        False,
        description="on GPUs, deterministic kernels only, so that the same study gives the same bits; slower, and CPUs need it not",
    )


class GenerateSettings(Section):
    """How every real training block is continued: by exactly `corpus.block_size` new tokens."""

    decoding: Decoder = Field("beam", description="beam search, its greedy form of one beam, or drawing every token")
    num_beams: Count = 5
    temperature: Rate = Field(1.0, description="of sampling: logits are divided by it")
    top_k: Natural = Field(0, description="of sampling: only the k likeliest tokens (all if 0)")
    top_p: Share = Field(1.0, description="of sampling: only the fewest tokens that have this much of the probability")
    repetition_penalty: Rate = 1.0
    batch_size: Count | None = Field(
        None, description="prompts decoded together (if empty, as many as are fast and fit)"
    )
    precision: Precision = Field(
        "fp32",
        description="fp32 writes what transformers' generate writes, token for token; bf16 is slower than fp32 on a CPU without AVX-512",
    )


class MeasureSettings(Section):
    """What a generation is measured by."""

    blocks: Count = Field(
        256,
        description="blocks of the samples, and of held-out text, that every measure of text is over; fewer where "
        "the study has fewer to test on, or to train on",
    )
    mauve: str | None = Field(
        None,
        description="MAUVE, under this model's embeddings: a folder that all nodes have, or a name on the Hub such as openai-community/gpt2-large",
    )


class RegimeCondition(Section):
    """What the next generation is trained on."""

    regime: Regime = "replace"
    real_fraction: Fraction = Field(
        0.0, description="share of the training set kept real in every generation (replace)"
    )

    @model_validator(mode="after")
    def _real_fraction_belongs_to_replace(self) -> Self:
        if self.real_fraction and self.regime != "replace":
            raise ValueError(
                f"real_fraction {self.real_fraction} belongs to regime=replace; {self.regime} draws from the pool of all data"
            )
        return self


class ConditionSettings(RegimeCondition):
    """What one condition does differently. An empty field inherits from `train` or `generate`.

    The remedies of the literature are here, and compose (docs/paper.md names their sources).
    """

    epochs: Count | None = None
    learning_rate: Rate | None = None
    start: Start | None = None
    repetition_penalty: Rate | None = None
    decoding: Decoder | None = None
    num_beams: Count | None = None
    temperature: Rate | None = None
    top_k: Natural | None = None
    top_p: Share | None = None
    fresh_real: Fraction = Field(
        0.0, description="share of the training set that is real and new in every generation (replace)"
    )
    sample_size: Count | None = Field(
        None, description="M: blocks that a later generation is trained on (all if empty)"
    )
    growth: Annotated[float, Number, Field(ge=0, le=3)] = Field(
        0.0, description="generation i is trained on M (i + 1)^growth blocks: 0 constant, 1 linear, more superlinear"
    )
    best_of: Annotated[int, Number, Field(ge=1, le=32)] = Field(
        1, description="of so many blocks drawn after a prompt, the one that generation 0 finds likeliest is passed on"
    )
    drop_least_surprising: Part = Field(0.0, description="share of the blocks written that is dropped as too likely")
    drop_most_surprising: Part = Field(0.0, description="share of the blocks written that is dropped as too unlikely")
    judge: Judge = Field(
        "generation0", description="whose surprise the blocks are dropped by: generation 0's, or the own"
    )
    drop_duplicates: Share | None = Field(
        None, description="blocks are dropped whose 5-grams are to this share (Jaccard) those of one before"
    )
    edit: Part | None = Field(
        None,
        description="instead of writing: pass on the own training blocks, tokens of a probability above this drawn anew",
    )

    @model_validator(mode="after")
    def _what_goes_together(self) -> Self:
        replaces = self.regime == "replace"
        if self.fresh_real and not replaces:
            raise ValueError(f"fresh_real {self.fresh_real} belongs to regime=replace")
        if self.real_fraction + self.fresh_real > 1:
            raise ValueError(f"real_fraction {self.real_fraction} and fresh_real {self.fresh_real} are more than 1")
        if self.fresh_real and self.growth:
            raise ValueError(f"fresh_real {self.fresh_real} belongs to growth=0")
        if (self.sample_size or self.growth) and self.regime == "subsample":
            raise ValueError("sample_size and growth do not belong to regime=subsample, which keeps the size")
        if self.drop_least_surprising + self.drop_most_surprising >= 1:
            raise ValueError("drop_least_surprising and drop_most_surprising leave nothing")
        if self.edit is not None:
            if not replaces:
                raise ValueError(
                    f"edit {self.edit} belongs to regime=replace: it passes on as many blocks as there were"
                )
            written = ("decoding", "num_beams", "temperature", "top_k", "top_p", "repetition_penalty", "sample_size")
            given = [name for name in written if getattr(self, name) is not None]
            given += ["growth"] * (self.growth > 0) + ["best_of"] * (self.best_of > 1)
            if given:
                raise ValueError(f"edit {self.edit} writes nothing new; leave out {', '.join(given)}")
        return self


class StoreSettings(Section):
    path: str = Field(
        "store",
        description="keeps every finished phase: a folder on a file system that all nodes share, or s3://bucket/prefix",
    )
    cache: str | None = Field(
        None,
        description="with s3://, a folder on every node for what is being computed or read (if empty, the user's cache)",
    )


class ClusterSettings(Section):
    address: str | None = Field(
        default_factory=lambda: os.environ.get("RAY_ADDRESS") or None,
        description="a Ray cluster's address; if empty that in RAY_ADDRESS, else a cluster of this machine's own",
    )
    concurrent_chains: Count | None = Field(None, description="chains side by side (as many as fit if empty)")
    max_failures: Natural = Field(3, description="worker crashes a chain survives")


class TrackingSettings(Section):
    experiment: Annotated[str, Field(min_length=1, max_length=250)] | None = Field(
        None, description="MLflow experiment (the entry point's name if empty)"
    )
    models: Literal["full", "external", "none"] = Field(
        "external", description="registry holds the weights, a pointer into the store, or no models"
    )


class StudySettings(Section):
    """What every entry point has."""

    entry_point: ClassVar[str]

    generations: Natural = Field(4, description="the last generation; generation 0 is fitted on real data")
    seeds: tuple[Natural, ...] = Field((0, 1), description="a list of seeds, or how many (0, 1, ...)")
    store: StoreSettings = StoreSettings()
    cluster: ClusterSettings = ClusterSettings()
    tracking: TrackingSettings = TrackingSettings()
    dry_run: bool = Field(False, description="print the plan with its cost and stop")

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_of_seeds(cls, value: object) -> object:
        return tuple(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("seeds")
    @classmethod
    def _seeds_to_run(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds:
            raise ValueError("at least one seed is needed")
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is there twice; give each once")
        return seeds


class RecursionSettings(StudySettings):
    """`mlflow run . -e recursion`: the language experiments of the paper (figures 10, 11, 15)."""

    entry_point = "recursion"

    preset: str = "laptop"
    conditions: dict[ConditionName, ConditionSettings] = Field(min_length=1)
    corpus: CorpusSettings = CorpusSettings()
    tokenizer: str | None = Field(
        "train", description="`train`, `builtin`, a folder, a name on the Hub, or empty for the model's own"
    )
    model: ModelSettings = ModelSettings()
    base: BaseModelSettings = BaseModelSettings()
    train: TrainSettings = TrainSettings()
    generate: GenerateSettings = GenerateSettings()
    measure: MeasureSettings = MeasureSettings()

    @property
    def starts(self) -> set[Start]:
        """The weights that generations start from, over all conditions."""
        return {condition.start or self.train.start for condition in self.conditions.values()}
