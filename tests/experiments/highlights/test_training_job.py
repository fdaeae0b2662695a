"""`train` as a user types it, small: files, figures, resuming, choosing, wrong commands."""

import csv
import json
import re

import keras
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from experiments.clips.images import ImageSettings
from experiments.clips.scorer_model import load_scorer
from experiments.highlights.commands import main
from experiments.highlights.scoring import scorer_network
from experiments.highlights.selection.scores import ScoreTrack
from experiments.highlights.training import fit
from experiments.process import runtime
from experiments.runs.directory import read_history
from experiments.runs.plots import best_epoch
from experiments.training import checkpoints
from tests.experiments.highlights.image_shards import images_of, labelled, write_all
from tests.experiments.runs.report_runs import Page

TIMES = np.arange(0, 4, 0.5)
CLIPS = [labelled(f'clip<i>"{i}', (1.0, 2.5), group=f'group<i>"{i // 2}') for i in range(8)]
RUN_FILES = {
    *("best.keras", "last.keras", "checkpoint.npz", "config.json", "metrics.csv"),
    *("predictions.csv", "result.json", "scorer.json"),
    *("report.html", "curves.png", "trade_off.png", "calibration.png"),
}


def small_resnet(depth, num_classes, *, input_shape, normalize, dtype, name):
    """A network that takes what a ResNet takes, and is compiled in a tenth of the time."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Rescaling(1 / 128, -1),
            layers.Conv2D(8, 5, 4, use_bias=False, dtype=dtype),
            layers.BatchNormalization(dtype=dtype),
            layers.ReLU(dtype=dtype),
            layers.GlobalAveragePooling2D(dtype="float32"),
        ],
        name=name,
    )


@pytest.fixture(scope="module", autouse=True)
def small_and_in_one_process():
    """TensorFlow's thread pools can be set once a process; seeds are set for every run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "configure", lambda threads, seed: keras.utils.set_random_seed(seed))
        patch.setattr(scorer_network, "build_resnet", small_resnet)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("data"), CLIPS, TIMES)


