"""docs/metrics.md names every metric that a family logs, and none that nobody does."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from components.families.language.decoding import Decoding
from components.families.language.embedding import look_at
from components.families.language.selection import Selection
from components.recursion.loop import make_chain, run_chain
from components.regimes import Regime
from components.store import Store
from tests import families
from tests.embedders import gpt2, saved
from tests.metrics import documented, expanded

LATER = (
    "beyond_real_p99",
    "distinct_modes",
    "outer_latents",
    "_mean_image",
    "median_error",
    "latent_spread_error",
    "base/",
)
"""Parts of the names of what a study computes at its end, out of several phases: `test_recursion.py` has a whole study."""


def run(family, folder: Path, regime: Regime = Regime("replace"), generations: int = 1) -> set[str]:
    chain = make_chain(family, "a condition", regime, "scratch", seed=0)
    return {name for one in run_chain(chain, family, Store.open(str(folder)), generations) for name in one.metrics}


def every_family(folder: Path) -> Iterator[set[str]]:
    for make in (*families.IN_MEMORY, families.autoencoder):
        (folder / make.__name__).mkdir()
        yield run(make(folder / make.__name__), folder / "store")
    (folder / "language").mkdir()
    language = families.language(folder / "language")
    embedder = look_at(str(saved(gpt2, folder / "embedder")))
    selecting = replace(language, embedder=embedder, selection=Selection(drop_least_surprising=0.1))
    yield run(selecting, folder / "store")
    yield run(replace(language, decoding=Decoding(1, 1.0, "fp32", None, edit=0.5)), folder / "store", generations=0)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    return set.union(*every_family(tmp_path_factory.mktemp("metrics")))


def test_every_metric_that_a_family_logs_is_described(logged: set[str]) -> None:
    described = {name for names in documented().values() for name in names}
    assert logged - described == set()


def test_every_metric_that_is_described_is_logged(logged: set[str]) -> None:
    described = {name for names in documented().values() for name in names}
    absent = {name for name in described - logged if not any(part in name for part in LATER)}
    assert absent == set()


def test_no_metric_is_described_twice_under_one_heading() -> None:
    for heading, names in documented().items():
        assert len(names) == len(set(names)), heading
    assert expanded("a/{b,c}_{1,2}") == ["a/b_1", "a/b_2", "a/c_1", "a/c_2"]
