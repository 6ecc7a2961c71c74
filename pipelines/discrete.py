"""`mlflow run . -e discrete`: discrete distributions resampled until one outcome is left (the paper's section on them).

settings -> chains (conditions x seeds, each a batch of hundreds) -> figures against theory, table
"""

import sys
from collections.abc import Sequence
from functools import partial

import numpy as np

from components import config
from components.config.small_families import DiscreteCondition, DiscreteSettings
from components.families.discrete.family import DiscreteFamily
from components.figures import discrete as figures
from components.measures.risk import RISKS
from components.recursion.trajectory import load
from components.scorecard import discrete_claims, discrete_evidence, judge
from components.store import Store
from pipelines.small_families import evenly, make_chains, print_plan, run_study
from pipelines.study import ask_workers, run_command


def discrete(arguments: Sequence[str]) -> None:
    """Run the study that the arguments describe.

    Raises:
        BadInput: something about the settings, or what they name, cannot work; nothing was started.
        cluster.Failed: a chain did not come to its end.
    """
    settings = config.load(DiscreteSettings, arguments)
    store = Store.open(settings.store.path, settings.store.cache)
    _, capacity = ask_workers(settings, store)
    families = {name: family_of(settings, name) for name in settings.conditions}
    chains = make_chains(settings, store, settings.conditions, families)
    draws = {work.chain.identity: float(work.family.chains * len(work.family.probabilities)) for work in chains}
    print_plan(
        chains,
        [
            f"each a batch of {' or '.join(map(str, sorted({work.family.chains for work in chains})))} chains",
            f"{sum(draws.values()) * (settings.generations + 1):,.0f} binomial numbers to be drawn",
        ],
    )
    if settings.dry_run:
        return
    truths = {name: np.array(family.probabilities) for name, family in families.items()}
    draw = partial(
        figures.save_all,
        settings=settings,
        truths=truths,
        trajectories=lambda: {work.chain: load(work.chain, store) for work in chains},
    )
    table = partial(figures.closing_table, settings=settings, truths=truths)
    run_study(
        settings,
        store,
        chains,
        capacity,
        evenly(chains, draws),
        table,
        draw,
        figures.CAPTIONS,
        lambda study: judge(study, discrete_claims(study, truths), discrete_evidence(study, truths), RISKS["discrete"]),
    )


def family_of(settings: DiscreteSettings, name: str) -> DiscreteFamily:
    """A condition's family."""
    condition = settings.conditions[name]
    return DiscreteFamily(
        chains=condition.chains or settings.chains,
        rows=condition.sample_size,
        probabilities=_distribution(condition),
        shown=settings.shown,
    )


def _distribution(condition: DiscreteCondition) -> tuple[float, ...]:
    if condition.probabilities:
        shares = np.array(condition.probabilities)
    elif condition.distribution == "zipf":
        shares = np.arange(1, condition.outcomes + 1) ** -condition.exponent
    else:
        shares = np.ones(condition.outcomes)
    return tuple((shares / shares.sum()).tolist())


if __name__ == "__main__":
    run_command(discrete, sys.argv[1:])
