"""What every family promises the loop, the same for all five: each test runs over every one of them."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.families.vae.family import VaeFamily
from components.recursion.family import Arrays, Family, Origin, Pool, Step
from components.recursion.loop import make_chain, run_chain, stored_generations
from components.recursion.records import Chain, Generation
from components.recursion.trajectory import load
from components.regimes import REAL, Regime
from components.store import Store, read_manifest
from tests.families import CHAINS, EVERY, IN_FOLDERS, IN_MEMORY, ROWS, autoencoder

REGIMES = [Regime("replace"), Regime("replace", 0.3), Regime("subsample"), Regime("accumulate")]

every_family = pytest.mark.parametrize("build", EVERY, ids=lambda build: build.__name__)


def chain_of(family: Family[Any], regime: Regime | None = None, seed: int = 0) -> Chain:
    return make_chain(family, "a condition", regime or Regime("replace"), "scratch", seed)


def run(chain: Chain, family: Family[Any], store: Store, generations: int) -> list[Generation]:
    return list(run_chain(chain, family, store, generations))


def numbers(generations: list[Generation]) -> list[dict[str, float]]:
    costs = ("seconds/", "tokens_per_second/")
    return [{k: v for k, v in one.metrics.items() if not k.startswith(costs)} for one in generations]


def last_model(chain: Chain, generations: list[Generation], store: Store) -> dict[str, str]:
    """Digests of all that the last generation's model is, by name."""
    last = generations[-1]
    if "fit" in last.directories:
        files = (last.directories["fit"] / "model").iterdir()
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    trajectory = load(chain, store)
    assert trajectory is not None
    arrays = trajectory.past.newest.place
    return {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}


@every_family
def test_a_chain_resumed_midway_is_the_chain_that_was_never_stopped(build: Callable[[Path], Any], tmp_path: Path):
    family = build(tmp_path)
    chain = chain_of(family, Regime("replace", 0.3))
    whole, parted = (Store.open(str(tmp_path / name)) for name in ("whole", "parted"))
    expected = run(chain, family, whole, 2)
    run(chain, family, parted, 1)
    resumed = run(chain, family, parted, 2)
    assert len(resumed) == 3
    assert numbers(resumed) == numbers(expected)
    assert last_model(chain, resumed, parted) == last_model(chain, expected, whole)
    assert numbers(list(stored_generations(chain, family, parted, 2))) == numbers(expected)


def written(store: Store) -> dict[str, str]:
    """The digest of every file of every phase, by kind, identity and name."""
    found = {}
    for manifest in store.root.glob("*/*/manifest.json"):
        files = read_manifest(manifest.parent)["files"]
        found |= {f"{manifest.parent.relative_to(store.root)}/{name}": entry["sha256"] for name, entry in files.items()}
    return found


@every_family
@pytest.mark.parametrize("regime", [Regime("replace", 0.3), Regime("accumulate")], ids=["replace", "accumulate"])
def test_the_same_chain_leaves_the_very_same_files_in_any_store(
    regime: Regime, build: Callable[[Path], Any], tmp_path: Path
):
    """Whatever else this process's memory held before: none of it is saved."""
    family = build(tmp_path)
    chain = chain_of(family, regime)
    stores = [Store.open(str(tmp_path / name)) for name in ("first", "second")]
    for value, store in enumerate(stores, 1):
        garbage = [np.full(size, float(value)) for size in range(1, 400) for _ in range(4)]
        del garbage
        run(chain, family, store, 2)
    first, second = map(written, stores)
    assert first == second
    assert first


@every_family
def test_a_seed_gives_one_chain_and_another_seed_another(build: Callable[[Path], Any], tmp_path: Path):
    family = build(tmp_path)
    store, other = (Store.open(str(tmp_path / name)) for name in ("store", "other"))
    chains = [chain_of(family, seed=seed) for seed in (0, 1)]
    assert chains[0].identity != chains[1].identity
    first, second = (numbers(run(chain, family, store, 0)) for chain in chains)
    assert first != second
    assert numbers(run(chains[0], family, other, 0)) == first
    assert all(isinstance(value, float | int) and np.isfinite(value) for value in first[0].values())


@pytest.mark.parametrize("build", IN_FOLDERS, ids=lambda build: build.__name__)
def test_generation_0_is_fitted_on_the_real_rows_and_samples_as_many_of_their_kind(
    build: Callable[[Path], Any], tmp_path: Path
):
    family = build(tmp_path)
    (generation,) = run(chain_of(family), family, Store.open(str(tmp_path / "store")), 0)
    composition = pd.read_parquet(generation.directories["compose"] / "composition.parquet")
    assert (composition["source"] == REAL).all()
    real = family.real["train"] if isinstance(family, VaeFamily) else family.real()
    assert composition["row"].tolist() == list(range(len(real)))
    samples = family.samples(generation.directories["sample"])
    assert samples.shape == real.shape
    assert np.issubdtype(samples.dtype, np.integer)
    assert samples.min() >= 0
    assert generation.metrics["synthetic/rows"] == len(real)
    assert not [file for file in tmp_path.rglob("*") if file.suffix in (".pkl", ".pickle", ".pt", ".bin")]


def step(generation: int, seed: int = 0) -> Step:
    return Step(generation, np.random.SeedSequence([seed, generation]))


@pytest.mark.parametrize("regime", REGIMES, ids=str)
@pytest.mark.parametrize("build", IN_MEMORY, ids=lambda build: build.__name__)
def test_a_family_in_memory_composes_fits_samples_and_measures_arrays(
    build: Callable[[Path], Any], regime: Regime, tmp_path: Path
):
    family = build(tmp_path)
    composed, fitted, sampled, measured = {}, {}, {}, {}
    assert family.compose(regime, Pool(), composed, step(0))["data/rows"] == ROWS
    family.fit(composed, Pool(), None, fitted, step(0))
    assert family.sample(fitted, Origin(composed, Pool(), fitted), sampled, step(0))["synthetic/rows"] == ROWS
    measure = family.measure(fitted, sampled, Origin(composed, Pool(), fitted), measured, step(0))
    assert all(isinstance(value, float) and np.isfinite(value) for value in measure.values())
    following: Arrays = {}
    rows = family.compose(regime, Pool([sampled], [ROWS], composed), following, step(1))["data/rows"]
    assert rows == (2 * ROWS if regime.name == "accumulate" else ROWS)
    for arrays in (composed, fitted, sampled, following):
        assert all(array.dtype in (np.float64, np.int64, np.uint64) for array in arrays.values())
    models = [array for array in fitted.values() if array.ndim > 1]
    assert models
    assert all(CHAINS in array.shape for array in models)


@pytest.mark.parametrize("regime", REGIMES, ids=str)
def test_a_vae_is_trained_on_what_each_regime_gives_it(regime: Regime, tmp_path: Path):
    family = autoencoder(tmp_path, epochs=1)
    generations = run(chain_of(family, regime), family, Store.open(str(tmp_path / "store")), 1)
    rows = generations[1].metrics["data/rows"]
    assert rows == (2 if regime.name == "accumulate" else 1) * generations[0].metrics["data/rows"]
