"""The loop with a family small enough to calculate: a one-dimensional Gaussian fitted by mean and variance."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from components.recursion.family import GuardFailure
from components.recursion.loop import make_chain, run_chain, stored_generations
from components.recursion.rows import appended, compose_rows, gather_rows
from components.regimes import Regime
from components.store import Store
from tests.journal import computed

PROJECT = Path(__file__).resolve().parents[1]
WORK = ["fit", "sample", "measure"]


@dataclass
class Normal:
    """Fits mean and unbiased variance; `computed` names what was really computed."""

    rows: int = 100
    computed: list[str] = field(default_factory=list)
    name = "normal"
    data_folder = None
    in_memory = False
    shown = ()

    @property
    def settings(self):
        return {"fit": {}, "sample": {"rows": self.rows}, "measure": {}}

    def real(self):
        return np.random.default_rng(0).normal(size=self.rows)

    def digests(self):
        return {"training": f"normal-{self.rows}", "evaluation": "exact"}

    def base(self):
        return None

    def within(self, phase, out):
        self.computed.append(phase)

    def compose(self, regime, pool, out, step):
        return compose_rows(regime, self.rows, pool, out, step)

    def fit(self, composed, pool, start, out, step):
        self.within("fit", out)
        training = gather_rows(composed, self.real(), pool, self.samples)
        model = {"mean": training.mean(), "deviation": training.std(ddof=1)}
        if start:
            model["start"] = json.loads((start / "model.json").read_text())["deviation"]
        (out / "model.json").write_text(json.dumps(model))
        return {"fit/deviation": model["deviation"], "tokens/fit": len(training)}

    def sample(self, fitted, origin, out, step):
        self.within("sample", out)
        model = json.loads((fitted / "model.json").read_text())
        np.save(
            out / "samples.npy", np.random.default_rng(step.random).normal(model["mean"], model["deviation"], self.rows)
        )
        return {"synthetic/rows": self.rows}

    def samples(self, sampled):
        return np.load(sampled / "samples.npy")

    def measure(self, fitted, sampled, origin, out, step):
        self.within("measure", out)
        model = json.loads((fitted / "model.json").read_text())
        (out / "scores.json").write_text("{}")
        return {"w2": model["mean"] ** 2 + (model["deviation"] - 1) ** 2}


@dataclass
class Halted(Normal):
    """Halts within generation 2's phase of one kind, its files half written."""

    halted_in: str = "fit"
    halt: Callable[[], None] = lambda: None

    def within(self, phase, out):
        super().within(phase, out)
        if phase == self.halted_in and self.computed.count(phase) == 3:
            (out / "half").write_text("half")
            self.halt()


def left_to_do(halted_in):
    """Of generations 0 to 4, what a chain that halted there has not finished."""
    return (WORK * 5)[2 * len(WORK) + WORK.index(halted_in) :]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def run(store, family=None, regime=None, start="scratch", seed=0, generations=4):
    family = family or Normal()
    chain = make_chain(family, "a condition", regime or Regime("replace"), start, seed)
    return list(run_chain(chain, family, store, generations))


def numbers(generations):
    return [(g.metrics["fit/deviation"], g.metrics["w2"]) for g in generations]


def test_a_chain_has_one_generation_more_than_it_was_asked_to_recurse(store):
    generations = run(store)
    assert [generation.index for generation in generations] == [0, 1, 2, 3, 4]
    assert set(generations[3].directories) == {"compose", "fit", "sample", "measure"}


def test_the_same_chain_again_computes_nothing_and_gives_the_same_numbers(store):
    first, family = run(store), Normal()
    assert numbers(run(store, family)) == numbers(first)
    assert family.computed == []


def test_a_longer_chain_computes_only_what_is_missing(store):
    first, family = run(store, generations=2), Normal()
    longer = run(store, family, generations=5)
    assert numbers(longer)[:3] == numbers(first)
    assert family.computed == WORK * 3


@pytest.mark.parametrize("stopped_in", WORK)
def test_a_chain_stopped_within_any_phase_and_resumed_equals_an_uninterrupted_one(store, tmp_path, stopped_in):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, Halted(halted_in=stopped_in, halt=stop))
    family = Normal()
    resumed = run(store, family)
    assert numbers(resumed) == numbers(run(Store.open(str(tmp_path / "other"))))
    assert family.computed == left_to_do(stopped_in)


