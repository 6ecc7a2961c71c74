"""What a sweep needs to know of a family: how a condition becomes chains, and where they run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.config.settings import RecursionSettings, StudySettings
from components.config.small_families import DiscreteSettings, GaussianSettings, MixtureSettings, VaeSettings
from components.config.sweep import Sweep
from components.families.language.base import BaseWork
from components.families.language.cost import GenerationCost
from components.families.precision import Computing
from components.families.vae import images
from components.recursion.records import Generation
from components.recursion.worker import ChainWork
from components.store import Store
from pipelines import discrete, gaussian, mixture, small_families, vae
from pipelines.recursion import samples_page
from pipelines.recursion_chains import check_settings, make_chains, prepare_corpus
from pipelines.recursion_plan import costs

Artifacts = Callable[[Generation, Any], Mapping[str, Path | str]]
"""A generation's own files and texts for MLflow, by name; also called with its family."""
Chains = Callable[[StudySettings], list[ChainWork[Any]]]
"""The chains of a study's conditions and seeds."""


@dataclass(frozen=True)
class Runs:
    """A family's chains and where they run.

    `workers`: Ray Train workers a trial, 0 for families that take a process each. `block`: pieces of real data a row.
    `takes_gpu`: whether a trial takes a GPU where the cluster has some. `base`: made before any trial. `costs`: what
    chains, and a base model to be made, will cost by piece of work, where a formula tells.
    """

    chains: Chains
    workers: int = 0
    block: int = 1
    takes_gpu: bool = False
    base: BaseWork | None = None
    costs: Callable[[Sequence[ChainWork[Any]]], Mapping[str, Sequence[GenerationCost]]] | None = None
    artifacts: Artifacts = lambda generation, family: {}


def runs_of(sweep: Sweep, store: Store, computing: Computing) -> Runs:
    """Prepare the real data and what else trials share, by workers that compute so.

    Raises:
        BadInput: something about the study's settings, or what they name, cannot work.
    """
    study = sweep.study
    match study:
        case RecursionSettings():
            size = check_settings(study)
            prepared = prepare_corpus(study, store)
            base, _ = make_chains(study, store, prepared, size, computing)

            def language(settings: StudySettings) -> list[ChainWork[Any]]:
                assert isinstance(settings, RecursionSettings)
                return list(make_chains(settings, store, prepared, size, computing)[1])

            return Runs(
                language,
                workers=study.train.workers,
                block=study.corpus.block_size,
                takes_gpu=True,
                base=base,
                costs=lambda chains: costs(study, base if base and not base.find() else None, chains),
                artifacts=samples_page,
            )
        case VaeSettings():
            real = images.prepare(study.data, store)
            return Runs(
                _small(store, lambda settings, name: vae.family_of(settings, name, real, computing)),
                takes_gpu=True,
                artifacts=vae.samples,
            )
        case GaussianSettings():
            return Runs(_small(store, gaussian.family_of))
        case DiscreteSettings():
            return Runs(_small(store, discrete.family_of))
        case MixtureSettings():
            return Runs(_small(store, mixture.family_of))
    raise TypeError(study)


def _small(store: Store, family_of: Callable[[Any, str], Any]) -> Chains:
    def chains(settings: StudySettings) -> list[ChainWork[Any]]:
        conditions: Mapping[str, Any] = settings.conditions  # type: ignore[attr-defined]
        families = {name: family_of(settings, name) for name in conditions}
        return small_families.make_chains(settings, store, conditions, families)

    return chains
