"""What a sweep says beforehand that it will cost: what its trials would cost as chains of a study."""

from collections.abc import Iterator
from functools import cache

import pytest

from components.cluster import seconds_to_start
from components.config import sweep as sweeps
from components.config.settings import RecursionSettings
from components.families.language.base import BASE
from components.families.language.cost import measure_rates
from components.families.precision import Computing
from components.store import Store
from components.sweep import space
from pipelines.recursion_chains import check_settings, prepare_corpus
from pipelines.recursion_plan import make_plan
from pipelines.sweep_families import runs_of
from pipelines.sweep_plan import Cost, expected_cost
from tests.studies import Place

FP32 = Computing("fp32", "")
GRID = ("--preset", "smoke", "--sampler", "grid", "--search.real_fraction", "None", "--search.epochs", "choice(1,3)")


@pytest.fixture
def store(prepared: Place, tmp_path) -> Store:
    return Store.open(str(prepared.copy_to(tmp_path).store))


@pytest.fixture(autouse=True)
def _rates_are_measured_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.recursion_plan.measure_rates", cache(measure_rates))
        yield


def cost(store: Store, left: int, *more: str) -> Cost | None:
    chosen = sweeps.load([*GRID, *more])
    searched = space.parse(chosen.settings.search)
    points = space.grid(searched, chosen.settings.search, chosen.given)
    return expected_cost(chosen, runs_of(chosen, store, FP32), searched, points, left)


def test_a_grids_trials_cost_what_a_study_of_the_same_conditions_costs(store):
    sweep = sweeps.load(GRID)
    settings = sweep.study.model_dump(mode="json") | {
        "preset": "smoke",
        "conditions": {f"epochs-{epochs}": sweep.given | {"epochs": epochs} for epochs in (1, 3)},
    }
    study = RecursionSettings(**settings)
    plan = make_plan(study, store, prepare_corpus(study, store), check_settings(study), FP32)
    chains = sum(cost.bytes for work in plan.chains for cost in plan.costs[work.chain.identity])
    seconds = sum(sum(cost.seconds.values()) for work in plan.chains for cost in plan.costs[work.chain.identity])
    expected = cost(store, 2)
    assert expected.bytes == chains + sum(one.bytes for one in plan.costs.get(BASE, ()))
    pretraining = sum(sum(one.seconds.values()) for one in plan.costs.get(BASE, ()))
    side_by_side = min(plan.side_by_side, 2)
    assert expected.seconds == pytest.approx(seconds_to_start() + seconds / side_by_side + pretraining)


def test_every_trial_left_costs_the_same_beside_the_base_model_and_nothing_left_costs_nothing(store):
    one, two, three = (cost(store, left, "--cluster.concurrent_chains", "1") for left in (1, 2, 3))
    assert three.bytes - two.bytes == pytest.approx(two.bytes - one.bytes, abs=1)
    assert three.seconds - two.seconds == pytest.approx(two.seconds - one.seconds)
    assert 0 < two.seconds - one.seconds < one.seconds  # one: with the base model
    assert 0 < two.bytes - one.bytes < one.bytes
    assert cost(store, 0) is None
