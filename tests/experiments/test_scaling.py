"""The command as it is typed, and its tables."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import scaling
from experiments.scaling import (
    CLIP_SETS,
    CONV3D,
    EXTRACTION,
    GRU,
    MACHINES,
    TRAINING_SHARE,
    UCF11,
    UCF101,
    Assumptions,
    ClipSet,
    all_cells,
    blocks,
    cells_csv,
    epoch_estimate,
    extract_estimate,
    fair_rates,
    fill,
    main,
    ring_seconds,
    simulate_units,
    speeds,
    unit_frames,
)
from preprocess.extraction.plan import split_clips

PAGE = Path(__file__).resolve().parents[2] / "docs" / "log.md"


@pytest.fixture(scope="module")
def cells():
    return all_cells(Assumptions())


def test_every_cell_is_there_and_adds_up(cells, tmp_path):
    """Red when a job, a set or a number of machines is left out, or dollars are not by the hour."""
    assert len(cells) == 3 * 3 * 2 * len(MACHINES)
    path = tmp_path / "cells.csv"
    path.write_bytes(cells_csv(cells))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for cell, row in zip(cells, rows, strict=True):
        assert float(row["seconds"]) == pytest.approx(cell.seconds, rel=1e-3)
        assert cell.dollars == pytest.approx(cell.machines * 2 * cell.seconds / 3600 * 0.04)
        assert 0 < cell.efficiency < 1.1
    assert {cell.efficiency for cell in cells if cell.machines == 1} == {1.0}


def test_the_same_twice():
    """Red when a draw is not seeded."""
    given = Assumptions(mtbf_hours=1.0)
    assert extract_estimate(UCF101, 20, given) == extract_estimate(UCF101, 20, given)
    assert epoch_estimate(GRU, UCF101, 20, given) == epoch_estimate(GRU, UCF101, 20, given)


def test_the_page_is_what_the_command_makes(cells):
    """Red when a rate changes and docs/log.md does not: run the command with --page docs/log.md."""
    page = PAGE.read_text(encoding="utf-8")
    assert fill(page, blocks(cells)) == page


def test_tables_go_between_their_marks():
    page = "a\n<!-- scaling: x -->\nold\n<!-- end -->\nb\n"
    assert fill(page, {"x": "| new |"}) == "a\n<!-- scaling: x -->\n| new |\n<!-- end -->\nb\n"
    with pytest.raises(ValueError, match="<!-- scaling: y -->"):
        fill(page, {"y": ""})


def test_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.scaling.MACHINES", (1, 10))
    training = [row for row in scaling._remedies(Assumptions()) if row[0] != EXTRACTION]
    monkeypatch.setattr("experiments.scaling._remedies", lambda given: training)
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    marks = ("extraction", "tt-gru", "conv3d", "costs", "changes")
    page.write_text("".join(f"<!-- scaling: {mark} -->\n<!-- end -->\n" for mark in marks))
    assert main(["--out", str(tmp_path / "out"), "--page", str(page)]) == 0
    assert "| 10 |" in page.read_text()
    images = sorted((page.parent / "images").iterdir())
    assert [path.name for path in images] == [
        f"scaling_{name}.png" for name in ("conv3d", "extraction", "tt_gru")
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in images)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"cells.csv", "tables.md"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--network-gigabits", "0"], "--network-gigabits must be more than 0"),
        (["--publish-seconds", "-1"], "--publish-seconds must be at least 0"),
        (["--slow-factor", "0.5"], "--slow-factor at least 1"),
        (["--page", "nowhere.md"], "nowhere.md"),
    ],
)
def test_wrong_flags_get_one_line(args, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(args) == 2
    output = capsys.readouterr().err
    assert message in output
    assert len(output.strip().splitlines()) == 1


# The simulation against closed forms, measured figures and itself at another grain.


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
    return outcome_of(frames, machines, given).seconds


def outcome_of(frames, machines, given):
    return simulate_units(np.array(frames, float), machines, given, np.random.default_rng(0))


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
    """11,147 frames/s by docs/log.md; the lengths' mean is the set's within what cutting takes."""
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
    found = simulate_units(np.array([10_000.0, 10_000.0]), 1, given, Clock())
    assert found.seconds == pytest.approx(150 + 10 + 100)
    assert found.num_failures == 1
    assert found.frames_written == pytest.approx(10_000 + 5_000 + 10_000)


def test_a_late_unit_is_repeated_on_an_idle_machine():
    """Two machines, one half as fast, a unit of 10 s each: the slow one has 10 s left when the
    fast one is idle, which repeats it only if that is sooner."""
    given = replace(NOTHING_IN_THE_WAY, slow_share=0.5, slow_factor=3.0)
    assert seconds_of([1000, 1000], 2, given) == pytest.approx(30)
    found = outcome_of([1000, 1000], 2, replace(given, speculate=True))
    assert found.seconds == pytest.approx(20)
    assert found.num_repeated == 1
    nearly_done = replace(given, slow_factor=1.5, speculate=True)
    found = outcome_of([1000, 1000], 2, nearly_done)
    assert (found.seconds, found.num_repeated) == (pytest.approx(15), 0)


def test_longest_first_ends_sooner():
    """Units of 1, 1 and 2 s on two machines: 3 s as they come, 2 with the long one first."""
    assert seconds_of([100, 100, 200], 2, NOTHING_IN_THE_WAY) == pytest.approx(3)
    given = replace(NOTHING_IN_THE_WAY, longest_first=True)
    frames = unit_frames(UCF11, 20, given, np.random.default_rng(0))
    assert list(frames) == sorted(frames, reverse=True)


@pytest.mark.parametrize("num_clips", [1, 63, 130, 1600, 5000])
def test_units_are_those_of_the_extraction(num_clips):
    """Red when `split_clips` cuts otherwise than the simulation."""
    clips = ClipSet("", num_clips, 10, 100, 0.0)
    cut = split_clips([None] * num_clips, num_clips)  # type: ignore[list-item]
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
    assert clips.expected_frames() == pytest.approx(drawn.mean(), rel=0.005)
    assert drawn.max() == 450


# What is shared, against closed forms and a slow way to the same numbers.


rates = st.lists(st.floats(0.1, 100), min_size=1, max_size=12)


def poured(limits, capacity, steps=20_000):
    """The same by pouring a drop at a time into those who are least full and can take it."""
    found = np.zeros(len(limits))
    drop = min(capacity, sum(limits)) / steps
    for _ in range(steps):
        room = np.flatnonzero(found < np.asarray(limits) - 1e-12)
        if len(room):
            found[room[np.argmin(found[room])]] += drop
    return found


@given(limits=rates, capacity=st.floats(0.1, 500))
def test_all_is_given_and_nobody_gets_too_much(limits, capacity):
    """Red when capacity is left where somebody could take it, or more is given than there is."""
    found = fair_rates(np.array(limits), capacity)
    assert (found <= np.array(limits) * (1 + 1e-9)).all()
    assert found.sum() == pytest.approx(min(capacity, sum(limits)))
    held_back = found[found < np.array(limits) * (1 - 1e-6)]
    assert held_back.size == 0 or np.ptp(held_back) < 1e-6 * held_back.max()


@pytest.mark.parametrize(
    ("limits", "capacity"), [([5, 1, 9, 9], 12), ([3, 3, 3], 4), ([1, 50], 20), ([2, 4], 6)]
)
def test_shares_are_those_of_pouring(limits, capacity):
    """Red when a weak one's rest is not dealt out among the others."""
    found = fair_rates(np.array(limits, float), float(capacity))
    np.testing.assert_allclose(found, poured(limits, capacity), atol=2e-3)


