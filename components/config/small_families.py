"""Settings of the four small families: Gaussians, discrete distributions, mixtures, VAEs."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from components.config.settings import (
    ConditionName,
    Count,
    Natural,
    Number,
    Precision,
    Rate,
    RegimeCondition,
    Section,
    StudySettings,
)


class SampledCondition(RegimeCondition):
    """How the training sets of a family in memory come about, and how big they are."""

    sample_size: Annotated[int, Number, Field(ge=2)] = Field(
        100, description="M: samples that a generation is fitted on"
    )
    chains: Annotated[int, Number, Field(ge=2)] | None = Field(None, description="chains a seed, if not the study's")


class GaussianCondition(SampledCondition):
    growth: Annotated[float, Number, Field(ge=0, le=3)] = Field(
        0.0, description="generation i is fitted on M (i + 1)^growth samples: 0 constant, 1 linear, more superlinear"
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
    conditions: dict[ConditionName, GaussianCondition] = Field(min_length=1)
    chains: Annotated[int, Number, Field(ge=2)] = Field(500, description="chains a seed; they advance together")
    dimensions: Annotated[int, Number, Field(ge=1, le=64)] = 1
    ddof: Annotated[int, Number, Field(ge=0, le=1)] = Field(
        1, description="covariance = scatter / (M - ddof): 1 unbiased, 0 maximum likelihood"
    )
    shown: tuple[Natural, ...] = Field(
        (0, 10, 50, 100, 500, 1000), description="generations of which the first seed has runs in MLflow, and densities"
    )


class DiscreteCondition(SampledCondition):
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
    conditions: dict[ConditionName, DiscreteCondition] = Field(min_length=1)
    chains: Annotated[int, Number, Field(ge=2)] = Field(500, description="chains a seed; they advance together")
    shown: tuple[Natural, ...] = Field(
        (0, 1, 10, 100, 1000), description="generations of which the first seed has runs in MLflow"
    )


class EmSettings(Section):
    """Expectation maximisation; names and meanings are scikit-learn's `GaussianMixture`'s, values the published notebook's."""

    tol: Rate = 1e-5
    reg_covar: Annotated[float, Number, Field(ge=0)] = Field(
        1e-6, description="added to the covariances' diagonals: a floor under collapse"
    )
    max_iter: Count = 2000
    init_params: Literal["kmeans", "k-means++", "random_from_data"] = "kmeans"


class MixtureCondition(SampledCondition):
    """What the real data is drawn from, and which mixture is fitted to it."""

    sample_size: Annotated[int, Number, Field(ge=2)] = Field(
        500, description="N: samples that a generation is fitted on"
    )
    blobs: Literal[1, 2] = Field(2, description="unit Gaussians of the truth: one at the origin, or two")
    separation: Rate = Field(4.0, description="distance of the two")
    components: Count = Field(2, description="of the mixture that is fitted")

    @model_validator(mode="after")
    def _rows_for_every_component(self) -> Self:
        if self.components > self.sample_size:
            raise ValueError(f"{self.components} components cannot be fitted to {self.sample_size} rows")
        return self


class MixtureSettings(StudySettings):
    """`mlflow run . -e mixture`: Gaussian mixtures fitted to their own samples (the paper's figure 7)."""

    entry_point = "mixture"

    preset: str = "laptop"
    generations: Natural = 2000
    conditions: dict[ConditionName, MixtureCondition] = Field(min_length=1)
    chains: Annotated[int, Number, Field(ge=2)] = Field(10, description="chains a seed; they advance together")
    em: EmSettings = EmSettings()
    shown: tuple[Natural, ...] = Field(
        (0, 50, 100, 150, 200, 350, 2000),
        description="generations of which the first seed has runs in MLflow, and snapshots",
    )


class ImagesSettings(Section):
    """Where the real images come from: grey, of one size."""

    name: str = Field("digits", description="scikit-learn's digits (8x8), or a data set of OpenML such as mnist_784")
    path: str | None = Field(
        None,
        description="IDX files or pictures, a folder or one file; without a test set a tenth is one. Wins over name",
    )
    train_images: Annotated[int, Number, Field(ge=2)] | None = Field(
        None, description="images that each seed trains on, at most (all if empty)"
    )
    shared_images: bool = Field(
        False, description="all seeds train on the same images; otherwise each seed draws its own train_images"
    )


class VaeTrainSettings(Section):
    """Training from random weights in every generation: Adam, the paper's values."""

    epochs: Count = 30
    batch_size: Count = 256
    learning_rate: Rate = 1e-3
    weight_decay: Annotated[float, Number, Field(ge=0)] = 1e-5
    precision: Precision = Field("auto", description="auto: bf16 where the workers' machines multiply it, else fp32")
    deterministic: bool = Field(
        False,
        description="on GPUs, deterministic kernels only, so that the same study gives the same bits; slower, and CPUs need it not",
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
    conditions: dict[ConditionName, VaeCondition] = Field(min_length=1)
    data: ImagesSettings = ImagesSettings()
    latents: Count = 20
    train: VaeTrainSettings = VaeTrainSettings()
