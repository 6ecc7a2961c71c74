"""The simulation of studies keeps to what can be worked out by hand; projections count what the program really holds."""

import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import projection, scaling, scaling_page
from benchmarks.simulation import KINDS, Chain, Cluster, Condition, Phase, least_seconds, make_chains, simulate
from components import config
from components.config.settings import RecursionSettings
from components.environment import Precision
from components.families.language import architecture, decoder, training
from components.store import Store

SECONDS = {"compose": 1.0, "fit": 10.0, "sample": 5.0, "measure": 4.0}
A = Condition("a", SECONDS, "a")
RECORDED = Path(scaling.__file__).parent / "results" / "scaling_phases.json"


def of_one_phase(seconds: float, count: int, name: str = "chain") -> Chain:
    return [[Phase(f"{name} {number}", seconds)] for number in range(count)]


def test_one_chain_on_one_group_takes_its_phases_and_what_lies_beside_them():
    cluster = Cluster(start_up=30, take_up=2, look_up=0.5, record=3)
    told = simulate(make_chains([A], seeds=1, last=2), cluster)
    assert told.computed == 30 + 2 + 3 * (20 + 4 * 0.5)
    assert told.seconds == told.computed + 3
    assert (told.busy, told.waited, told.lost, told.starts, told.backlog) == (60, 0, 0, 1, 1)


def test_two_chains_take_twice_as_long_on_one_group_as_on_two_and_more_groups_than_chains_change_nothing():
    chains = [of_one_phase(10, 3, "one"), of_one_phase(10, 3, "two")]
    assert [simulate(chains, Cluster(groups=groups)).seconds for groups in (1, 2, 3, 7)] == [60, 30, 30, 30]


def test_a_group_starts_once_and_serves_one_chain_after_another():
    chains = [of_one_phase(10, 1, str(number)) for number in range(3)]
    told = simulate(chains, Cluster(groups=2, start_up=7, take_up=1))
    assert told.seconds == 7 + 2 * (1 + 10)
    assert told.starts == 2


def test_a_base_model_is_made_by_a_group_of_its_own_before_the_others_start():
    assert simulate([of_one_phase(10, 2)], Cluster(groups=4, start_up=30), base=100).seconds == 30 + 100 + 30 + 20


def test_a_shared_generation_0_is_computed_once_and_waited_for():
    conditions = [replace(A, name=name, generation0="as one") for name in ("a", "b")]
    told = simulate(make_chains(conditions, seeds=1, last=1), Cluster(groups=2))
    assert told.seconds == 2 * 20
    assert told.waited == 20
    assert told.busy == 20 + 2 * 20
    assert set(told.times_computed.values()) == {1}
    apart = simulate(make_chains([A, replace(A, name="b", generation0="b")], seeds=1, last=1), Cluster(groups=2))
    assert apart.waited == 1  # for the real data's composition, which all chains have in common
    assert apart.seconds == 2 * 20


def test_on_one_group_whoever_comes_second_finds_generation_0_and_pays_for_the_look_alone():
    conditions = [replace(A, name=name, generation0="as one") for name in ("a", "b")]
    told = simulate(make_chains(conditions, seeds=2, last=1), Cluster(look_up=0.25))
    composed_once = 1
    assert told.seconds == 2 * 40 - composed_once + 2 * 20 + 4 * 8 * 0.25


def test_one_writer_is_the_part_that_more_groups_do_not_make_faster():
    chains = [of_one_phase(10, 5, str(number)) for number in range(20)]
    ends = {groups: simulate(chains, Cluster(groups=groups, record=2)).seconds for groups in (1, 4, 20, 40)}
    assert ends == {1: 1002, 4: 258, 20: 10 + 100 * 2, 40: 10 + 100 * 2}
    assert simulate(chains, Cluster(groups=20, record=2)).computed == 50
    assert simulate(chains, Cluster(groups=20, record=2)).backlog == 100 - 19  # at 50 s it writes the twentieth


@st.composite
def studies(draw: st.DrawFn) -> list[Chain]:
    """Some conditions share their generation 0; what all share, the real data's composition, takes equally long for all."""
    origins = draw(st.lists(st.sampled_from("xyz"), min_size=1, max_size=4))
    seconds = st.integers(0, 20).map(float)
    costs = {origin: {"compose": 1.0} | {kind: draw(seconds) for kind in KINDS[1:]} for origin in set(origins)}
    conditions = [Condition(str(number), costs[origin], origin) for number, origin in enumerate(origins)]
    return make_chains(conditions, draw(st.integers(1, 3)), draw(st.integers(0, 3)))


@given(studies(), st.integers(1, 6), st.sampled_from([0.0, 3.0]), st.sampled_from([math.inf, 40.0]))
def test_no_study_beats_its_longest_chain_or_its_work_over_all_groups_and_no_phase_is_finished_twice(
    chains: list[Chain], groups: int, beside: float, between_failures: float
):
    cluster = Cluster(groups, start_up=beside, look_up=beside, record=beside, between_failures=between_failures)
    told = simulate(chains, cluster)
    different = {phase.identity for chain in chains for generation in chain for phase in generation}
    assert told.seconds >= told.computed >= least_seconds(chains, groups) + beside - 1e-9
    assert told.times_computed == dict.fromkeys(different, 1)
    assert told.seconds >= beside * (1 + sum(len(chain) for chain in chains))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(1, 4))