def test_a_ring_of_four_by_hand():
    """8 bytes in four parts of 2: each machine sends 3 parts to be summed, 3 that are: 6 times
    2 bytes at 4 bytes/s, and 6 messages. Red when a factor 2 or (n - 1)/n is lost."""
    given = Assumptions(network_gigabits=32e-9, network_latency_seconds=0.1)
    found = ring_seconds(8, 4, given)
    assert found == pytest.approx(6 * 0.5 + 6 * 0.1)
    assert ring_seconds(8, 1, given) == 0


def test_so_many_machines_are_slow_as_the_share_says():
    given = Assumptions(slow_share=0.03, slow_factor=2.0)
    assert sorted(speeds(100, given)) == [0.5] * 3 + [1.0] * 97
    assert list(speeds(1, given)) == [1.0]


# Steps against closed forms and measured figures.


EVEN = Assumptions(slow_share=0.0, step_spread=0.0, mtbf_hours=1e12)


def test_a_machine_alone_trains_as_fast_as_measured():
    """14,132 frames/s and 3.08 clips/s by docs/log.md."""
    frames = TRAINING_SHARE * UCF101.num_clips * UCF101.expected_frames(scaling.MAXLEN)
    assert epoch_estimate(GRU, UCF101, 1, EVEN).seconds == pytest.approx(frames / 14132, rel=0.02)
    clips = TRAINING_SHARE * UCF101.num_clips
    assert epoch_estimate(CONV3D, UCF101, 1, EVEN).seconds == pytest.approx(clips / 3.08, rel=0.01)


