"""The UCF11 job on the features of frozen networks: computed once, kept whole, wrong flags."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from experiments.clips.ucf11 import kernel_format
from tests import processes

LITE = ("--features", "efficientnet-lite0", "--frames", 2, "--size", 64, 48, "--epochs", 1)
PARTS = ("expand", "depthwise", "project")


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


# What a run in another process, at another time and in another folder has of its own.
OF_ITS_PROCESS = {
    *("date", "commit", "command", "frames_per_second", "wall_seconds", "peak_rss_bytes"),
}


def test_many_runs_in_one_process_are_those_of_the_command(runs, small_shards):
    """Red when a run that takes over another's compiled step begins with any of its numbers: of
    the weights, the optimizer, the schedule, or the generator of dropout; or when initial weights
    depend on what was built before them."""
    cwd, after = runs
    flags = ("--frames", 2, "--size", 64, 48, "--epochs", 1, "--shards", small_shards)
    run = processes.run(
        [
            *("-m", "experiments.crossval", "--features", "efficientnet-lite0"),
            *("--cells", "mean", "gru", "--folds", 0, "--seeds", 0, 1),
            "--flags=" + " ".join(map(str, flags)),
        ],
        cwd=cwd,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    # The mean's scores begin at zero and only its dropout is drawn; a GRU's cores are drawn, too.
    for name, by_hand in (("mean-fold0-seed1", "mean"), ("gru-fold0-seed0", "tt")):
        outs = (cwd / f"runs/crossval/tuned-tt-{name}", cwd / by_hand)
        predicted = [(out / "predictions.csv").read_bytes() for out in outs]
        assert predicted[0] == predicted[1]
        ours, its = (json.loads((out / "result.json").read_text()) for out in outs)
        assert {k: v for k, v in ours.items() if k not in OF_ITS_PROCESS} == {
            k: v for k, v in its.items() if k not in OF_ITS_PROCESS
        }
        assert ours["command"].startswith("python -m experiments.ucf11 --out runs/crossval/tuned")
    assert feature_files(cwd) == after[-1]


def test_a_kernel_of_crossval_is_a_format_of_the_job(tmp_path):
    """Red when all formats would be trained as one, or a row's command changes its flags."""
    from experiments import crossval

    arguments = crossval.Arguments(features="efficientnet-lite0")
    commands = {}
    for kernel in ("tt", "dense", "tr", "low-rank"):
        setting = crossval.Setting("tuned", "gru", kernel, "")
        commands[kernel] = setting.command(arguments, 0, 0, tmp_path)
        flags = setting.parsed(arguments, 0, 0, tmp_path)
        assert kernel_format(flags) == kernel
    assert "--tt" in commands["tt"]
    assert "--format" not in commands["tt"] + commands["dense"]


def test_the_last_blocks_of_a_network_are_trained(runs, small_shards):
    """Red when another block moves, a statistic does, or the kept model is not the trained one."""
    import keras

    from experiments.clips.features import load_network
    from experiments.clips.model import load_clip_model
    from preprocess.shards.reader import open_shards
    from weights.assign import model_arrays

    cwd, _ = runs
    flags = ("--unfreeze", 2, "--set", "mixup=0.2", "batch_size=16")
    run = ucf11(*LITE, *flags, "--shards", small_shards, "--out", "tuned", cwd=cwd)
    assert run.returncode == 0, run.stderr[-3000:]
    model = load_clip_model(cwd / "tuned")
    pretrained = model_arrays(
        load_network("efficientnet_lite0", None, input_shape=(48, 64, 3), policy="float32")
    )
    kept = keras.saving.load_model(cwd / "tuned" / "model.keras")
    now = model_arrays(kept.get_layer("efficientnet_lite0"))
    moved = {name.split("/")[0] for name, array in pretrained.items() if (now[name] != array).any()}
    assert moved == {
        *(f"block_{block}_{layer}_conv" for block in (14, 15) for layer in PARTS),
        "head_conv",
    }
    rows = list(csv.DictReader((cwd / "tuned" / "predictions.csv").open()))[:3]
    shards = open_shards(small_shards)
    clips = [shards[shards.sources.index(row["clip"])] for row in rows]
    found = model.predict([clip.read() for clip in clips], clips[0].original_size)
    expected = [[float(row[f"p_{name}"]) for name in model.class_names] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_network_may_come_from_a_keras_file(small_shards, tmp_path):
    """Red when the pixels that it gets are scaled, cut or ordered in another way."""
    import keras

    from preprocess.batches.views import FrameChoice
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
    seen = np.stack([cv2.resize(frame, (448, 336)) for frame in pixels])
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
        (["--joint-format", "tr", "--format", "tt"], "--joint-format is that of input kernel and"),
        (["--joint-format", "tr", "--recurrent-format", "tt"], "too; leave it or them out"),
        (["--joint-format", "tr", "--no-tt"], "too; leave it or them out"),
        ([*LITE, "--joint-format", "tr", "--cell", "mean"], "choose gru, lstm or rnn"),
        (["--recurrent-format", "tr", "--cell", "mlp"], "which has an input kernel alone"),
        (["--weights", "random"], "--weights needs --features"),
        (["--frames", "4"], "--frames needs --features"),
        (["--size", "64", "48"], "--size needs --features"),
        ([*LITE, "--size", "64", "16"], "--size must be at least 32 pixels"),
        (["--unfreeze", "1"], "--unfreeze needs --features"),
        ([*LITE, "--unfreeze", "17"], "at most 16 of efficientnet-lite0"),
        ([*LITE, "--set", "mixup=0.2"], "Add --features NETWORK and --unfreeze N"),
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


def test_clips_of_pixels_are_mirrored_when_the_recipe_asks(small_shards):
    """Red when mirror is refused without a frozen network, or does not reach the batches."""
    from experiments.clips import ucf11 as job
    from experiments.clips.ucf11_model import make_batches
    from preprocess.shards.reader import open_shards

    shards = open_shards(small_shards)
    still = ["shortest_share=1.0", "largest_shift=0", "contrast=0.0", "mirror=true"]
    args = ["--shards", str(small_shards), "--batch-size", "1", "--set", *still]
    arguments, recipe, _, _ = job.check_arguments(job.parse(args))
    clips = np.arange(len(shards))
    mirrored = 0
    for shown, labels in (
        make_batches(arguments, recipe, shards).shuffled(clips, 0).as_numpy_iterator()
    ):
        frames = shown["frames"]
        stored = [shards[clip].frames for clip in np.flatnonzero(shards.labels == labels[0])]
        is_plain, is_mirrored = (
            any(np.array_equal(frames, one[: len(frames), :, ::step]) for one in stored)
            for step in (1, -1)
        )
        assert is_plain or is_mirrored
        mirrored += is_mirrored and not is_plain
    assert 0 < mirrored < len(shards)
