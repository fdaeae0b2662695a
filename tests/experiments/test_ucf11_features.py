"""The UCF11 job on the features of frozen networks: computed once, kept whole, wrong flags."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests import processes

LITE = ("--features", "efficientnet-lite0", "--frames", 2, "--epochs", 1)


def ucf11(*arguments, cwd):
    return processes.run(["-m", "experiments.ucf11", *arguments], cwd=cwd)


def feature_files(cwd):
    """Time of the last change of every file of features, by its path."""
    return {path: path.stat().st_mtime_ns for path in (cwd / "data").rglob("*.npy")}


@pytest.fixture(scope="module")
def runs(small_shards, tmp_path_factory):
    """A run of a tensor train, then one of the mean, and the features after each."""
    cwd = tmp_path_factory.mktemp("features")
    after = []
    for out, flags in (("tt", ("--tt",)), ("mean", ("--cell", "mean", "--seed", 1))):
        run = ucf11(*LITE, *flags, "--shards", small_shards, "--out", out, cwd=cwd)
        assert run.returncode == 0, run.stderr[-3000:]
        after.append(feature_files(cwd))
    return cwd, after


def test_features_are_computed_once_for_all_heads(runs, small_shards):
    """Red when another head or seed computes them again, or all stored frames have features."""
    from preprocess.shards.reader import open_shards

    _, (first, second) = runs
    assert first
    assert second == first
    rows = sum(len(np.load(path, mmap_mode="r")) for path in first)
    assert rows == 2 * len(open_shards(small_shards))


@pytest.mark.parametrize("out", ["tt", "mean"])
def test_the_kept_model_repeats_the_predictions(runs, small_shards, out):
    """Red when the kept model has another network, standardization, crop or choice of frames."""
    from experiments.clips.model import load_clip_model
    from preprocess.shards.reader import open_shards

    cwd, _ = runs
    model = load_clip_model(cwd / out)
    rows = list(csv.DictReader((cwd / out / "predictions.csv").open()))[:3]
    shards = open_shards(small_shards)
    clips = [shards[shards.sources.index(row["clip"])] for row in rows]
    found = model.predict([clip.read() for clip in clips], clips[0].original_size)
    expected = [[float(row[f"p_{name}"]) for name in model.class_names] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_video_is_predicted_with_the_run(runs, videos, tmp_path):
    cwd, _ = runs
    tested = next(csv.DictReader((cwd / "tt" / "predictions.csv").open()))
    video = videos / tested["clip"]
    run = processes.run(
        ["-m", "experiments.predict", "tt", video, "--no-annotate", "--out", tmp_path], cwd=cwd
    )
    assert run.returncode == 0, run.stderr
    window = next(csv.DictReader((tmp_path / f"{Path(tested['clip']).stem}.csv").open()))
    columns = [name for name in tested if name.startswith("p_")]
    assert sum(float(window[name]) for name in columns) == pytest.approx(1, abs=1e-4)


def test_the_run_is_exported(runs):
    """Red when the exported model lacks a number of the classifier, such as a mean."""
    cwd, _ = runs
    run = processes.run(["-m", "experiments.export", "tt", "model.onnx"], cwd=cwd)
    assert run.returncode == 0, run.stderr
    assert "ONNX Runtime differ by at most" in run.stdout


def test_the_result_says_what_was_classified(runs):
    cwd, _ = runs
    results = [json.loads((cwd / out / "result.json").read_text()) for out in ("tt", "mean")]
    assert [result["model"] for result in results] == [
        "efficientnet-lite0-tt-gru",
        "efficientnet-lite0-mean",
    ]
    assert [result["maxlen"] for result in results] == [2, 2]
    assert results[0]["tt_params"] > 0
    assert results[1]["tt_params"] is None


def test_a_network_may_come_from_a_keras_file(small_shards, tmp_path):
    """Red when the pixels that it gets are scaled, cut or ordered in another way."""
    import keras

    from preprocess.batches.cutting import cut
    from preprocess.batches.views import CropChoice, FrameChoice
    from preprocess.shards.reader import open_shards

    frames = keras.Input((None, None, 3), name="frames")
    network = keras.Model(frames, keras.layers.GlobalAveragePooling2D()(frames))
    network.save(tmp_path / "colours.keras")
    flags = ("--features", "colours.keras", "--frames", 3, "--epochs", 1, "--cell", "lstm")
    run = ucf11(*flags, "--no-tt", "--shards", small_shards, "--out", "out", cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    (first, *_) = sorted((tmp_path / "data").rglob("*.npy"))
    clip = open_shards(small_shards)[0]
    pixels = clip.read()[FrameChoice(3, "segments").tested(len(clip.read()), 0, 1)]
    crops = CropChoice((224, 224), short_sides=(224, 224))
    seen = cut(pixels, crops.tested(clip.original_size, 0, 1), (224, 224))
    np.testing.assert_allclose(np.load(first)[:3], seen.mean(axis=(1, 2)), rtol=1e-4)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--features", "efficientnet-lite"], "Did you mean efficientnet-lite0?"),
        (["--features", "resnet50"], "--weights FILE"),
        (["--features", "resnet50", "--weights", "gone.pth"], "There is no gone.pth"),
        (["--features", "gone.keras"], "is not there: gone.keras"),
        (["--cell", "mean"], "--cell mean needs --features"),
        (["--no-tt", "--format", "tr"], "--no-tt asks for a dense input kernel"),
        (["--rank", 3], "--rank is that of --format"),
        (["--format", "dense", "--rank", 3], "without a format that has ranks"),
        (["--weights", "random"], "--weights needs --features"),
        (["--frames", "4"], "--frames needs --features"),
        ([*LITE, "--maxlen", "20"], "--maxlen does not go with --features"),
        ([*LITE, "--stride", "2"], "--stride does not go with --features"),
        ([*LITE, "--distribute", "gpus"], "--distribute does not go with --features"),
        ([*LITE, "--set", "contrast=0.5"], "contrast cannot change them"),
    ],
)
def test_impossible_flags_are_refused_before_the_work(flags, message, small_shards, tmp_path):
    run = ucf11(*flags, "--shards", small_shards, cwd=tmp_path)
    assert run.returncode == 2, run.stderr
    assert message in run.stderr
    assert not list(tmp_path.iterdir())
