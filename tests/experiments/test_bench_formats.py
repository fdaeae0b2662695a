"""The benchmark of formats: its tables and chart, and one small training of every model."""

from __future__ import annotations

import io
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from common import formatting
from experiments import bench_formats, bench_formats_systems
from experiments.bench_formats import AccuracyRow, SpeedRow, accuracy_table, speed_table
from experiments.process import runtime

RUN = AccuracyRow("tr", 4, 3900, 9000, 9500, "group", 0, 0, 0.5, 0.7, 20, 1.0)


def test_the_tables_say_what_was_measured():
    """Red for a ratio to another size's layer, bytes that count weights, or a lost failure."""
    speeds = [
        SpeedRow("pixels", "dense", 1000, 2000, 10.0, 20.0, 2_000_000, 1),
        SpeedRow("pixels", "tr", 10, 20, 50.0, 25.0, 500_000, 2, 1_500_000),
        SpeedRow("features", "dense", 1000, 2000, 100.0, 200.0, 2_000_000, 1),
    ]
    table = speed_table(speeds)
    assert "| pixels | tr | 10 | 20 | 0.5 | 2 | 50 | 5.0x | 25 | 40,000 | 1.2x | 1.5 MB |" in table
    rows = [RUN, replace(RUN, fold=1, accuracy_last=0.7, accuracy_best=0.9)]
    rows += [replace(RUN, split="random"), replace(RUN, format="cp", failure="the loss is gone")]
    table = accuracy_table(rows, {("tr", 4, "group"): (-0.1, 0.02)})
    sizes = "| tr | tt of rank 4 | 15,600 | 36,000 | 38,000 |"
    assert f"{sizes} group | 2 | 0.600 ± 0.141 | -0.100 to +0.020 |" in table
    assert "| group | 0 | - | - |" in table
    assert "cp (failed: the loss is gone)" in table
    assert "| 200 | 5,000 | 1.0x | - |" in speed_table(speeds).replace(formatting.ABSENT, "-")


def test_the_chart_has_a_point_for_each_model_and_a_panel_for_each_split(monkeypatch):
    """Red for sizes of another model, a smaller dense layer by its own kernel, or a lost split."""
    figures = []
    draw = bench_formats_systems.png_bytes
    monkeypatch.setattr(bench_formats_systems, "png_bytes", lambda figure: figures.append(figure))
    rows = [
        replace(RUN, format=name, split=split, fold=fold, kernel_params=size, accuracy_last=0.5)
        for split in ("group", "random")
        for fold in (0, 1)
        for name, size in (("tt", 4000), ("cp", 3900), ("smaller dense", 6000), ("mean", None))
    ]
    rows.append(replace(RUN, format="tucker", failure="the loss is not finite"))
    bench_formats_systems.pareto_png(rows)
    (figure,) = figures
    assert [axes.get_title("left") for axes in figure.axes] == ["group split", "random split"]
    for axes in figure.axes:
        found = {line.get_label(): list(line.get_xdata()) for line in axes.lines}
        assert found == {"tt": [16000], "cp": [15600], "smaller dense": [16000], "mean": [0, 1]}
        assert len(axes.collections) == 1  # the band
    with Image.open(io.BytesIO(draw(figure))) as chart:
        assert min(chart.size) > 200
    bench_formats_systems.pareto_png([row for row in rows if row.fold == 0])
    assert not figures[1].axes[0].collections


@pytest.mark.slow
def test_the_memory_of_a_dense_layer_is_that_of_its_weights():
    """Red for another layer's peak, or a lost gradient: a weight has one, and two moments."""
    threads = runtime.choose_threads("1,1")
    row = SpeedRow("features, 2,048 to 2,048", "tt", 0, 0, 1, 1, 0, 1)
    rows = [row, replace(row, format="dense")]
    train, dense = (bench_formats.measured_memory(row, threads).memory_bytes for row in rows)
    assert dense - train > 4 * 4 * (2048 * 8192 - 102_400) * 0.9