def test_chains_that_share_nothing_end_within_grahams_bound(lengths: list[int], groups: int):
    chains = [of_one_phase(1, length, str(number)) for number, length in enumerate(lengths)]
    bound = sum(lengths) / groups + (1 - 1 / groups) * max(lengths)
    assert least_seconds(chains, groups) <= simulate(chains, Cluster(groups)).seconds <= bound + 1e-9


def test_failures_at_a_rate_of_zero_change_nothing():
    chains = make_chains([A, replace(A, name="b", generation0="b")], seeds=3, last=4)
    cluster = Cluster(groups=4, gpus_a_machine=2, start_up=9, look_up=0.1, record=1, repair=50)
    assert simulate(chains, replace(cluster, between_failures=1e12)) == simulate(chains, cluster)


@pytest.mark.parametrize(("workers", "machines"), [(1, 1), (2, 2)])
def test_what_exponential_failures_cost_is_what_theory_says(workers: int, machines: int):
    """A phase of s seconds that is begun again takes (exp(s/m) - 1) (m + repair) on average, m the mean between failures."""
    seconds, between, repair, phases = 10.0, 25.0, 4.0, 10_000
    cluster = Cluster(1, workers, gpus_a_machine=1, between_failures=between, repair=0 if machines > 1 else repair)
    chains = [of_one_phase(seconds, 1, str(number)) for number in range(phases)]
    told = simulate(chains, cluster, seed=1)
    of_group = between / machines
    expected = phases * math.expm1(seconds / of_group) * (of_group + cluster.repair)
    assert told.seconds == pytest.approx(expected, rel=0.03)
    assert told.failures == pytest.approx(phases * math.expm1(seconds / of_group), rel=0.03)
    assert told.seconds == pytest.approx(told.busy + told.lost + told.failures * cluster.repair)


def test_a_group_that_is_lost_starts_again_before_it_goes_on():
    """The first try has no start before it; each later one has, and is lost with it."""
    seconds, start, between = 10.0, 5.0, 30.0
    cluster = Cluster(start_up=start, between_failures=between)
    runs = [simulate([of_one_phase(seconds, 1)], cluster, seed=seed).seconds for seed in range(6000)]
    assert mean(runs) == pytest.approx(math.expm1((start + seconds) / between) * between, rel=0.03)


def test_a_machine_takes_only_its_own_groups_along():
    cluster = Cluster(groups=4, workers=2, gpus_a_machine=4)
    assert [list(cluster.machines_of(group)) for group in range(4)] == [[0], [0], [1], [1]]
    assert list(Cluster(workers=16, gpus_a_machine=8).machines_of(1)) == [2, 3]
    chains = [of_one_phase(10, 400, str(number)) for number in range(4)]
    told = simulate(chains, replace(cluster, between_failures=500), seed=3)
    assert told.starts == 4 + 2 * told.failures


def a_trace() -> tuple[scaling.Trace, scaling.Calibration]:
    """One group, two conditions with one generation 0, two generations; every time is known."""
    known = scaling.Calibration(12, 40, 20, 1.5, 0.25, 2, 9, {})
    at = 1000 + known.before + known.start_up
    base, spans, chains = (at, at + known.base), {}, []
    at = base[1] + known.start_up
    for condition in "ab":
        at += known.take_up
        chain = []
        for generation in range(2):
            names = [f"{kind} {generation} {condition if generation else ''}" for kind in KINDS]
            for name, seconds in zip(names, SECONDS.values(), strict=True):
                at += known.look_up
                if name not in spans:
                    spans[name] = (at, at + seconds)
                    at += seconds
            chain.append(names)
        chains.append(chain)
    ended = at + known.record + known.after
    trace = scaling.Trace(1000, ended, base, spans, chains)
    return trace, replace(known, phases={name: end - start for name, (start, end) in spans.items()})


def test_the_model_is_fed_with_what_a_run_on_one_group_took_and_gives_that_run_back():
    trace, known = a_trace()
    found = scaling.calibrate(trace, known.record)
    assert found.phases == known.phases
    for name in ("before", "base", "start_up", "take_up", "look_up", "after"):
        assert getattr(found, name) == pytest.approx(getattr(known, name)), name
    wall, span = scaling.predict(found, trace.chains, 1)
    assert wall == pytest.approx(trace.ended - trace.began)
    assert span == pytest.approx(trace.chains_seconds)
    rows = scaling.results(trace, trace, found, {"a generation of this study": known.record})
    assert all(isinstance(value, int | float) for row in rows for name, value in row.items() if name != "what")


