"""The benchmark of formats: its tables and chart, and one small training of every model."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from experiments import bench_formats, bench_formats_systems
from experiments.bench_formats import AccuracyRow, SpeedRow, accuracy_table, speed_table
from experiments.training.recipes import TUNED, on_features

RUN = AccuracyRow("tr", 4000, 7, 3900, 9000, 9500, "group", 0, 0, 0.5, 0.7, 20, 1.0)


def test_the_tables_say_what_was_measured():
    """Red for a ratio to another size's layer, bytes that count weights, or a lost failure."""
    speeds = [
        SpeedRow("pixels", "dense", 1000, 2000, 10.0, 20.0, 2_000_000, 1),
        SpeedRow("pixels", "tr", 10, 20, 50.0, 30.0, 500_000, 2),
        SpeedRow("features", "dense", 1000, 2000, 100.0, 200.0, 2_000_000, 1),
    ]
    table = speed_table(speeds)
    assert "| pixels | tr | 10 | 20 | 0.5 | 2 | 50 | 5.0x | 30 | 1.5x |" in table
    rows = [RUN, replace(RUN, fold=1, accuracy_last=0.7, accuracy_best=0.9)]
    rows += [replace(RUN, split="random"), replace(RUN, format="cp", failure="the loss is gone")]
    table = accuracy_table(rows)
    assert "| tr | 4,000 | 7 | 15,600 | 36,000 | 38,000 | group | 2 | 0.600 ± 0.141 |" in table
    assert "| group | 0 | - | - |" in table
    assert "cp (failed: the loss is gone)" in table
    with Image.open(io.BytesIO(bench_formats_systems.pareto_png(rows))) as chart:
        assert min(chart.size) > 200


@pytest.fixture(scope="module")
def system():
    """The system of a benchmark with features that tell three classes apart."""
    rng = np.random.default_rng(0)
    made = object.__new__(bench_formats_systems.Accuracy)
    made._arguments = SimpleNamespace(cell="gru")
    made._recipe = on_features(TUNED).override([], epochs=1)
    made._labels = np.repeat([0, 1, 2], 10)
    made._groups = [str(clip % 5) for clip in range(30)]
    made._rows = rng.standard_normal((30, 2, 48)).astype("float32")
    made._rows[:, :, :3] += 4 * np.eye(3)[made._labels][:, None]
    made._num_classes = 3
    return made


def test_a_model_is_trained_and_tested(system):
    row = system.train("tr", 1500, "group", 0, 0)
    assert not row.failure
    assert 0 <= row.accuracy_last <= row.accuracy_best <= 1
    assert row.num_test_clips == 6
    assert row.kernel_params <= 1500
    assert row.kernel_params < row.layer_params < row.model_params


def test_a_trained_model_is_compressed(system):
    system._arguments.formats = ("tt",)
    (row,) = system.compress(1_000_000, "group", 0, 0)
    assert row.error < 1e-5  # as many weights as it takes
    assert row.accuracy_after == row.accuracy_before
    table = bench_formats.compression_table([row])
    assert f"| tt | {row.kernel_params:,} | group | 1 | 0.000 |" in table


def test_every_model_keeps_to_the_budget(system):
    """Red for weights that are not counted, or a baseline of another size."""
    built = {
        name: system._build(name, 1500, 0)[0].get_layer("gru").num_kernel_params
        for name in (*bench_formats.FORMATS, *bench_formats.BASELINES)
    }
    assert built.pop("dense") == 48 * 3 * 128
    assert built["low rank"] == 3 * (48 + 3 * 128)
    assert built["smaller dense"] == 48 * 3 * (1500 // 144)
    assert max(built.values()) <= 1500