HALTED_CHAIN = """
import sys, time
from pathlib import Path
from components.store import Store
from tests.test_loop import Halted, run

def wait_to_be_killed():
    Path(sys.argv[3]).touch()
    time.sleep(600)

run(Store.open(sys.argv[1]), Halted(halted_in=sys.argv[2], halt=wait_to_be_killed))
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("killed_in", WORK)
def test_a_process_killed_within_any_phase_leaves_what_it_finished_and_the_rest_is_computed_once(
    store, tmp_path, killed_in
):
    reached = tmp_path / "reached"
    command = [sys.executable, "-c", HALTED_CHAIN, str(store.root), killed_in, str(reached)]
    with subprocess.Popen(command, cwd=PROJECT) as process:
        try:
            while not reached.exists():
                assert process.poll() is None
                time.sleep(0.01)
        finally:
            process.kill()
    unfinished = store.root / "unfinished"
    assert [path.name.split("~")[3] for path in unfinished.iterdir()] == [killed_in]
    again, family = Store.open(str(store.root)), Normal()
    assert list(unfinished.iterdir()) == []
    resumed, whole = run(again, family), Store.open(str(tmp_path / "whole"))
    assert numbers(resumed) == numbers(run(whole))
    assert family.computed == left_to_do(killed_in)
    assert computed(store.root) == computed(whole.root)
    assert len(set(computed(store.root))) == len(computed(store.root)) == 20


def test_chains_that_differ_only_in_the_regime_share_generation_0(store):
    family = Normal()
    replaced = run(store, family)
    accumulated = run(store, family, Regime("accumulate"))
    assert replaced[0].directories == accumulated[0].directories
    assert replaced[1].directories["fit"] != accumulated[1].directories["fit"]
    assert family.computed == WORK * 9


def test_another_seed_is_another_chain(store):
    assert numbers(run(store, seed=0))[2] != numbers(run(store, seed=1))[2]


def test_accumulating_trains_on_all_that_came_before(store):
    generations = run(store, regime=Regime("accumulate"))
    assert [g.metrics["data/rows"] for g in generations] == [100, 200, 300, 400, 500]
    assert generations[4].metrics["data/gamma"] == pytest.approx(1 / 5)


@pytest.mark.parametrize("start", ["generation0", "previous"])
def test_a_fit_starts_from_the_model_asked_for(store, start):
    generations = run(store, start=start)
    deviations = [g.metrics["fit/deviation"] for g in generations]
    for index in (1, 2, 3):
        model = json.loads((generations[index].directories["fit"] / "model.json").read_text())
        assert model["start"] == deviations[0 if start == "generation0" else index - 1]


def test_what_is_stored_can_be_read_without_computing(store):
    family = Normal()
    chain = make_chain(family, "a condition", Regime("replace"), "scratch", 0)
    assert list(stored_generations(chain, family, store, 4)) == []
    run(store, generations=2)
    assert len(list(stored_generations(chain, family, store, 4))) == 3
    assert family.computed == []


def test_a_phase_that_fails_its_guard_leaves_nothing_in_the_store(store):
    class Broken(Normal):
        def sample(self, fitted, origin, out, step):
            raise GuardFailure("a block is too short")

    with pytest.raises(GuardFailure, match="too short"):
        run(store, Broken())
    assert not (store.root / "sample").exists()


def test_the_store_says_of_every_generation_where_its_phases_lie(store):
    generations = run(store, generations=1)
    record = json.loads((store.root / "chains" / generations[0].chain.identity / "generation-001.json").read_text())
    assert record["phases"]["fit"] == generations[1].directories["fit"].name


def test_room_for_rows_to_come_is_zeros_and_not_what_else_was_in_memory():
    """It is saved with the chain; and the same chain is to leave the very same files."""
    secret = [np.full(6, 7.0) for _ in range(100)]
    del secret
    for width in range(1, 6):
        history = appended(np.ones((1, width)), np.ones((1, width + 1)), width)
        assert history.tolist() == [[1.0] * (2 * width + 1) + [0.0] * (2 * width - 1)]
