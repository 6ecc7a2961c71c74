"""Every setting of a study, validated whole before anything is computed.

A study is conditions x seeds. What all conditions share stands in `corpus`, `model`, `base`, `train`,
`generate`; what a condition varies stands in `conditions.<name>`, where an empty field inherits.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

Engine = Literal["deepspeed", "torch"]
Keep = Literal["best", "last"]
Precision = Literal["fp32", "bf16"]
Regime = Literal["replace", "subsample", "accumulate"]
Start = Literal["pretrained", "generation0", "previous", "scratch"]


def _is_a_number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


Number = BeforeValidator(_is_a_number)  # pydantic takes true for 1
Fraction = Annotated[float, Number, Field(ge=0, le=1)]
Natural = Annotated[int, Number, Field(ge=0)]
Count = Annotated[int, Number, Field(ge=1)]
Rate = Annotated[float, Number, Field(gt=0)]


class Section(BaseModel):
    """A part of the settings: immutable, and no name in it that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CorpusSettings(Section):
    """The text, and how it becomes blocks. `path` wins over `dataset`; neither means CPython's documentation."""

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
        None, description="blocks the study trains on (all if empty); the base model gets the rest"
    )
    vocabulary_size: Annotated[int, Field(ge=260)] = Field(
        2048, description="entries of a tokenizer that is trained here"
    )


