"""What every family in memory promises: its contract with the loop, its entry point, and bad input refused in one line."""

import re
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.families.discrete.family import DiscreteFamily
from components.families.gaussian.family import GaussianFamily
from components.families.mixture.em import Recipe
from components.families.mixture.family import MixtureFamily
from components.recursion.family import Arrays, Family, Pool, Step
from components.recursion.loop import make_chain, run_chain
from components.regimes import Regime
from components.store import Store
from pipelines.discrete import discrete
from pipelines.gaussian import gaussian
from pipelines.mixture import mixture
from pipelines.study import run_command
from tests.studies import Place

REGIMES = [Regime("replace"), Regime("replace", 0.3), Regime("subsample"), Regime("accumulate")]
FAMILIES: list[Family[Arrays]] = [
    GaussianFamily(chains=6, rows=20),
    GaussianFamily(chains=6, rows=20, dimensions=2),
    DiscreteFamily(chains=6, rows=20, probabilities=(0.5, 0.3, 0.2)),
    MixtureFamily(6, 20, ((0.0, 0.0),), Recipe(2, 1e-5, 1e-6, 2000, "kmeans")),
]


def step(generation: int, seed: int = 0) -> Step:
    return Step(generation, np.random.SeedSequence([seed, generation]))


@pytest.mark.parametrize("regime", REGIMES, ids=str)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_fits_samples_and_measures_as_the_loop_asks_it_to(family: Any, regime: Regime):
    composed, fitted, sampled, measured = {}, {}, {}, {}
    numbers = family.compose(regime, Pool(), composed, step(0))
    assert numbers["data/rows"] == 20
    family.fit(composed, Pool(), None, fitted, step(0))
    numbers = family.sample(fitted, sampled, step(0))
    assert numbers["synthetic/rows"] == 20
    measure = family.measure(fitted, sampled, fitted, measured, step(0))
    assert all(isinstance(value, float) and np.isfinite(value) for value in measure.values())
    following: Arrays = {}
    numbers = family.compose(regime, Pool([sampled], [20], composed), following, step(1))
    assert numbers["data/rows"] == (40 if regime.name == "accumulate" else 20)
    for arrays in (composed, fitted, sampled, following):
        assert all(array.dtype in (np.float64, np.int64, np.uint64) for array in arrays.values())
    models = [array for array in fitted.values() if array.ndim > 1]
    assert models
    assert all(6 in array.shape for array in models)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_seed_gives_one_chain_and_another_seed_another(family: Any, tmp_path: Path):
    def numbers(place: str, seed: int) -> list[dict[str, float]]:
        chain = make_chain(family, "a condition", Regime("replace"), "scratch", seed)
        store = Store.open(str(tmp_path / place))
        return [generation.metrics for generation in run_chain(chain, family, store, 3)]

    assert numbers("one", 0) == numbers("other", 0)
    assert numbers("one", 0) != numbers("one", 1)


@pytest.fixture
def place(tmp_path: Path, migrated: Path) -> Place:
    shutil.copy(migrated, tmp_path / "mlflow.db")
    return Place(tmp_path)


def run_study(place: Place, entry_point: str) -> None:
    command = [sys.executable, "-m", f"pipelines.{entry_point}", *place.arguments()]
    with place.start(command=command) as study:
        output, errors = study.communicate(timeout=200)
    assert study.returncode == 0, errors[-2000:]
    assert "Browse it with `make ui`" in output


@pytest.mark.parametrize(("entry_point", "figures"), [("gaussian", 5), ("discrete", 4)])
def test_the_command_runs_a_study_and_draws_it(entry_point: str, figures: int, place: Place):
    run_study(place, entry_point)
    with sqlite3.connect(place.folder / "mlflow.db") as database:
        kinds = dict(database.execute("select value, count(*) from tags where key = 'recursion.kind' group by value"))
        ((artifacts,),) = database.execute(
            "select artifact_uri from runs join tags using (run_uuid) where key = 'recursion.kind' and value = 'study'"
        )
        ((metrics,),) = database.execute("select count(distinct key) from metrics")
    assert kinds["study"] == 1
    assert kinds["chain"] == 3
    assert metrics > 5
    for kind in ("png", "html"):
        drawn = list((Path(artifacts.removeprefix("file://")) / "figures").glob(f"*.{kind}"))
        assert len(drawn) == figures
        assert all(figure.stat().st_size > 10_000 for figure in drawn)


