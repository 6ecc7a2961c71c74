"""Settings of a sweep: what is searched, and the study that every trial is one condition of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from omegaconf import OmegaConf
from pydantic import BaseModel, Field, field_validator

from components import config
from components.config.errors import BadInput
from components.config.settings import Count, Natural, Number, RecursionSettings, Section, StudySettings
from components.config.small_families import DiscreteSettings, GaussianSettings, MixtureSettings, VaeSettings

STUDIES: Mapping[str, type[StudySettings]] = {
    "language": RecursionSettings,
    "gaussian": GaussianSettings,
    "discrete": DiscreteSettings,
    "mixture": MixtureSettings,
    "vae": VaeSettings,
}
TRIAL = "trial"
NOT_THE_SWEEP = ("trials", "threshold", "name", "preset", "store", "cluster", "tracking", "dry_run")
"""What may change from one start of a sweep to the next; all else determines its trials."""


class PruningSettings(Section):
    """Asynchronous successive halving over generations."""

    grace: Count = Field(1, description="no trial is stopped before this generation")
    factor: Annotated[float, Number, Field(gt=1)] = Field(
        2.0, description="at every rung the best 1/factor go on; the next rung is factor times the generation"
    )


class SweepSettings(Section):
    """`mlflow run . -e sweep`: trials over any fields of a condition. Beside these, a sweep has the settings of its study."""

    entry_point: ClassVar[str] = "sweep"

    preset: str = "laptop"
    family: Literal["language", "gaussian", "discrete", "mixture", "vae"] = "language"
    name: Annotated[str, Field(pattern=r"^\w[\w.\-]*$", max_length=100)] | None = Field(
        None, description="the same name on the same store continues a sweep (family and preset if empty)"
    )
    trials: Count | None = Field(None, description="in all, those of earlier starts included (empty: a grid's points)")
    search: dict[str, Any] = Field(
        description="by a condition's field: uniform(low,high), loguniform, quniform(low,high,step), randint, choice(...)"
    )
    sampler: Literal["tpe", "random", "gp", "grid"] = "tpe"
    sampler_seed: Natural = 0
    objectives: tuple[str, ...] = Field(("collapse", "cost"), description="collapse, cost, seconds: one or several")
    pruning: PruningSettings | None = Field(PruningSettings(), description="null: every trial comes to its end")
    threshold: Annotated[float, Number, Field(gt=0)] = Field(
        0.1, description="collapse that is still taken as none: the least real fraction that keeps it is asked for"
    )

    @field_validator("objectives", mode="before")
    @classmethod
    def _one_objective(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("objectives")
    @classmethod
    def _objectives_once(cls, objectives: tuple[str, ...]) -> tuple[str, ...]:
        if not objectives or len(set(objectives)) < len(objectives):
            raise ValueError("one objective or several different ones are needed")
        return objectives


@dataclass(frozen=True)
class Sweep:
    """A sweep's settings, and its study's with one condition, `trial`, that the trials differ from.

    `by_user`: what was not a preset's, by dotted name.
    """

    settings: SweepSettings
    study: StudySettings
    by_user: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.settings.name or f"{self.settings.family}-{self.settings.preset}"

    @property
    def condition(self) -> Any:
        """What all trials share."""
        return self.study.conditions[TRIAL]  # type: ignore[attr-defined]

    @property
    def given(self) -> dict[str, Any]:
        """The fields of it that were set."""
        return dict(self.condition.model_dump(exclude_unset=True))

    def with_conditions(self, points: Mapping[str, Mapping[str, Any]]) -> StudySettings:
        """The study of these trials: conditions by name."""
        conditions = {name: type(self.condition)(**(self.given | dict(point))) for name, point in points.items()}
        return self.study.model_copy(update={"conditions": conditions})

    def dump(self) -> dict[str, Any]:
        """All settings, flat as they are given, as JSON."""
        study = self.study.model_dump(mode="json")
        condition = study.pop("conditions")[TRIAL]
        return {**self.settings.model_dump(mode="json"), "name": self.name, "condition": condition, **study}

    def yaml(self) -> str:
        """The resolved settings, as they can be given."""
        return str(OmegaConf.to_yaml(OmegaConf.create(self.dump()), sort_keys=False))

    @property
    def determining(self) -> dict[str, Any]:
        """What another start of the same sweep must bring."""
        return {name: value for name, value in self.dump().items() if name not in NOT_THE_SWEEP}


def load(arguments: Sequence[str]) -> Sweep:
    """A sweep out of command-line arguments, as `config.load` does it for a study.

    Raises:
        BadInput: one line for every fault.
    """
    given = config.pairs(arguments)
    family = given.get("family", "language")
    if family not in STUDIES:
        raise BadInput("family", family, f"no such family; there are {', '.join(STUDIES)}")
    values = config.merged(f"sweep/{family}", given, SweepSettings)
    if not isinstance(values.get("search"), dict):
        raise BadInput("search", values.get("search"), "give search.<field>=uniform(low,high), for example")
    values["search"] = {name: text for name, text in values["search"].items() if text is not None}
    own = {name: values.pop(name) for name in [*SweepSettings.model_fields] if name in values}
    if own.get("sampler") == "grid" and "trials" not in given:
        own["trials"] = None  # a preset's number is not meant for it
    study = {"preset": own.get("preset", "laptop"), **values}
    if "conditions" in study:
        raise BadInput(
            "conditions", study["conditions"], "a sweep has one condition: give condition.<field> or search.<field>"
        )
    study["conditions"] = {TRIAL: study.pop("condition", None) or {}}
    models: list[tuple[type[BaseModel], dict[str, Any]]] = [(SweepSettings, own), (STUDIES[family], study)]
    settings, chosen = config.validated(models, {f"conditions.{TRIAL}": "condition"})
    assert isinstance(settings, SweepSettings)
    assert isinstance(chosen, StudySettings)
    return Sweep(settings, chosen, config.fields_of(given))
