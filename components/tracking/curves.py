"""The curves of a long chain in MLflow: a few dozen points each, evenly spaced in the logarithm of the generation.

A thousand generations with twenty metrics each, in dozens of chains, would be millions of rows: minutes of the study's
own processor time and gigabytes of database. A chart shows no more with them. All numbers stay in metrics.parquet.
"""

import math
import time
from collections.abc import Iterator, Sequence

from mlflow.entities import Metric

from components.recursion.records import Generation
from components.tracking.connection import reaching
from components.tracking.generations import (
    METRICS_A_BATCH,
    open_chain_run,
    points_of_chain,
    reach,
    write_generation,
    write_points,
)
from components.tracking.studies import ChainRun, Study, forget

POINTS_PER_DECADE = 10
"""Of fits: 31 points in 1,000 generations, 41 in 10,000. A study of 50 chains has a thousand such curves."""


def has_point(generation: int) -> bool:
    """Return whether curves have a point at this generation of a long chain, whatever its last generation is.

    Generations 0 to 9 have one, then the first generation in every tenth of a decade of fits (generation + 1).
    So a chain that is made longer keeps its points, and only gets more of them.
    """
    return generation < POINTS_PER_DECADE or _tenth(generation) > _tenth(generation - 1)


def _tenth(generation: int) -> int:
    return math.floor(POINTS_PER_DECADE * math.log10(generation + 1))


def record_curve(study: Study, generations: Sequence[Generation], runs: bool = True, ended: bool = False) -> None:
    """Write generations of one chain in memory, in order: metrics to the chain's run, with step = generation.

    Curves have the points of `has_point`, and one for the last generation. Until a chain has ended, its newest
    generation waits: `end_chain`, `end_trial` or `close_study` writes it if no other comes. What was written before is
    left as it is; the same call may be repeated.

    Args:
        runs: whether the generations with digests of their data (the family's shown ones) get runs of their own, without
            a model: it is in the store with the whole chain.
        ended: whether the newest of these generations is the chain's last.

    Raises:
        TrackingUnavailable: the store is away.
    """
    first, newest = generations[0], generations[-1]
    with reaching(study.tracking):
        try:
            chain = study.chains.get(first.chain.identity) or open_chain_run(study, first)
            if chain.steps is None:
                chain.steps = _last_step(study, chain, first)
            for generation in generations:
                reach(chain, generation)
            for generation in generations if runs else ():
                if generation.digests and generation.index not in chain.finished:
                    write_generation(study, chain, generation, {}, on_chain=False)
                    chain.finished.add(generation.index)
            last = newest.index if ended else None
            new = [
                one for one in generations if one.index > chain.steps and (has_point(one.index) or one.index == last)
            ]
            for batch in _batches(new):
                write_points(study, chain.run_id, batch, chain.settings)
                chain.settings, chain.steps = {}, batch[-1].step
            chain.newest = points_of_chain(newest, _now()) if newest.index > chain.steps else ()
            study.chains[first.chain.identity] = chain
        except BaseException:
            forget(study, first.chain)
            raise


def _batches(generations: Sequence[Generation]) -> Iterator[list[Metric]]:
    """Points in batches of whole generations: a batch is written or not, so the last step tells what is there."""
    batch = list[Metric]()
    for generation in generations:
        points = points_of_chain(generation, _now())
        if len(batch) + len(points) > METRICS_A_BATCH:
            yield batch
            batch = []
        batch += points
    if batch:
        yield batch


def _now() -> int:
    return round(time.time() * 1000)


def _last_step(study: Study, chain: ChainRun, first: Generation) -> int:
    """Return the last step that the chain's run has, -1 for none."""
    key = next(iter(first.metrics))
    return max((point.step for point in study.tracking.client.get_metric_history(chain.run_id, key)), default=-1)
