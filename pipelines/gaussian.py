"""`mlflow run . -e gaussian`: Gaussians fitted to their own samples, three ways to sample (the paper's section on them).

settings -> chains (conditions x seeds, each a batch of hundreds) -> figures against theory, table
"""

import sys
from collections.abc import Sequence
from functools import partial

from components import config
from components.config.errors import BadInput
from components.config.small_families import GaussianSettings
from components.families.gaussian.family import GaussianFamily
from components.figures import gaussian as figures
from components.measures.risk import RISKS
from components.recursion.trajectory import load
from components.recursion.worker import ChainWork
from components.regimes import Regime
from components.scorecard import gaussian_claims, gaussian_evidence, judge
from components.store import Store
from pipelines.small_families import evenly, make_chains, print_plan, run_study
from pipelines.study import ask_workers, run_command


def gaussian(arguments: Sequence[str]) -> None:
    """Run the study that the arguments describe.

    Raises:
        BadInput: something about the settings, or what they name, cannot work; nothing was started.
        cluster.Failed: a chain did not come to its end.
    """
    settings = config.load(GaussianSettings, arguments)
    store = Store.open(settings.store.path, settings.store.cache)
    _, capacity = ask_workers(settings, store)
    families = {name: family_of(settings, name) for name in settings.conditions}
    chains = make_chains(settings, store, settings.conditions, families)
    rows = {work.chain.identity: _work(work) for work in chains}
    batches = {work.family.chains for work in chains}
    print_plan(
        chains,
        [
            f"each a batch of {' or '.join(map(str, sorted(batches)))} chains in {settings.dimensions} dimension(s)",
            f"{sum(rows.values()) * (settings.generations + 1):,.0f} rows to be drawn one by one; elsewhere two numbers do",
        ],
    )
    if settings.dry_run:
        return
    draw = partial(
        figures.save_all,
        settings=settings,
        models=lambda: {work.chain: load(work.chain, store) for work in chains if work.chain.seed == settings.seeds[0]},
    )
    run_study(
        settings,
        store,
        chains,
        capacity,
        evenly(chains, rows),
        partial(figures.closing_table, settings=settings),
        draw,
        figures.CAPTIONS,
        lambda study: judge(study, gaussian_claims(study), gaussian_evidence(study), RISKS["gaussian"]),
    )


def family_of(settings: GaussianSettings, name: str) -> GaussianFamily:
    """A condition's family.

    Raises:
        BadInput: too few rows for the dimensions.
    """
    condition = settings.conditions[name]
    if condition.sample_size <= settings.dimensions:
        remedy = f"cannot fit {settings.dimensions} dimensions; give more"
        raise BadInput(f"conditions.{name}.sample_size", condition.sample_size, remedy)
    return GaussianFamily(
        chains=condition.chains or settings.chains,
        rows=condition.sample_size,
        dimensions=settings.dimensions,
        ddof=settings.ddof,
        growth=condition.growth,
        shown=settings.shown,
    )


def _work(work: ChainWork[GaussianFamily]) -> float:
    """Rows that a generation draws one by one, in all chains of the batch; a chain costs something without any."""
    regime, family = Regime(**work.chain.settings["regime"]), work.family
    share = 1.0 if regime.name == "subsample" else regime.real_fraction
    return family.chains * (1 + share * family.rows)


if __name__ == "__main__":
    run_command(gaussian, sys.argv[1:])
