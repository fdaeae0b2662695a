"""What is searched on which machine."""

import itertools

import pytest

from experiments.process.runtime import default_threads
from experiments.threads.space import WORKLOADS, Space, counts_up_to, parse_settings
from tests.experiments.threads.machines import machine


def test_counts():
    assert counts_up_to(1) == {1}
    assert counts_up_to(2) == {1, 2}
    assert counts_up_to(36) == {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 36}


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize(
    "seen",
    [
        machine(1),
        machine(2),
        machine(5),
        machine(18, threads_a_core=2),
        machine(64, quota=2.0),
        machine(128, threads_a_core=2, nodes=2),
    ],
)
def test_default_and_starts_lie_on_the_axes(workload, seen):
    """Red when the search is to begin at a point that it cannot reach."""
    space = Space(workload, seen)
    for point in (space.default, *space.starts()):
        for value, axis in zip(point, space.axes, strict=True):
            assert value in axis.values
    assert space.is_allowed(space.default)


def test_a_small_machine_gets_all_four_pairs():
    axes = Space("tt-train", machine(2)).axes
    assert [(axis.name, axis.values) for axis in axes] == [
        ("intra_op", (1, 2)),
        ("inter_op", (1, 2)),
    ]


def test_a_container_is_not_searched_beyond_its_quota():
    """Red when 64 threads are tried in a container of 2 CPUs."""
    for axis in Space("tt-train", machine(64, quota=2.0)).axes[:2]:
        assert axis.values == (1, 2)


def test_a_large_machine_also_chooses_its_cpus():
    axes = {
        axis.name: axis for axis in Space("classify", machine(32, threads_a_core=2, nodes=2)).axes
    }
    assert axes["cpus"].values == ("all", "cores", "node0", "node1")
    assert not axes["cpus"].ordered
    assert axes["intra_op"].values[-1] == 64
    assert "jobs" in axes


@pytest.mark.parametrize("workload", ["tt-train", "alexnet", "classify"])
@pytest.mark.parametrize("cores", [1, 2, 4, 8, 18, 28, 56, 64, 96])
def test_the_default_is_what_auto_takes(workload, cores):
    """Red when the search compares with another default than users have."""
    space = Space(workload, machine(cores))
    threads = default_threads(machine(cores), workload)
    setting = space.setting(space.default)
    assert (setting["intra_op"], setting["inter_op"]) == (threads.intra_op, threads.inter_op)
    assert setting.get("jobs", threads.jobs) == threads.jobs


def test_physical_cores_are_among_the_numbers_tried():
    """Red when 18 threads cannot be found on 18 cores of 36 hyper-threads."""
    axes = Space("tt-train", machine(18, threads_a_core=2)).axes
    assert 18 in axes[0].values
    assert 36 in axes[1].values


def test_a_few_settings_can_be_named():
    """Red when a setting that was asked for is not run, or others are."""
    space = Space("tt-train", machine(8), only=parse_settings(["18,36", "5,1"]))
    grid = itertools.product(*(axis.values for axis in space.axes))
    assert {point for point in grid if space.is_allowed(point)} == {(18, 36), (5, 1), (1, 8)}
    assert space.default == (1, 8)
    assert space.stock == (8, 8)


@pytest.mark.parametrize("text", ["18", "0,3", "1,2,3", "a,b", "18x36"])
def test_other_settings_are_refused(text):
    with pytest.raises(ValueError, match="--settings must be pairs"):
        parse_settings([text])


def test_memory_bounds_the_batches_at_once():
    """Red when 64 batches of AlexNet are tried with memory for ten."""
    space = Space("alexnet", machine(64, memory=8 * 10**9))
    allowed = {
        point[1]
        for axis in [space.axes[1]]
        for point in [(1, v) for v in axis.values]
        if space.is_allowed(point)
    }
    assert max(allowed) == 12