def train(data, out, *flags):
    layout = () if "--layout" in flags else ("--layout", "stacked")
    given = (*data, "--out", out, "--batch-size", 16, *layout, *flags)
    return main(["train", *map(str, given)])


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """Three epochs, undisturbed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert train(data, out, "--epochs", 3) == 0
    return out


def rows_of(out):
    return list(csv.DictReader((out / "predictions.csv").open()))


def test_a_run_leaves_all_its_files(finished):
    assert {path.name for path in finished.iterdir()} == RUN_FILES


def test_the_result_agrees_with_the_predictions(finished):
    """Red when probabilities and labels part ways, or figures are those of training."""
    result = json.loads((finished / "result.json").read_text())
    rows = rows_of(finished)
    assert len(rows) == 2 * len(TIMES) == result["num_validation_pictures"]
    assert len({row["group"] for row in rows}) == 1
    for row in rows:
        assert row["label"] == str(int(1.0 <= float(row["time_seconds"]) < 2.5))
    labels = [int(row["label"]) for row in rows]
    probabilities = [float(row["probability"]) for row in rows]
    expected = average_precision_score(labels, probabilities)
    assert result["average_precision"] == pytest.approx(expected, abs=1e-4)
    # Chosen by the score that a reel takes: each clip smoothed on its own over 5 s.
    smoothed = []
    for name in dict.fromkeys(row["clip"] for row in rows):
        of_clip = [float(row["probability"]) for row in rows if row["clip"] == name]
        smoothed += list(ScoreTrack(TIMES, of_clip, TIMES[-1] + 5, reach=2.5).smoothed(5))
    expected = average_precision_score(labels, smoothed)
    assert result["average_precision_smoothed"] == pytest.approx(expected, abs=1e-4)
    history = read_history(finished / "metrics.csv")
    assert history["validation_score"].max() == pytest.approx(expected, abs=1e-4)
    assert result["best_epoch"] == best_epoch(history)


def test_the_scorer_says_what_the_predictions_say(finished):
    """Red when scoring sees other pictures than training, or another model is kept."""
    scorer = load_scorer(finished)
    assert scorer.box == CLIPS[0].box
    result = json.loads((finished / "result.json").read_text())
    assert scorer.threshold == result["threshold"]
    rows = rows_of(finished)
    clips = {clip.path.name: clip for clip in CLIPS}
    for name in {row["clip"] for row in rows}:
        probabilities = [float(row["probability"]) for row in rows if row["clip"] == name]
        np.testing.assert_allclose(
            scorer.predict(images_of(clips[name], TIMES)), probabilities, atol=1e-4
        )


def test_the_report_stands_alone(finished):
    """Red when a section is missing, or the page asks something of the network."""
    page = (finished / "report.html").read_text()
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == [
        *("Trade-off", "Calibration", "Curves", "Class balance", "Worst mistakes"),
        *("Configuration", "Environment"),
    ]
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "of 1 group that training never saw" in page
    assert "<i>" not in page  # but a group's name, escaped
    assert 'saw (group<i>"' in Page(finished / "report.html").text
    assert page.count("data:image/png") == 2 * 3


def test_a_stopped_run_resumes_to_the_same_numbers(data, finished, tmp_path, monkeypatch, capsys):
    """Red when the order of pictures, a change, the dropout or the optimizer starts afresh."""
    out = tmp_path / "stopped"
    original = checkpoints._write_checkpoint

    def stop(classifier, history, path):
        original(classifier, history, path)
        if len(history.epochs) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "_SECONDS_BETWEEN_CHECKPOINTS", -1)
    monkeypatch.setattr(checkpoints, "_write_checkpoint", stop)
    assert train(data, out, "--epochs", 3) == 130
    assert "--resume" in capsys.readouterr().err
    monkeypatch.undo()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "configure", lambda threads, seed: keras.utils.set_random_seed(9))
        assert train(data, out, "--epochs", 3, "--resume") == 0
    assert rows_of(out) == rows_of(finished)
    for name in ("best.keras", "last.keras"):
        pairs = zip(
            keras.models.load_model(finished / name).get_weights(),
            keras.models.load_model(out / name).get_weights(),
            strict=True,
        )
        for one, other in pairs:
            np.testing.assert_array_equal(one, other)


def test_a_finished_run_is_neither_repeated_nor_overwritten(data, finished, capsys):
    before = (finished / "best.keras").stat().st_mtime_ns
    assert train(data, finished, "--epochs", 3) == 2
    assert "--resume" in capsys.readouterr().err
    assert train(data, finished, "--epochs", 3, "--resume") == 0
    assert "nothing to resume" in capsys.readouterr().out
    assert train(data, finished, "--epochs", 4, "--resume") == 2
    assert "epochs was 3, now 4" in capsys.readouterr().err
    assert (finished / "best.keras").stat().st_mtime_ns == before


def test_the_best_epochs_model_is_evaluated(data, tmp_path, monkeypatch):
    """Red when the last epoch's model is evaluated, or suggested to others."""
    scores = iter([0.9, 0.1])
    chosen = {"select": None, "precision": None}

    def score_of(select, *, precision, examples):
        chosen.update(select=select, precision=precision)
        return lambda probabilities, labels: next(scores)

    monkeypatch.setattr(fit, "score_of", score_of)
    flags = ["--select", "recall-at-precision", "--precision", 0.8]
    assert train(data, tmp_path / "run", "--epochs", 2, "--lr", 0.05, *flags) == 0
    assert chosen == {"select": "recall-at-precision", "precision": 0.8}
    assert json.loads((tmp_path / "run" / "result.json").read_text())["best_epoch"] == 1
    first, last = (
        keras.models.load_model(tmp_path / "run" / f"{name}.keras") for name in ("best", "last")
    )
    probabilities = [float(row["probability"]) for row in rows_of(tmp_path / "run")][: len(TIMES)]
    (name,) = {row["clip"] for row in rows_of(tmp_path / "run")[: len(TIMES)]}
    images = images_of(next(clip for clip in CLIPS if clip.path.name == name), TIMES)
    np.testing.assert_allclose(np.asarray(first(images))[:, 1], probabilities, atol=1e-4)
    assert np.abs(np.asarray(last(images))[:, 1] - probabilities).max() > 1e-2


