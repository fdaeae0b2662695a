"""Steps against closed forms and measured figures."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.scaling.assumptions import Assumptions
from experiments.scaling.clips import TRAINING_SHARE, UCF11, UCF101, ClipSet
from experiments.scaling.training import epoch_estimate, models

EVEN = Assumptions(slow_share=0.0, step_spread=0.0, mtbf_hours=1e12)
GRU, CONV3D = models(EVEN)


def test_a_machine_alone_is_as_fast_as_measured():
    """14,132 frames/s by docs/engine.md, 3.08 clips/s by docs/ucf101.md."""
    frames = TRAINING_SHARE * UCF101.num_clips * UCF101.expected_seen
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
    which=st.integers(0, 1),
)
def test_a_wider_network_never_takes_longer(machines, gigabits, more, which):
    given_ = Assumptions(network_gigabits=gigabits)
    wider = replace(given_, network_gigabits=gigabits * more)
    model = models(given_)[which]
    narrow_seconds = epoch_estimate(model, UCF11, machines, given_).seconds
    assert epoch_estimate(model, UCF11, machines, wider).seconds <= narrow_seconds * (1 + 1e-9)
