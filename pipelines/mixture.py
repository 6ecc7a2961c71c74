"""`mlflow run . -e mixture`: Gaussian mixtures fitted to their own samples (the paper's figure 7).

settings -> chains (conditions x seeds, each a batch) -> snapshots, distances, functional beside statistical error, table
"""

import sys
from collections.abc import Sequence
from functools import partial

from components import config
from components.config.small_families import MixtureSettings
from components.families.mixture.em import Recipe
from components.families.mixture.family import MixtureFamily
from components.figures import mixture as figures
from components.measures.risk import RISKS
from components.recursion.trajectory import load
from components.scorecard import judge, mixture_claims, mixture_evidence
from components.store import Store
from pipelines.small_families import evenly, make_chains, print_plan, run_study
from pipelines.study import ask_workers, run_command


def mixture(arguments: Sequence[str]) -> None:
    """Run the study that the arguments describe.

    Raises:
        BadInput: something about the settings, or what they name, cannot work; nothing was started.
        cluster.Failed: a chain did not come to its end.
    """
    settings = config.load(MixtureSettings, arguments)
    store = Store.open(settings.store.path, settings.store.cache)
    _, capacity = ask_workers(settings, store)
    families = {name: family_of(settings, name) for name in settings.conditions}
    chains = make_chains(settings, store, settings.conditions, families)
    fits = {work.chain.identity: float(work.family.chains * work.family.rows) for work in chains}
    print_plan(
        chains,
        [
            f"each a batch of {' or '.join(map(str, sorted({work.family.chains for work in chains})))} chains",
            f"{sum(work.family.chains for work in chains) * (settings.generations + 1):,} mixtures to be fitted",
        ],
    )
    if settings.dry_run:
        return
    truths = {name: family.truth() for name, family in families.items()}
    draw = partial(
        figures.save_all,
        settings=settings,
        truths=truths,
        trajectories=lambda: {work.chain: load(work.chain, store) for work in chains},
    )
    run_study(
        settings,
        store,
        chains,
        capacity,
        evenly(chains, fits),
        figures.closing_table,
        draw,
        figures.CAPTIONS,
        lambda study: judge(study, mixture_claims(study, truths), mixture_evidence(study, truths), RISKS["mixture"]),
    )


def family_of(settings: MixtureSettings, name: str) -> MixtureFamily:
    """A condition's family."""
    condition = settings.conditions[name]
    half = condition.separation / 2
    return MixtureFamily(
        chains=condition.chains or settings.chains,
        rows=condition.sample_size,
        centres=((0.0, 0.0),) if condition.blobs == 1 else ((-half, 0.0), (half, 0.0)),
        recipe=Recipe(condition.components, **settings.em.model_dump()),
        shown=settings.shown,
    )


if __name__ == "__main__":
    run_command(mixture, sys.argv[1:])
