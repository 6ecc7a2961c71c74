"""Settings of `mlflow run . -e pretrain`."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, cast

from pydantic import Field, ValidationInfo, field_validator

from components.config import merged, pairs, validated
from components.config.settings import (
    ClusterSettings,
    Count,
    Precision,
    Rate,
    Section,
    Share,
    StoreSettings,
    TrackingSettings,
)


class PretrainSettings(Section):
    """A base model of any size, pretrained on the documentation inside the pinned packages."""

    entry_point: ClassVar[str] = "pretrain"

    preset: str = "builtin"
    vocabulary_size: Annotated[int, Field(ge=260)] = Field(4096, description="entries of the tokenizer")
    block_size: Annotated[int, Field(ge=2)] = Field(64, description="tokens per block")
    blocks: Count | None = Field(None, description="blocks to train on, evenly spread over the text (all if empty)")
    hidden_size: Count = 256
    layers: Count = 4
    heads: Count = 4
    ffn_size: Count = 1024
    positions: Count = Field(128, description="longest sequence in tokens: a prompt and its continuation")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="while pretraining")
    epochs: Count = Field(1, description="passes over the blocks")
    learning_rate: Rate = Field(2e-3, description="the highest; warm-up before it, a cosine after it")
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    batch_size: Count = Field(32, description="blocks per optimizer step, over all workers")
    warm_up: Share = Field(0.02, description="share of the steps in which the learning rate rises")
    precision: Precision = Field("auto", description="auto: bf16 where the workers' machines multiply it, else fp32")
    workers: Count | None = Field(None, description="workers that train it together (as many as help if empty)")
    parts: Count = Field(20, description="a kill costs at most one of so many equal parts of the steps")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of the first weights and of the order of the blocks")
    output: str = Field("base", description="the folder that is written: weights in bf16, tokenizer, model card")
    store: StoreSettings = StoreSettings()
    cluster: ClusterSettings = ClusterSettings()
    tracking: TrackingSettings = TrackingSettings()
    dry_run: bool = Field(False, description="print the plan with its cost and stop")

    @field_validator("heads")
    @classmethod
    def _divides(cls, heads: int, others: ValidationInfo) -> int:
        if (hidden := others.data.get("hidden_size", heads)) % heads:
            raise ValueError(f"must divide hidden_size ({hidden})")
        return heads

    @field_validator("positions")
    @classmethod
    def _holds_a_prompt_and_its_continuation(cls, positions: int, others: ValidationInfo) -> int:
        if 2 * others.data.get("block_size", 0) > positions:
            raise ValueError(
                f"a prompt and its continuation need {2 * others.data['block_size']}; give more, or a smaller block_size"
            )
        return positions


def load(arguments: Sequence[str]) -> PretrainSettings:
    """Settings out of command-line arguments.

    Raises:
        BadInput: one line for every fault.
    """
    given = pairs(arguments)
    (settings,) = validated([(PretrainSettings, merged("pretrain", given, PretrainSettings))])
    return cast(PretrainSettings, settings)