def test_what_has_changed_is_told(data, finished, tmp_path, capsys):
    """Red when the earlier model sees other pictures, or before and now are exchanged."""
    out = tmp_path / "again"
    assert train(data, out, "--epochs", 1, "--before", tmp_path) == 2
    assert "A scorer is a directory with scorer.json" in capsys.readouterr().err
    assert train(data, out, "--epochs", 1, "--lr", 0.05, "--before", finished) == 0
    output = capsys.readouterr().out
    change = json.loads((out / "result.json").read_text())["change"]
    for run_dir, name in ((finished, "validation_before"), (out, "validation_after")):
        result = json.loads((run_dir / "result.json").read_text())
        assert change[name] == pytest.approx(result["precision_at_length"], abs=1e-6)
    assert f"all that is labelled {change['reviewed_before']:.3f} before" in output
    assert f"compared with {finished}" in output
    assert f"highlights run RECORDING --model {out}" in output  # what comes next
    assert str(finished) in (out / "report.html").read_text()


def test_changed_labels_are_no_resumption(finished, tmp_path, capsys, data):
    """Red when a run goes on with other labels than it began with."""
    labels, shards = data
    kept = labels.read_bytes()
    try:
        labels.write_bytes(kept.replace(b"2.5,highlight", b"3.0,highlight", 1))
        assert train((labels, shards), finished, "--epochs", 3, "--resume") == 2
    finally:
        labels.write_bytes(kept)
    assert "labels_sha256 was" in capsys.readouterr().err


def test_select_and_recipe_are_followed(data, tmp_path, capsys):
    """Red when --select, --set or the original's own score is not."""
    flags = ["--recipe", "original", "--epochs", 1, "--layout", "two-inputs", "--precision", 0.99]
    assert train(data, tmp_path / "a", *flags, "--set", "erase=1") == 2
    assert "--set takes NAME=VALUE" in capsys.readouterr().err
    assert train(data, tmp_path / "a", *flags, "--set", "momentum=0.5") == 0
    output = capsys.readouterr().out
    assert "means over 5 s of 2 validation clips: average precision" in output
    assert "chance 0.375" in output
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert (config["select"], config["momentum"], config["epochs"]) == ("accuracy", 0.5, 1)
    history = read_history(tmp_path / "a" / "metrics.csv")
    np.testing.assert_array_equal(history["validation_score"], history["validation_accuracy"])
    assert history["learning_rate"][0] == pytest.approx(1e-3)
    result = json.loads((tmp_path / "a" / "result.json").read_text())
    assert result["wanted_precision"] == 0.99
    assert ("No threshold reaches" in output) == (not result["wanted_precision_reached"])
    assert load_scorer(tmp_path / "a").model.get_layer("heard")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs", 0], "epochs must be in [1, inf). Received 0"),
        (["--lr", -1], "learning_rate must be in (0, inf). Received -1"),
        (["--precision", 1.5], "--precision must be between 0 and 1"),
        (["--validation-share", 0], "--validation-share must be between 0 and 1"),
        (["--seed", -1], "--seed must be 0 or more"),
        (["--threads", "many"], "--threads must be auto or INTRA,INTER"),
        (["--weights", "none.pth"], "--weights must be a file"),
        (["--set", "mask=2"], "mask must be in"),
        (["--set", "dropout=1"], "dropout must be in [0, 1). Received 1"),
        (["--set", "dropout=null"], "another kind of value"),
        (["--set", "epochs=2.5"], "another kind of value"),
        (["--set", "optimizer=adam"], "it takes sgd, adamw"),
    ],
)
def test_wrong_flags_get_one_line_and_leave_nothing(data, tmp_path, capsys, flags, message):
    assert train(data, tmp_path / "run", *flags) == 2
    output = capsys.readouterr().err
    assert message in output
    assert output.startswith("error: ")
    assert output.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_wrong_labels_and_shards_get_one_line(data, tmp_path, capsys):
    labels, shards = data
    (tmp_path / "empty").mkdir()
    other = tmp_path / "other.csv"
    other.write_text("path,x1,y1,x2,y2,start,end,label\nother.mp4,0,0,1,1,1,2,highlight\n")
    for pair, message in (
        ((tmp_path / "none.csv", shards), "none.csv"),
        ((labels, tmp_path / "empty"), "highlights extract LABELS"),
        ((other, shards), "1 of 1 labelled clips have no pictures"),
    ):
        assert train(pair, tmp_path / "run") == 2
        output = capsys.readouterr().err
        assert message in output
        assert output.count("\n") == 1


def test_one_group_cannot_be_split(tmp_path, capsys):
    clips = [labelled(f"clip{i}", (1.0, 2.0), group="all") for i in range(3)]
    data = write_all(tmp_path, clips, TIMES, settings=ImageSettings(side=32))
    assert train(data, tmp_path / "run") == 2
    assert "at least 2 groups" in capsys.readouterr().err
