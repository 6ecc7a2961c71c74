"""`python -m benchmarks.small_families`: Gaussian chains against plain sampling, mixture chains against scikit-learn's loop.

Both sides of a pair run in this process or its two workers, in turn; before a speed is printed the two must have one law.
Both take turns, and medians count. Takes about twelve minutes on two cores (`--quick` a tenth of it, for a look).
"""

import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
from scipy import stats
from sklearn.mixture import GaussianMixture

from benchmarks.record import record
from components.families.gaussian.family import GaussianFamily
from components.families.mixture.em import Recipe
from components.families.mixture.family import MixtureFamily
from components.families.mixture.mixture import Mixture, squared_l2
from components.recursion.family import Arrays, Family
from components.recursion.generation import Past, advance
from components.recursion.loop import make_chain
from components.recursion.records import Chain
from components.recursion.trajectory import _compute
from components.regimes import Regime

CORES = 2
LEAST_P = 0.001
TURNS = 3
QUARTILES = (0.25, 0.5, 0.75)


def chain_of(family: Family[Arrays], generations: int, seed: int, shown: tuple[int, ...]) -> dict[int, Arrays]:
    """Models of some generations of a chain, by the loop that studies run, without a store."""
    chain: Chain = make_chain(family, "benchmark", Regime("replace"), "scratch", seed)
    past: Past[Arrays] = Past()
    models = {}
    for index in range(generations + 1):
        phases = advance(chain, family, past, _compute)
        if index in shown:
            models[index] = phases["fit"].place
        past = past.then(phases, in_memory=True)
    return models


def gaussian_batch(arguments: tuple[int, int, int]) -> np.ndarray:
    chains, generations, seed = arguments
    family = GaussianFamily(chains=chains, rows=100)
    return chain_of(family, generations - 1, seed, (generations - 1,))[generations - 1]["factor"][0, 0]


def gaussian_plain(chains: int, rows: int, generations: int) -> np.ndarray:
    """The obvious loop: draw every sample, take its mean and deviation."""
    random = np.random.default_rng(1)
    mean, deviation = np.zeros(chains), np.ones(chains)
    for _ in range(generations):
        sample = random.normal(mean[:, None], deviation[:, None], (chains, rows))
        mean, deviation = sample.mean(axis=1), sample.std(axis=1, ddof=1)
    return deviation


def mixture_batch(arguments: tuple[int, int, int]) -> dict[int, Arrays]:
    chains, generations, seed = arguments
    family = MixtureFamily(chains, 1000, ((0.0, 0.0),), Recipe(2, 1e-5, 1e-6, 2000, "kmeans"))
    return chain_of(family, generations, seed, tuple(shown(generations)))


def mixture_sklearn(arguments: tuple[int, int]) -> dict[int, Arrays]:
    """The published notebook's loop: one chain."""
    generations, seed = arguments
    warnings.filterwarnings("ignore")
    rows = np.random.default_rng(seed).normal(size=(1000, 2))
    models = {}
    for index in range(generations + 1):
        model = GaussianMixture(2, tol=1e-5, max_iter=2000, random_state=seed * 100_003 + index).fit(rows)
        if index in shown(generations):
            models[index] = Mixture(model.weights_[None], model.means_[None], model.covariances_[None]).arrays()
        rows, _ = model.sample(1000)
    return models


def interval(values: np.ndarray, share: float) -> tuple[float, float]:
    """Of a quantile, 95 %, by the bootstrap."""
    found = stats.bootstrap(
        (values,), lambda sample, axis: np.quantile(sample, share, axis=axis), method="percentile", rng=0
    ).confidence_interval
    return float(found.low), float(found.high)


def shown(generations: int) -> list[int]:
    return [index for index in (0, 50, 350, 2000) if index <= generations]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started


def gaussian(pool: ProcessPoolExecutor, quick: bool) -> dict[str, Any]:
    generations, batch, batches = 1000, 50_000, 2 if quick else 20
    work = [(batch, generations, seed) for seed in range(batches)]
    whole, own, peer = [], [], []
    for _ in range(TURNS):
        _, seconds = timed(lambda: list(pool.map(gaussian_batch, work)))
        ours, seconds_of_ours = timed(lambda: gaussian_batch((10_000, 50, 99)))
        plain, seconds_of_plain = timed(lambda: gaussian_plain(10_000, 100, 50))
        whole, own, peer = [*whole, seconds], [*own, seconds_of_ours], [*peer, seconds_of_plain]
    p = float(stats.ks_2samp(ours, plain).pvalue)
    assert p > LEAST_P, f"not one law: Kolmogorov-Smirnov p = {p}"
    return {
        "what": f"Gaussian: {batch * batches:,} chains x {generations} generations, M = 100, two cores",
        "seconds, median": statistics.median(whole),
        "seconds": whole,
        "times as fast as drawing every sample (one core, 10,000 chains x 50)": statistics.median(peer)
        / statistics.median(own),
        "Kolmogorov-Smirnov p, 10,000 chains": p,
    }


def mixture(pool: ProcessPoolExecutor, quick: bool) -> dict[str, Any]:
    generations, chains, peers = (350, 20, 4) if quick else (2000, 200, 16)
    half = chains // CORES
    ours, theirs = list[dict[int, Arrays]](), list[dict[int, Arrays]]()
    own, peer = [], []
    for turn in range(TURNS):
        work = [(half, generations, turn * CORES + core) for core in range(CORES)]
        models, seconds = timed(lambda work=work: list(pool.map(mixture_batch, work)))
        ours, own = ours + models, [*own, seconds / chains]
        loops = [(generations, turn * peers + seed) for seed in range(peers)]
        models, seconds = timed(lambda loops=loops: list(pool.map(mixture_sklearn, loops)))
        theirs, peer = theirs + models, [*peer, seconds / peers]
    truth = MixtureFamily(1, 1000, ((0.0, 0.0),), Recipe(2, 1e-5, 1e-6, 2000, "kmeans")).truth()
    quartiles = {}
    for index in shown(generations):
        sides = {
            name: np.concatenate(
                [squared_l2(Mixture.of(one[index]), truth.repeated(len(one[index]["weights"]))) for one in side]
            )
            for name, side in (("ours", ours), ("scikit-learn", theirs))
        }
        intervals = {name: [interval(distances, share) for share in QUARTILES] for name, distances in sides.items()}
        for (low, high), (lowest, highest) in zip(*intervals.values(), strict=True):
            assert max(low, lowest) <= min(high, highest), f"not one law at generation {index}: {intervals}"
        quartiles[index] = {
            name: [[float(np.quantile(sides[name], share)), *ends] for share, ends in zip(QUARTILES, each, strict=True)]
            for name, each in intervals.items()
        }
    return {
        "what": f"mixture: {chains} chains x {generations} generations, N = 1000, K = 2, two cores",
        "seconds a chain": own,
        f"scikit-learn's seconds a chain ({peers} chains, two cores)": peer,
        "times as fast, by the medians": statistics.median(peer) / statistics.median(own),
        "squared L2 by generation: quartiles with their bootstrap intervals": quartiles,
    }


def main(arguments: list[str]) -> None:
    quick = "--quick" in arguments
    with ProcessPoolExecutor(CORES) as pool:
        results = [gaussian(pool, quick), mixture(pool, quick)]
    for result in results:
        print("\n".join(f"{name}: {value}" for name, value in result.items()), end="\n\n")
    if not quick:
        record("small_families", results)


if __name__ == "__main__":
    main(sys.argv[1:])
