"""How many groups of workers a cluster takes side by side."""

import pytest

from components.cluster.session import Capacity
from components.config.errors import BadInput


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
    assert Capacity(cpus, gpus).groups(workers, most) == groups


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "message"),
    [
        (2, 0, 3, r"train\.workers = 3: the cluster has 2 CPUs"),
        (16, 4, 5, r"train\.workers = 5: the cluster has 4 GPUs"),
    ],
)
def test_a_group_that_does_not_fit_even_once_is_refused(cpus, gpus, workers, message):
    with pytest.raises(BadInput, match=message):
        Capacity(cpus, gpus).groups(workers, None)


def test_where_a_cluster_may_grow_what_is_asked_for_is_taken_at_its_word_and_who_asks_for_nothing_is_told_how():
    empty = Capacity(0, 0, grows=True)
    assert empty.groups(2, 5) == 5
    with pytest.raises(BadInput, match=r"the cluster has 0 CPUs.*cluster\.concurrent_chains says how many"):
        empty.groups(1, None)
