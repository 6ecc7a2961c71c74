"""What a sweep needs to know of a family: how a condition becomes chains, and where they run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution

from components.cluster import Capacity
from components.config.settings import RecursionSettings, StudySettings
from components.config.small_families import DiscreteSettings, GaussianSettings, MixtureSettings, VaeSettings
from components.config.sweep import TRIAL, Sweep
from components.families.language.base import BaseWork
from components.families.language.cost import GenerationCost
from components.families.memory import Need
from components.families.precision import Computing
from components.families.vae import images
from components.recursion.records import Generation
from components.recursion.worker import ChainWork
from components.store import Store
from components.sweep import space
from pipelines import discrete, gaussian, mixture, small_families, vae
from pipelines.drawn import drawn_blocks
from pipelines.recursion_chains import check_settings, make_chains, prepare_corpus
from pipelines.recursion_plan import costs, needed, overlap_lines
from pipelines.recursion_run import samples_page

Artifacts = Callable[[Generation, Any], Mapping[str, Path | str]]
"""A generation's own files and texts for MLflow, by name; also called with its family."""
Chains = Callable[[StudySettings], list[ChainWork[Any]]]
"""The chains of a study's conditions and seeds."""
Costs = Callable[[Sequence[ChainWork[Any]], Capacity], Mapping[str, Sequence[GenerationCost]]]


@dataclass(frozen=True)
class Runs:
    """A family's chains and where they run.

    `workers`: Ray Train workers a trial, 0 for families that take a process each. `block`: pieces of real data a row.
    `takes_gpu`: whether a trial takes a GPU where the cluster has some. `bases`: made before any trial. `costs`: what
    chains, and base models to be made, will cost by piece of work, where a formula tells. `notes`: lines for the plan.
    `needed`: what a worker of these chains holds. `deterministic`: whether trials keep to deterministic kernels.
    """

    chains: Chains
    workers: int = 0
    block: int = 1
    takes_gpu: bool = False
    bases: Sequence[BaseWork] = ()
    costs: Costs | None = None
    needed: Callable[[Sequence[ChainWork[Any]], Capacity], Need] = lambda chains, capacity: small_families.A_PROCESS
    deterministic: bool = False
    artifacts: Artifacts = lambda generation, family: {}
    notes: Sequence[str] = ()

    def fitting(self, capacity: Capacity) -> Capacity:
        """What of a cluster trials run on."""
        return capacity if self.takes_gpu else capacity.without_gpus()

    def side_by_side(self, chains: Sequence[ChainWork[Any]], capacity: Capacity, most: int | None) -> int:
        """How many trials of such chains run side by side, at `most` so many.

        Raises:
            BadInput: not even one.
        """
        return self.fitting(capacity).groups(max(self.workers, 1), most, self.needed(chains, capacity))


def runs_of(sweep: Sweep, store: Store, computing: Computing) -> Runs:
    """Prepare the real data and what else trials share, by workers that compute so.

    Raises:
        BadInput: something about the study's settings, or what they name, cannot work.
    """
    study = sweep.study
    match study:
        case RecursionSettings():
            models = check_settings(study)
            prepared = prepare_corpus(study, store)
            bases: list[BaseWork] = []
            for start in _starts(sweep):  # the same base models serve every start but scratch, which has none
                conditions = sweep.with_conditions({TRIAL: {"start": start}})
                assert isinstance(conditions, RecursionSettings)
                found, made = make_chains(conditions, store, prepared, models, computing)
                bases = bases or found

            def language(settings: StudySettings) -> list[ChainWork[Any]]:
                assert isinstance(settings, RecursionSettings)
                return list(make_chains(settings, store, prepared, models, computing)[1])

            return Runs(
                language,
                workers=study.train.workers,
                block=study.corpus.block_size,
                takes_gpu=True,
                bases=bases,
                costs=lambda chains, capacity: costs(
                    study, [base for base in bases if not base.find()], chains, capacity
                ),
                needed=lambda chains, capacity: needed(chains, study.train.workers, capacity),
                deterministic=study.train.deterministic,
                artifacts=samples_page,
                notes=[drawn_blocks(bases, made).training, *overlap_lines(prepared.metrics)],
            )
        case VaeSettings():
            real = images.prepare(study.data, store)
            return Runs(
                _small(store, lambda settings, name: vae.family_of(settings, name, real, computing), vae.of_seed),
                takes_gpu=True,
                deterministic=study.train.deterministic,
                artifacts=vae.samples,
            )
        case GaussianSettings():
            return Runs(_small(store, gaussian.family_of))
        case DiscreteSettings():
            return Runs(_small(store, discrete.family_of))
        case MixtureSettings():
            return Runs(_small(store, mixture.family_of))
    raise TypeError(study)


def _starts(sweep: Sweep) -> Sequence[Any]:
    """The weights that trials may start from."""
    searched = space.parse(sweep.settings.search).get("start")
    return searched.choices if isinstance(searched, CategoricalDistribution) else [sweep.condition.start]


def _small(
    store: Store,
    family_of: Callable[[Any, str], Any],
    of_seed: small_families.OfSeed = lambda family, seed: family,
) -> Chains:
    def chains(settings: StudySettings) -> list[ChainWork[Any]]:
        conditions: Mapping[str, Any] = settings.conditions  # type: ignore[attr-defined]
        families = {name: family_of(settings, name) for name in conditions}
        return small_families.make_chains(settings, store, conditions, families, of_seed)

    return chains