def test_a_run_is_read_out_of_its_store(tmp_path: Path):
    store = Store.open(str(tmp_path))
    for kind in ("corpus", "base"):
        store.finish(kind, {}, store.begin(kind), {}, 3.0)
    wanted = []
    for generation in range(2):
        phases = {kind: store.finish(kind, {"of": generation}, store.begin(kind), {}, 2.0) for kind in KINDS}
        names = {kind: phase.identity for kind, phase in phases.items()}
        store.write_json(f"chains/one/generation-{generation:03d}.json", {"phases": names, "metrics": {}})
        wanted.append(list(names.values()))
    trace = scaling.read_trace(tmp_path, 0.0, 1.0)
    assert trace.chains == [wanted]
    assert set(trace.seconds) == {name for names in wanted for name in names}
    assert list(trace.seconds.values()) == pytest.approx([2.0] * 8)
    assert trace.base[1] - trace.base[0] == pytest.approx(3.0)


def test_the_run_on_two_groups_that_was_measured_was_foreseen():
    if not RECORDED.exists():
        pytest.skip("not measured yet: python -m benchmarks scaling")
    (kept,) = json.loads(RECORDED.read_text())["results"]
    one, two = scaling.Trace(**kept["one group"]), scaling.Trace(**kept["two groups"])
    wall, span = scaling.predict(scaling.Calibration(**kept["calibration"]), one.chains, 2)
    assert wall == pytest.approx(two.ended - two.began, rel=0.2)
    assert span == pytest.approx(two.chains_seconds, rel=0.2)


def test_the_study_that_is_projected_is_the_papers():
    settings = config.load(RecursionSettings, ["--preset", "paper"])
    assert {name: condition.epochs for name, condition in settings.conditions.items()} == projection.EPOCHS
    assert (len(settings.seeds), settings.generations) == (projection.SEEDS, projection.LAST)
    assert (settings.train.batch_size, settings.corpus.block_size) == (projection.BATCH, projection.BLOCK)
    assert (settings.generate.num_beams, settings.generate.precision) == (projection.BEAMS, "fp32")


TINY = architecture.ModelSize(320, 64, 3, 4, 128, 128, 0.1)


def test_weights_gradients_and_moments_are_what_torch_holds():
    model = architecture.create(TINY, 0)
    engine = training.TorchEngine(
        model, training.Recipe(1, 1e-3, 0, 0, 4, "last"), training.Batches(4, 1, 4, 1), torch.device("cpu")
    )
    engine.backward(engine.objective(torch.full((4, 64), 5)))
    engine._optimizer.step()
    states = [value for state in engine._optimizer.state.values() for value in state.values() if value.dim()]
    held = [*model.parameters(), *(weight.grad for weight in model.parameters()), *states]
    counted = projection.fit_memory(TINY, stage=0, workers=1, micro=4)
    expected = sum(counted[part] for part in ("weights", "gradients", "moments"))
    assert sum(tensor.nbytes for tensor in held if tensor is not None) / 1e9 == pytest.approx(expected)


def test_zero_partitions_what_it_says():
    size = projection.SIZES["OPT-6.7B"]
    count = architecture.parameter_count(size) / 1e9
    parts = ("weights", "own part of the weights again", "gradients", "moments")
    held = [sum(projection.fit_memory(size, stage, 8, 16)[part] for part in parts) for stage in range(4)]
    assert held == pytest.approx([16 * count, (8 + 16 / 8) * count, (4 + 16 / 8) * count, 16 / 8 * count])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_batches_are_those_that_the_program_takes(precision: Precision, monkeypatch: pytest.MonkeyPatch):
    size, gigabytes = projection.SIZES["OPT-1.3B"], 60
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, int(1e9 * gigabytes)))
    count = architecture.parameter_count(size)
    at_once = training.blocks_at_once(size, count, projection.BLOCK, torch.device("cuda"), 0, 1, "bf16")
    assert at_once == projection.own_micro_batch(size, 0, 1, gigabytes) > 1
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    found = decoder.prompts_at_once(
        size, dtype, torch.device("cuda"), projection.BLOCK, projection.BLOCK, projection.BEAMS
    )
    assert found == projection.prompts_at_once(size, precision, gigabytes)


def test_a_card_that_reaches_all_of_its_data_sheet_trains_at_its_operations():
    size, card = projection.SIZES["OPT-125m"], replace(projection.CARDS["H100 80 GB"], bandwidth=1e12, link=1e12)
    whole = projection.Assumptions(1, 1, 1, 1, 1, 0, math.inf, 0, 0, 0, 0)
    forward = architecture.flops_per_token(size)
    for workers in (1, 4):
        found = projection.rates(size, card, whole, workers, 0, 32, "fp32")
        assert found.fit == pytest.approx(1e12 * card.bf16 / (3 * forward), rel=1e-3)
        assert found.measure == pytest.approx(1e12 * card.fp32 / forward)
        assert found.sample < 1e12 * card.fp32 / (projection.BEAMS * forward)


def test_the_page_says_what_the_model_says(monkeypatch: pytest.MonkeyPatch):
    """All but the two tables that are simulated for a minute."""
    quick = {name: make for name, make in scaling_page.BLOCKS.items() if name not in ("writer", "failures")}
    monkeypatch.setattr(scaling_page, "BLOCKS", quick)
    page = scaling_page.PAGE.read_text()
    assert scaling_page.filled(page) == page