def test_a_step_is_computation_and_the_ring():
    """conv3d on 4 machines, 120 clips a step, by hand; red when the sum is left out, or hidden
    behind the computation."""
    clips = ClipSet("", 7500, 100, 900, 0.0)  # 4,800 to train on: 40 steps
    ring = 2 * 3 / 4 * 4 * 320_117_237 / 1.25e9 + 2 * 3 * 100e-6
    wide = replace(EVEN, storage_gigabytes_per_second=1e6)
    found = epoch_estimate(CONV3D, clips, 4, wide)
    assert found.seconds == pytest.approx(40 * (30 / 3.08 + ring), rel=1e-6)
    assert found.parts["network"] == pytest.approx(40 * ring)


def test_the_storage_bounds_what_is_read():
    """The whole epoch's bytes by the bandwidth, however many machines."""
    slow = replace(EVEN, storage_gigabytes_per_second=0.001, network_gigabits=1e6)
    clips = ClipSet("", 4000, 100, 900, 0.0)
    found = epoch_estimate(GRU, clips, 10, replace(slow, network_latency_seconds=0.0))
    assert found.seconds == pytest.approx(TRAINING_SHARE * 4000 * 100 * 46400 / 1e6, rel=1e-3)
    assert found.saturated == "storage"


def test_beyond_a_clip_each_machines_are_idle():
    """Red when the batch grows without end, or is dealt out in parts of clips."""
    wide = replace(EVEN, storage_gigabytes_per_second=1e6)
    at_limit = epoch_estimate(GRU, UCF101, 256, wide)
    beyond = epoch_estimate(GRU, UCF101, 900, wide)
    assert beyond.seconds == pytest.approx(at_limit.seconds)
    assert beyond.saturated == "batch"


def test_one_slow_machine_holds_up_all():
    """50 machines, one of them three times slower: the computation is three times longer."""
    wide = replace(EVEN, storage_gigabytes_per_second=1e6, network_gigabits=1e6)
    wide = replace(wide, network_latency_seconds=0.0)
    even = epoch_estimate(CONV3D, UCF101, 50, wide).seconds
    slow = replace(wide, slow_share=0.02, slow_factor=3.0)
    assert epoch_estimate(CONV3D, UCF101, 50, slow).seconds == pytest.approx(3 * even, rel=1e-4)


def test_failures_stop_all_machines():
    """100 machines, one failure in 100 h each: one an hour, of 600 s and half a checkpoint's 20."""
    failing = replace(EVEN, mtbf_hours=100.0)
    even = epoch_estimate(GRU, UCF11, 100, EVEN).seconds
    found = epoch_estimate(GRU, UCF11, 100, failing).seconds
    assert found / even == pytest.approx(1 + 610 / 3600)


@settings(max_examples=30, deadline=None)
@given(
    machines=st.integers(1, 300),
    gigabits=st.floats(0.1, 50),
    more=st.floats(1, 10),
    model=st.sampled_from([GRU, CONV3D]),
)
def test_a_wider_network_never_takes_longer(machines, gigabits, more, model):
    given_ = Assumptions(network_gigabits=gigabits)
    wider = replace(given_, network_gigabits=gigabits * more)
    narrow_seconds = epoch_estimate(model, UCF11, machines, given_).seconds
    assert epoch_estimate(model, UCF11, machines, wider).seconds <= narrow_seconds * (1 + 1e-9)