@pytest.fixture(scope="module")
def system(small_shards, tmp_path_factory):
    """The system of a benchmark with the means of 8 x 8 places as features."""
    folder = tmp_path_factory.mktemp("bench_formats")
    frames = keras.Input((336, 448, 3))
    means = keras.layers.AveragePooling2D((42, 56))(frames)
    keras.Model(frames, keras.layers.Flatten()(means)).save(folder / "means.keras")
    arguments = bench_formats.Arguments(
        ranks=(8, 128),
        shards=small_shards,
        features=str(folder / "means.keras"),
        frames=2,
        epochs=1,
        threads="1,1",
        out=folder / "out",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield bench_formats_systems.Accuracy(arguments)


def test_every_model_keeps_to_the_budget(system):
    """Red for weights that are not counted, or a baseline of another size."""
    sizes = {}
    for name, tt_rank, setting in system.models():
        head = system._heads.build(system._flags(setting, "group", 0, 0)).head
        if name != "mean":
            layer = head.get_layer(setting.cell)
            sizes[name, tt_rank] = layer.num_kernel_params, layer.count_params()
    # Modes 3, 4, 4, 4 of 192 means, and 3 * 4, 4, 4, 2.
    kernel, layer = sizes["tt", 8]
    assert kernel == 8 * 3 * 12 + 64 * 4 * 4 + 64 * 4 * 4 + 8 * 4 * 2
    assert layer == kernel + 3 * 128 * 128 + 3 * 128
    assert max(sizes[name, 8][0] for name in (*bench_formats.FORMATS, "low-rank")) <= kernel
    assert sizes["dense", None][0] == 192 * 3 * 128
    # Rank 16, without gates.
    mlp = 16 * 3 * 4 + 256 * 4 * 4 + 256 * 4 * 4 + 16 * 4 * 2
    assert sizes["tt-mlp", None] == (mlp, mlp + 128)
    # 192 features, states and a bias to 3 gates of 66 units; 67 would be too many.
    assert sizes["smaller dense", 8][1] == 3 * 66 * (192 + 66 + 1) <= layer
    assert layer < 3 * 67 * (192 + 67 + 1)


def test_a_model_is_trained_once(system):
    """Red when a finished run is repeated, or a row is that of another model."""
    name, tt_rank, setting = next(model for model in system.models() if model[0] == "tr")
    row = system.train(name, tt_rank, setting, "group", 0, 0)
    assert not row.failure
    assert 0 <= row.accuracy_last <= row.accuracy_best <= 1
    assert row.num_test_clips == 11
    assert row.kernel_params < row.layer_params < row.model_params
    assert system.train(name, tt_rank, setting, "group", 0, 0) == row


def test_a_trained_model_is_compressed(system, monkeypatch):
    monkeypatch.setattr(system, "_arguments", replace(system._arguments, formats=("tt",)))
    rows = {row.format: row for row in system.compress("group", 0, 0)}
    assert list(rows) == ["tt", *bench_formats.OTHER_COMPRESSIONS]
    # As many weights as it takes.
    assert rows["tt"].error < 1e-5
    assert rows["tt"].accuracy_after == rows["tt"].accuracy_before
    assert rows["nothing"].error == 0
    assert rows["nothing"].kernel_bytes == 4 * 192 * 384
    assert rows["int8"].kernel_bytes == 192 * 384 + 4 * 384
    assert 0 < rows["int8"].error < 0.02
    table = bench_formats.compression_table([rows["tt"]])
    assert f"| tt | {rows['tt'].kernel_bytes:,} | group | 1 | 0.000 |" in table


def test_small_weights_are_cut_off_and_stay_zero():
    """Red when the optimizer brings them back, or the largest ones go."""
    variable = keras.Variable(np.array([[3.0, -1.0], [0.5, -4.0]], "float32"))
    bench_formats_systems.keep_largest(variable, 2)
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build([variable])
    optimizer.apply([keras.ops.ones((2, 2))], [variable])
    np.testing.assert_array_equal(variable.numpy(), [[2, 0], [0, -5]])


def test_int8_has_255_even_steps_a_column():
    """Red for one scale of all columns, or steps that leave out the largest weight."""
    kernel = np.random.default_rng(0).standard_normal((1000, 2)).astype("float32") * [1, 100]
    found = bench_formats_systems.rounded_to_int8(kernel)
    for column, rounded in zip(kernel.T, found.T, strict=True):
        step = np.abs(column).max() / 127
        assert len(np.unique(rounded)) <= 255
        np.testing.assert_allclose(rounded, column, atol=step / 2 * 1.001)
        assert np.abs(rounded).max() == pytest.approx(np.abs(column).max())


def test_the_interval_is_that_of_pairs_widened_for_shared_clips():
    """Red for runs of other folds in a pair, or a deviation of single runs."""
    accuracies = {"tt": (0.7, 0.8, 0.6, 0.9), "cp": (0.8, 0.8, 0.7, 1.0)}
    rows = [
        replace(RUN, format=name, fold=fold, accuracy_last=value)
        for name, values in accuracies.items()
        for fold, value in enumerate(values)
    ]
    ((key, (low, high)),) = bench_formats_systems.intervals(rows[::-1]).items()
    gains = np.subtract(accuracies["cp"], accuracies["tt"])
    plain = stats.ttest_1samp(gains, 0).confidence_interval()
    assert key == ("cp", 4, "group")
    assert (low + high) / 2 == pytest.approx(gains.mean())
    assert high - low == pytest.approx((plain.high - plain.low) * np.sqrt(1 + 4 / 4))