class ModelSettings(Section):
    """Pretrained weights by `name`, or an OPT of this size from random weights."""

    name: str | None = Field(None, description="a folder, or a name on the Hub such as facebook/opt-125m")
    hidden_size: Count = 128
    layers: Count = 4
    heads: Count = 4
    ffn_size: Count = 512
    positions: Count = Field(128, description="longest sequence in tokens: a prompt and its continuation")
    vocabulary_size: Count | None = Field(
        None, description="rows of the embedding (the tokenizer's size, rounded up to 64, if empty)"
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


class BaseModelSettings(Section):
    """Pretraining of a from-scratch model before generation 0 (`epochs: 0` for none)."""

    epochs: Natural = 0
    learning_rate: Rate = 2e-3
    batch_size: Count = 64
    blocks: Count | None = Field(None, description="at most this many pretraining blocks (all if empty)")


class TrainSettings(Section):
    """Fine-tuning of every generation: AdamW, cosine annealing per epoch, no warm-up, no clipping (paper.md)."""

    engine: Engine = "deepspeed"
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 1
    precision: Precision = "fp32"
    epochs: Count = 5
    learning_rate: Rate = 2e-5
    final_learning_rate: Annotated[float, Field(ge=0)] = 1e-6
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    batch_size: Count = Field(128, description="blocks an optimiser step, over all workers")
    micro_batch_size: Count | None = Field(None, description="blocks a worker holds at once (the whole share if empty)")
    start: Start = Field("pretrained", description="the weights that every generation starts from")
    keep: Keep = Field(
        "best", description="the checkpoint kept: lowest loss on the original validation split, or the last"
    )
    workers: Count = Field(1, description="Ray Train workers a chain")


class GenerateSettings(Section):
    """Beam search from every real training block: exactly `corpus.block_size` new tokens."""

    num_beams: Count = 5
    repetition_penalty: Rate = 1.0
    batch_size: Count | None = Field(None, description="prompts decoded together (32 on a CPU, 256 on a GPU if empty)")
    precision: Precision = "fp32"


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
    """What one condition does differently. An empty field inherits from `train` or `generate`."""

    epochs: Count | None = None
    learning_rate: Rate | None = None
    start: Start | None = None
    repetition_penalty: Rate | None = None
    num_beams: Count | None = None


class StoreSettings(Section):
    path: str = Field(
        "store", description="folder that keeps every finished phase, on a file system that all nodes share"
    )


class ClusterSettings(Section):
    address: str | None = Field(None, description="a Ray cluster's address (an embedded one on this machine if empty)")
    concurrent_chains: Count | None = Field(None, description="chains side by side (as many as fit if empty)")
    max_failures: Natural = Field(3, description="worker crashes a chain survives")


class TrackingSettings(Section):
    experiment: str | None = Field(None, description="MLflow experiment (the entry point's name if empty)")
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
    conditions: dict[str, ConditionSettings] = Field(min_length=1)
    corpus: CorpusSettings = CorpusSettings()
    tokenizer: str | None = Field(
        "train", description="`train`, a folder, a name on the Hub, or empty for the model's own"
    )
    model: ModelSettings = ModelSettings()
    base: BaseModelSettings = BaseModelSettings()
    train: TrainSettings = TrainSettings()
    generate: GenerateSettings = GenerateSettings()


class RowsCondition(RegimeCondition):
    """How the training sets of a family in memory come about, and how big they are."""

    rows: Annotated[int, Number, Field(ge=2)] = Field(100, description="M: rows that a generation is fitted on")
    chains: Annotated[int, Number, Field(ge=2)] | None = Field(None, description="chains a seed, if not the study's")


class GaussianCondition(RowsCondition):
    growth: Annotated[float, Number, Field(ge=0, le=3)] = Field(
        0.0, description="generation i is fitted on M (i + 1)^growth rows: 0 constant, 1 linear, more superlinear"
    )

    @model_validator(mode="after")
    def _real_rows_belong_to_a_constant_size(self) -> Self:
        if self.real_fraction and self.growth:
            raise ValueError(f"real_fraction {self.real_fraction} belongs to growth=0")
        return self


class GaussianSettings(StudySettings):
    """`mlflow run . -e gaussian`: Gaussians fitted to their own samples, three ways to sample (the paper's section)."""

    entry_point = "gaussian"

    preset: str = "laptop"
    generations: Natural = 1000
    conditions: dict[str, GaussianCondition] = Field(min_length=1)
    chains: Annotated[int, Number, Field(ge=2)] = Field(500, description="chains a seed; they advance together")
    dimensions: Annotated[int, Number, Field(ge=1, le=64)] = 1
    ddof: Annotated[int, Number, Field(ge=0, le=1)] = Field(
        1, description="covariance = scatter / (M - ddof): 1 unbiased, 0 maximum likelihood"
    )
    shown: tuple[Natural, ...] = Field(
        (0, 10, 50, 100, 500, 1000), description="generations with runs of their own in MLflow, and densities"
    )


class DiscreteCondition(RowsCondition):
    """A distribution over outcomes, and how it is resampled."""

    distribution: Literal["uniform", "zipf"] = "uniform"
    outcomes: Annotated[int, Number, Field(ge=2)] = Field(10, description="K")
    exponent: Rate = Field(1.0, description="of zipf: outcome i has a share of i^-exponent")
    probabilities: tuple[Annotated[float, Number, Field(ge=0)], ...] | None = Field(
        None, description="a distribution of one's own; wins over the three above"
    )

    @field_validator("probabilities")
    @classmethod
    def _a_distribution(cls, probabilities: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if probabilities is None:
            return None
        if sum(probability > 0 for probability in probabilities) < 2:
            raise ValueError("at least two outcomes need a probability above 0")
        if abs(sum(probabilities) - 1) > 1e-9:
            raise ValueError(f"probabilities must sum to 1, these sum to {sum(probabilities):.9g}")
        return probabilities


class DiscreteSettings(StudySettings):
    """`mlflow run . -e discrete`: discrete distributions resampled, with no functional error (the paper's section)."""

    entry_point = "discrete"

    preset: str = "laptop"
    generations: Natural = 2000
    conditions: dict[str, DiscreteCondition] = Field(min_length=1)
    chains: Annotated[int, Number, Field(ge=2)] = Field(500, description="chains a seed; they advance together")
    shown: tuple[Natural, ...] = Field(
        (0, 1, 10, 100, 1000), description="generations with runs of their own in MLflow"
    )


class EmSettings(Section):
    """Expectation maximisation; names and meanings are scikit-learn's `GaussianMixture`'s, values the published notebook's."""

    tol: Rate = 1e-5
    reg_covar: Annotated[float, Number, Field(ge=0)] = Field(
        1e-6, description="added to the covariances' diagonals: a floor under collapse"
    )
    max_iter: Count = 2000
    init_params: Literal["kmeans", "k-means++", "random_from_data"] = "kmeans"


class MixtureCondition(RowsCondition):
    """What the real data is drawn from, and which mixture is fitted to it."""

    rows: Annotated[int, Number, Field(ge=2)] = Field(500, description="N: rows that a generation is fitted on")
    blobs: Literal[1, 2] = Field(2, description="unit Gaussians of the truth: one at the origin, or two")
    separation: Rate = Field(4.0, description="distance of the two")
    components: Count = Field(2, description="of the mixture that is fitted")

    @model_validator(mode="after")
    def _rows_for_every_component(self) -> Self:
        if self.components > self.rows:
            raise ValueError(f"{self.components} components cannot be fitted to {self.rows} rows")
        return self


class MixtureSettings(StudySettings):
    """`mlflow run . -e mixture`: Gaussian mixtures fitted to their own samples (the paper's figure 7)."""

    entry_point = "mixture"

    preset: str = "laptop"
    generations: Natural = 2000
    conditions: dict[str, MixtureCondition] = Field(min_length=1)
    chains: Annotated[int, Number, Field(ge=2)] = Field(10, description="chains a seed; they advance together")
    em: EmSettings = EmSettings()
    shown: tuple[Natural, ...] = Field(
        (0, 50, 100, 150, 200, 350, 2000), description="generations with runs of their own in MLflow, and snapshots"
    )


class ImagesSettings(Section):
    """Where the real images come from: grey, of one size."""

    name: str = Field("digits", description="scikit-learn's digits (8x8), or a data set of OpenML such as mnist_784")
    path: str | None = Field(
        None,
        description="IDX files or pictures, a folder or one file; without a test set a tenth is one. Wins over name",
    )
    train_images: Annotated[int, Number, Field(ge=2)] | None = Field(
        None, description="at most so many to train on (all if empty)"
    )


class VaeTrainSettings(Section):
    """Training from random weights in every generation: Adam, the paper's values."""

    epochs: Count = 30
    batch_size: Count = 256
    learning_rate: Rate = 1e-3
    weight_decay: Annotated[float, Number, Field(ge=0)] = 1e-5
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="bf16 where the machine multiplies it (auto)"
    )


class VaeCondition(RegimeCondition):
    """How images of the decoders before come into a training set."""

    fresh: bool = Field(True, description="drawn anew for every minibatch; else as many images as there are real ones")
    sampling: Literal["means", "bernoulli"] = Field(
        "means", description="the decoder's means, or draws of black and white"
    )


class VaeSettings(StudySettings):
    """`mlflow run . -e vae`: VAEs trained on the last one's images (the paper's figure 9)."""

    entry_point = "vae"

    preset: str = "laptop"
    conditions: dict[str, VaeCondition] = Field(min_length=1)
    data: ImagesSettings = ImagesSettings()
    latents: Count = 20
    train: VaeTrainSettings = VaeTrainSettings()
