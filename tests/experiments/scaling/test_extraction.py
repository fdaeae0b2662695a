"""The simulation against closed forms, measured figures and itself at another grain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.scaling.assumptions import Assumptions
from experiments.scaling.clips import CLIP_SETS, UCF11, ClipSet
from experiments.scaling.cluster import Cluster
from experiments.scaling.extraction import extract_estimate, unit_frames
from preprocess.extraction.plan import split_units

NOTHING_IN_THE_WAY = Assumptions(
    cores=1,
    extraction_frames_per_second=100.0,
    frame_bytes=10.0,
    client_seconds_per_clip=0.0,
    publish_seconds=0.0,
    dispatch_seconds=0.0,
    network_gigabits=1e3,
    storage_gigabytes_per_second=1e3,
    slow_share=0.0,
    mtbf_hours=1e12,
)
EQUAL = ClipSet("equal", 640, 50, 1000, 0.0)


def seconds_of(frames, machines, given):
    return Cluster(machines, given, np.random.default_rng(0)).run(np.array(frames, float)).seconds


@pytest.mark.parametrize("machines", [1, 2, 4, 8, 64])
def test_without_contention_the_work_is_divided(machines):
    """64 units of 10 clips of 50 frames at 100 frames/s: red when a unit is lost or counted twice,
    or a machine waits."""
    found = extract_estimate(EQUAL, machines, NOTHING_IN_THE_WAY)
    assert found.seconds == pytest.approx(640 * 50 / 100 / machines)
    assert found.num_bytes == pytest.approx(640 * 50 * 10)
    assert found.saturated == ("cpu" if machines < 64 else found.saturated)


def test_a_slow_storage_takes_the_bytes_by_its_bandwidth():
    """Red when the storage is not shared, or the bound is in other units."""
    slow = replace(NOTHING_IN_THE_WAY, storage_gigabytes_per_second=1e-6)  # 1,000 bytes/s
    found = extract_estimate(EQUAL, 32, slow)
    assert found.seconds == pytest.approx(640 * 50 * 10 / 1000)
    assert found.saturated == "storage"


def test_a_slow_link_takes_the_bytes_of_a_machine():
    thin = replace(NOTHING_IN_THE_WAY, network_gigabits=4e-6)  # 500 bytes/s, 50 frames/s
    found = extract_estimate(EQUAL, 4, thin)
    assert found.seconds == pytest.approx(640 * 50 * 10 / 500 / 4)
    assert found.saturated == "network"


def test_the_scheduler_deals_out_one_unit_after_the_other():
    """64 units at one a second, the last of 5 s: red when machines are given units at once."""
    found = extract_estimate(EQUAL, 64, replace(NOTHING_IN_THE_WAY, dispatch_seconds=1.0))
    assert found.seconds == pytest.approx(63 * 1.0 + 5.0)
    assert found.saturated == "scheduler"


def test_one_command_publishes_all_shards():
    found = extract_estimate(EQUAL, 64, replace(NOTHING_IN_THE_WAY, publish_seconds=1.0))
    assert found.seconds == pytest.approx(5.0 + 64 * 1.0)
    assert found.saturated == "publishing"


@pytest.mark.parametrize("clips", CLIP_SETS, ids=lambda clips: clips.name)
def test_a_machine_alone_is_as_fast_as_measured(clips):
    """11,147 frames/s by README.md; the lengths' mean is the set's within what cutting takes."""
    given = replace(Assumptions(), client_seconds_per_clip=0.0)
    frames = clips.num_clips * clips.mean_frames
    assert extract_estimate(clips, 1, given).seconds == pytest.approx(frames / 11147, rel=0.02)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"storage_gigabytes_per_second": 1.25},
        {"publish_seconds": 0.02},
        {"dispatch_seconds": 0.02},
        {"slow_share": 0.1, "slow_factor": 3.0},
        {"mtbf_hours": 0.005, "repair_seconds": 3.0},
    ],
    ids=str,
)
def test_in_bulk_as_unit_by_unit(change):
    """40,000 clips, 2,500 units, on 10 and 20 machines: red when the bulk's rate is not that of the
    simulation, whatever is scarce."""
    many = ClipSet("many", 40_000, 180, 1776, 0.52)
    given = replace(Assumptions(storage_gigabytes_per_second=100.0, publish_seconds=0.0), **change)
    tolerance = 0.05 if "mtbf_hours" in change else 0.03  # some tens of failures are few
    for machines in (10, 20):
        bulk = extract_estimate(many, machines, given)
        exact = extract_estimate(many, machines, given, exact=True)
        assert bulk.seconds == pytest.approx(exact.seconds, rel=tolerance)
        assert bulk.num_bytes == pytest.approx(exact.num_bytes, rel=tolerance)


def test_a_failed_machine_s_unit_is_done_again():
    """One machine, two units of 100 s; it fails at 150 s for 10 s. Red when the unit is lost, or
    the first is repeated, or the machine works on."""

    class Clock:
        times = iter([150.0, 1e9])

        def exponential(self, scale, size):
            return np.array([next(self.times)])

    given = replace(NOTHING_IN_THE_WAY, repair_seconds=10.0)
    found = Cluster(1, given, Clock()).run(np.array([10_000.0, 10_000.0]))
    assert found.seconds == pytest.approx(150 + 10 + 100)
    assert found.num_failures == 1
    assert found.frames_written == pytest.approx(10_000 + 5_000 + 10_000)


def test_a_late_unit_is_repeated_on_an_idle_machine():
    """Two machines, one half as fast, a unit of 10 s each: the slow one has 10 s left when the
    fast one is idle, which repeats it only if that is sooner."""
    given = replace(NOTHING_IN_THE_WAY, slow_share=0.5, slow_factor=3.0)
    assert seconds_of([1000, 1000], 2, given) == pytest.approx(30)
    found = Cluster(2, replace(given, speculate=True), np.random.default_rng(0)).run(
        np.array([1000.0, 1000.0])
    )
    assert found.seconds == pytest.approx(20)
    assert found.num_repeated == 1
    nearly_done = replace(given, slow_factor=1.5, speculate=True)
    found = Cluster(2, nearly_done, np.random.default_rng(0)).run(np.array([1000.0, 1000.0]))
    assert (found.seconds, found.num_repeated) == (pytest.approx(15), 0)


def test_longest_first_ends_sooner():
    """Units of 1, 1 and 2 s on two machines: 3 s as they come, 2 with the long one first."""
    assert seconds_of([100, 100, 200], 2, NOTHING_IN_THE_WAY) == pytest.approx(3)
    given = replace(NOTHING_IN_THE_WAY, longest_first=True)
    frames = unit_frames(UCF11, 20, given, np.random.default_rng(0))
    assert list(frames) == sorted(frames, reverse=True)


@pytest.mark.parametrize("num_clips", [1, 63, 130, 1600, 5000])
def test_units_are_those_of_the_extraction(num_clips):
    """Red when `split_units` cuts otherwise than the simulation."""
    clips = ClipSet("", num_clips, 10, 100, 0.0)
    cut = split_units([None] * num_clips, num_clips)  # type: ignore[list-item]
    frames = unit_frames(clips, len(cut), Assumptions(), np.random.default_rng(0))
    assert [len(unit) * 10 for unit in cut] == list(frames)


@settings(max_examples=25, deadline=None)
@given(
    machines=st.integers(1, 60),
    storage=st.floats(0.05, 5),
    more=st.floats(1, 20),
    seed=st.integers(0, 99),
)
def test_more_bandwidth_never_takes_longer(machines, storage, more, seed):
    """Within a unit's time, by which another order of ends may deal units out worse."""
    clips = ClipSet("some", 1000, 180, 900, 0.5)
    given = Assumptions(storage_gigabytes_per_second=storage, seed=seed, mtbf_hours=1e12)
    wide = replace(given, storage_gigabytes_per_second=storage * more)
    slack = extract_estimate(clips, machines, wide).parts["units"]
    narrow_seconds = extract_estimate(clips, machines, given).seconds
    assert extract_estimate(clips, machines, wide).seconds <= narrow_seconds + slack


@settings(max_examples=25, deadline=None)
@given(machines=st.integers(1, 400), seed=st.integers(0, 99))
def test_nothing_beats_its_bounds(machines, seed):
    """Red when a resource gives more than it has."""
    given = Assumptions(seed=seed, mtbf_hours=1e12)
    found = extract_estimate(UCF11, machines, given)
    bounds = {name: value for name, value in found.parts.items() if name != "units"}
    assert found.seconds >= max(bounds.values()) * (1 - 1e-9)


def test_lengths_have_the_mean_that_is_expected():
    """The closed form of a cut log-normal's mean against draws."""
    clips = ClipSet("cut", 1, 200, 450, 0.7)
    drawn = clips.lengths(400_000, np.random.default_rng(0))
    assert clips.expected_frames == pytest.approx(drawn.mean(), rel=0.005)
    assert drawn.max() == 450