def test_the_same_command_again_computes_nothing(place: Place):
    run_study(place, "mixture")
    computed = place.computed()
    assert computed
    run_study(place, "mixture")
    assert place.computed() == computed


FAULTS: dict[str, tuple[Callable[[Any], None], list[str], str]] = {
    "one row": (gaussian, ["--conditions.replace-100.rows", "1"], r"conditions\.replace-100\.rows = 1: .*2"),
    "fewer rows than dimensions": (gaussian, ["--dimensions", "64", "--conditions.replace-100.rows", "60"],
        r"conditions\.replace-100\.rows = 60: cannot fit 64 dimensions"),
    "an odd schedule": (gaussian, ["--conditions.replace-100.growth", "-1"], r"conditions\.replace-100\.growth = -1"),
    "no such way to sample": (gaussian, ["--conditions.a.regime", "sometimes"], r"conditions\.a\.regime = sometimes: .*'replace'"),
    "real rows with accumulate": (gaussian, ["--conditions.accumulate-100.real_fraction", "0.1"],
        r"conditions\.accumulate-100 = .*real_fraction 0\.1 belongs to regime=replace"),
    "real rows in a growing sample": (gaussian, ["--conditions.a.real_fraction", "0.1", "--conditions.a.growth", "1"],
        r"conditions\.a = .*belongs to growth=0"),
    "ddof beyond one": (gaussian, ["--ddof", "2"], r"ddof = 2: "),
    "the same condition twice": (gaussian, ["--conditions.again.rows", "100"], r"conditions\.again = .*those of replace-100"),
    "one outcome": (discrete, ["--conditions.uniform-10.outcomes", "1"], r"conditions\.uniform-10\.outcomes = 1: "),
    "probabilities beyond one": (discrete, ["--conditions.given.probabilities", "[0.5, 0.6]"],
        r"conditions\.given\.probabilities = .*must sum to 1, these sum to 1\.1"),
    "a certain outcome": (discrete, ["--conditions.given.probabilities", "[1.0, 0.0]"], r"conditions\.given\.probabilities = .*two outcomes"),
    "a negative probability": (discrete, ["--conditions.given.probabilities", "[1.5, -0.5]"], r"conditions\.given\.probabilities\.1 = -0\.5"),
    "no such distribution": (discrete, ["--conditions.a.distribution", "normal"], r"conditions\.a\.distribution = normal"),
    "more components than rows": (mixture, ["--conditions.two-100.components", "101"], r"conditions\.two-100 = .*101 components cannot be fitted to 100 rows"),
    "three blobs": (mixture, ["--conditions.two-100.blobs", "3"], r"conditions\.two-100\.blobs = 3"),
    "no tolerance": (mixture, ["--em.tol", "0"], r"em\.tol = 0"),
    "no such start": (mixture, ["--em.init_params", "best"], r"em\.init_params = best: .*kmeans"),
    "no such preset": (mixture, ["--preset", "tiny"], r"preset = tiny: no such preset; there are laptop, paper, smoke"),
}  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_in_one_line_with_status_2_and_nothing_is_started(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    command, arguments, line = FAULTS[fault]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("components.cluster.connect", lambda _: pytest.fail("a cluster was started or joined"))
    on_terminate = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        run_command(command, ["--preset", "smoke", "--store.path", str(tmp_path / "store"), *arguments])
    signal.signal(signal.SIGTERM, on_terminate)
    assert ended.value.code == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert re.match(line, lines[0]), lines[0]
    assert not list(tmp_path.glob("store/*/*"))
