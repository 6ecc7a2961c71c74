"""How many groups of workers a cluster takes side by side: by processors, by GPUs, and by memory."""

import pytest

from components.cluster import Capacity, Machine
from components.config.errors import BadInput
from components.families.language.architecture import ModelSize, parameter_count
from components.families.language.memory import needed_to_train
from components.families.memory import Need

PLENTY = 10**12
GB = 10**9


def one_machine(cpus: int, gpus: int = 0, memory: int = PLENTY) -> Capacity:
    return Capacity([Machine(cpus, gpus, memory)])


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "most", "groups"),
    [
        (1, 0, 1, None, 1),
        (8, 0, 1, None, 8),
        (8, 0, 2, None, 4),
        (8, 0, 3, None, 2),
        (8, 0, 8, None, 1),
        (8, 0, 2, 3, 3),
        (8, 0, 2, 9, 4),
        (16, 4, 1, None, 4),
        (16, 4, 4, None, 1),
        (16, 4, 2, 1, 1),
        (2, 4, 1, None, 2),
    ],
)
def test_as_many_groups_run_as_have_a_processor_for_each_worker_but_no_more_than_asked_for(
    cpus, gpus, workers, most, groups
):
    assert one_machine(cpus, gpus).groups(workers, most) == groups


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "message"),
    [
        (2, 0, 3, r"train\.workers = 3: the cluster has 2 CPUs"),
        (16, 4, 5, r"train\.workers = 5: the cluster has 4 GPUs"),
    ],
)
def test_a_group_that_does_not_fit_even_once_is_refused(cpus, gpus, workers, message):
    with pytest.raises(BadInput, match=message):
        one_machine(cpus, gpus).groups(workers, None)


def test_where_a_cluster_may_grow_what_is_asked_for_is_taken_at_its_word_and_who_asks_for_nothing_is_told_how():
    empty = Capacity([], grows=True)
    assert empty.groups(2, 5) == 5
    with pytest.raises(BadInput, match=r"the cluster has 0 CPUs.*cluster\.concurrent_chains says how many"):
        empty.groups(1, None)


# Memory


@pytest.mark.parametrize(
    ("machines", "workers", "each", "groups"),
    [
        ([(8, 16)], 1, 4, 4),
        ([(8, 16)], 2, 4, 2),
        ([(8, 16)], 3, 4, 1),
        ([(8, 16)], 1, 1, 8),  # there the processors bound
        ([(8, 7), (8, 7)], 1, 4, 2),  # one on each, not three in what both have together
        ([(8, 7), (8, 7)], 2, 4, 1),  # a group may be spread over machines, a worker may not
        ([(2, 64), (64, 2)], 1, 4, 2),
        ([(8, 2), (8, 9)], 1, 4, 2),
    ],
)
def test_a_machine_holds_no_more_workers_than_its_memory(machines, workers, each, groups):
    cluster = Capacity([Machine(cpus, 0, memory * GB) for cpus, memory in machines])
    assert cluster.groups(workers, None, Need(each * GB)) == groups
    assert cluster.groups(workers, 1, Need(each * GB)) == 1


def test_the_papers_model_does_not_run_eight_times_side_by_side_in_16_gigabytes():
    """Preset `paper` on 8 cores: each chain needs 3 GB for weights, gradients, moments and two copies alone."""
    size = ModelSize(50272, 768, 12, 12, 3072, 2048, 0.1)
    need = needed_to_train(size, parameter_count(size), 0, 1, 64, "fp32", "cpu")
    assert need.memory > 24 * parameter_count(size)
    cluster = one_machine(8, memory=16 * GB)
    groups = cluster.groups(1, None, need)
    assert groups == 16 * GB // need.memory
    assert 1 <= groups <= 4
    assert cluster.bound(1, groups, need).startswith("a worker needs ")
    assert "16.0 GB for workers" in cluster.bound(1, groups, need)


@pytest.mark.parametrize(
    ("capacity", "workers", "need", "line"),
    [
        (
            one_machine(8, memory=3 * GB),
            1,
            Need(5 * GB),
            r"train\.workers = 1: each needs 5\.0 GB of memory, and none fits: the largest machine has 3\.0 GB for workers; "
            "take a smaller model or a machine with more",
        ),
        (
            one_machine(8, memory=9 * GB),
            2,
            Need(5 * GB),
            r"train\.workers = 2: each needs 5\.0 GB of memory, and only 1 fits",
        ),
        (
            Capacity([Machine(8, 2, PLENTY, 24 * GB)]),
            1,
            Need(GB, 30 * GB),
            r"train\.workers = 1: a worker needs 30\.0 GB of GPU memory, a GPU here has 24\.0 GB",
        ),
        (Capacity([Machine(8, 2, GB, 24 * GB)]), 1, Need(5 * GB, GB), r"each needs 5\.0 GB of memory, and none fits"),
        (
            Capacity([Machine(8, 0, 3 * GB)], grows=True),
            1,
            Need(5 * GB),
            r"none fits.*cluster\.concurrent_chains says how many",
        ),
    ],
)
def test_what_cannot_fit_even_once_is_refused_with_what_is_needed_and_what_is_there(capacity, workers, need, line):
    with pytest.raises(BadInput, match=line) as refused:
        capacity.groups(workers, None, need)
    assert len(str(refused.value).splitlines()) == 1


def test_gpus_whose_memory_nobody_knows_are_not_refused():
    assert Capacity([Machine(8, 2, PLENTY)]).groups(1, None, Need(GB, PLENTY)) == 2


def test_work_without_gpus_runs_on_every_processor():
    cluster = Capacity([Machine(8, 2, 16 * GB), Machine(4, 0, 16 * GB)])
    assert cluster.groups(1, None) == 2
    assert cluster.without_gpus().groups(1, None) == 12
    assert cluster.without_gpus().groups(1, None, Need(4 * GB)) == 8


@pytest.mark.parametrize(
    ("cpus", "gpus", "groups", "need", "words"),
    [
        (8, 0, 8, Need(GB), "one worker for each CPU core"),
        (8, 4, 4, Need(GB), "one worker for each GPU"),
        (8, 0, 3, Need(GB), "no more are asked for"),
        (8, 0, 3, Need(5 * GB), "a worker needs 5.0 GB of memory, a machine has 16.0 GB for workers"),
        (8, 0, 1, Need(5 * GB), "no more are asked for"),
    ],
)
def test_a_plan_says_what_bounds_the_chains_side_by_side(cpus, gpus, groups, need, words):
    assert one_machine(cpus, gpus, 16 * GB).bound(1, groups, need) == words
