"""All videos of a folder, with what is written of them, and the command."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from pycocotools.coco import COCO

from experiments.clips.prediction.command import main
from experiments.clips.prediction.job import predict_paths
from experiments.clips.prediction.predict import predict_video
from experiments.process import runtime
from preprocess.errors import PreprocessError
from preprocess.system import stopping
from tests.experiments.clips.prediction import predict_with_stand_in
from tests.experiments.clips.prediction.conftest import (
    Colours,
    ffmpeg,
    frames_of,
    read_rows,
    write_colours,
)
from tests.hold import start_held
from tests.processes import PATIENCE_SECONDS, REPOSITORY, wait_until

ODD_NAMES = ("-dash", "a b'c\"d", "é,x;[1]", "new\nline", "%03d:\\'")


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path):
    """Videos of odd names; one cannot be read."""
    for number, name in enumerate(ODD_NAMES):
        write_colours(tmp_path / "videos" / "below" / f"v{number}.mp4", ["red"] * 3 + ["blue"] * 6)
        (tmp_path / "videos" / "below" / f"v{number}.mp4").rename(
            tmp_path / "videos" / f"{name}.mp4"
        )
    (tmp_path / "videos" / "below" / "broken.mp4").write_bytes(b"junk" * 40)
    return tmp_path / "videos"


def test_a_folder(folder, tmp_path, model, capsys):
    """Red when one bad file ends the work, or a name is taken for an option or a pattern."""
    out = tmp_path / "new" / "out"
    assert predict_paths(model, [folder], out) == 1
    output = capsys.readouterr()
    assert "1 of 6 videos failed or are incomplete" in output.err
    assert "below/broken.mp4: not a video" in output.out
    assert "new\\nline.mp4: blue" in output.out
    suffixes = (".csv", ".json", ".annotated.mp4")
    expected = {f"{name}{suffix}" for name in ODD_NAMES for suffix in suffixes}
    assert files(out) == expected | {"predictions.csv", "failures.csv"}
    assert [row["video"] for row in read_rows(out / "failures.csv")] == ["below/broken.mp4"]
    rows = read_rows(out / "predictions.csv")
    assert sorted(row["video"] for row in rows) == sorted(f"{name}.mp4" for name in ODD_NAMES)
    assert {(row["label"], row["vote"]) for row in rows} == {("blue", "blue")}
    for name in ODD_NAMES:
        assert len(frames_of(out / f"{name}.annotated.mp4")) == 9


@pytest.mark.parametrize(
    ("colours", "expected"),
    [(["red"] * 4, "1 of 1 window says red"), (["red"] * 9, "4 of 4 windows say red")],
)
def test_the_windows_are_told_of_in_a_sentence(tmp_path, model, capsys, colours, expected):
    """Red when one window "say" something."""
    video = write_colours(tmp_path / "x.mp4", colours)
    assert predict_paths(model, [video], tmp_path / "out", annotate=False) == 0
    assert expected in capsys.readouterr().out


def test_other_tools_read_the_predictions(folder, tmp_path, model):
    """Red when a window, its class or its video differs from the CSV's: Arrow and COCO's own reader
    say what is there, and Label Studio's tasks have each video's class."""
    out = tmp_path / "out"
    formats = ("parquet", "coco", "label-studio")
    assert predict_paths(model, [folder], out, annotate=False, formats=formats) == 1
    videos = [row["video"] for row in read_rows(out / "predictions.csv")]
    expected = [
        (video, float(row["start_seconds"]), float(row["end_seconds"]), row["label"])
        for video in sorted(videos)
        for row in read_rows(out / f"{video.removesuffix('.mp4')}.csv")
    ]
    table = parquet.read_table(out / "predictions.parquet").to_pylist()
    windows = sorted(
        (row["video"], round(row["start_seconds"], 3), round(row["end_seconds"], 3), row["label"])
        for row in table
    )
    assert windows == sorted(expected)
    assert {"p_red", "p_green", "p_blue", "confidence", "rolling_label"} <= set(table[0])

    coco = COCO(out / "predictions.coco.json")
    windows = [
        (
            coco.loadImgs(each["image_id"])[0]["file_name"],
            each["segment"][0],
            each["segment"][1],
            coco.loadCats(each["category_id"])[0]["name"],
        )
        for each in coco.loadAnns(coco.getAnnIds())
    ]
    assert sorted(windows) == sorted(expected)
    red = coco.getAnnIds(catIds=coco.getCatIds(catNms=["red"]))
    assert len(red) == sum(row[3] == "red" for row in expected)

    tasks = json.loads((out / "predictions.label-studio.json").read_text())
    assert sorted(task["data"]["video"] for task in tasks) == sorted(videos)
    for task in tasks:
        (prediction,) = task["predictions"]
        assert prediction["result"][0]["value"] == {"choices": ["blue"]}
        assert 1 / 3 < prediction["score"] <= 1


def test_failures_can_be_allowed(folder, tmp_path, model):
    options = {"annotate": False, "allow_failures": True}
    assert predict_paths(model, [folder], tmp_path / "out", **options) == 0
    assert predict_paths(model, [folder / "below"], tmp_path / "none", **options) == 1


def test_the_files_hold_what_was_found(tmp_path, model):
    """Red when a column or a time is another's."""
    video = write_colours(tmp_path / "x.mp4", ["red"] * 6 + ["green"] * 9)
    settings = {"run": "runs/x"}
    out = tmp_path / "out"
    assert predict_paths(model, [video], out, hop=3, rolling=3, settings=settings) == 0
    found = predict_video(model, video, hop=3, rolling=3)
    rows = read_rows(out / "x.csv")
    names = list(model.class_names)
    shares = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
    np.testing.assert_allclose(shares, found.probabilities, atol=1e-5)
    assert [row["label"] for row in rows] == [names[best] for best in shares.argmax(axis=1)]
    means = [shares[max(0, n - 2) : n + 1].mean(axis=0).argmax() for n in range(len(rows))]
    assert [row["rolling_label"] for row in rows] == [names[best] for best in means]
    assert rows[2]["rolling_label"] != rows[2]["label"]
    np.testing.assert_allclose([float(row["confidence"]) for row in rows], shares.max(axis=1))
    starts = [float(row["start_seconds"]) for row in rows]
    np.testing.assert_allclose(starts, np.array([0, 3, 6, 9, 11]) / 25, atol=1e-3)
    assert float(rows[-1]["end_seconds"]) == pytest.approx(15 / 25, abs=1e-3)

    summary = json.loads((out / "x.json").read_text())
    best = summary["top_classes"][0]
    assert best["label"] == "green"
    assert best["mean_probability"] == pytest.approx(shares.mean(axis=0)[1], abs=1e-5)
    assert summary["class_names"] == names
    assert summary["vote"] == {"label": "green", "num_windows": 3}
    assert (summary["video"], summary["num_windows"]) == ("x.mp4", 5)
    expected = {"window": 4, "hop": 3, "rolling": 3, "stride": 1, "run": "runs/x"}
    assert expected.items() <= summary["settings"].items()
    (row,) = read_rows(out / "predictions.csv")
    assert (row["label"], row["vote"], row["num_windows"]) == ("green", "green", "5")
    assert float(row["confidence"]) == pytest.approx(best["mean_probability"])
    assert float(row["seconds"]) == pytest.approx(0.6, abs=1e-3)


def test_a_second_run_replaces_its_own_files_only(tmp_path, model, capsys):
    """Red when another video's results, or a file of the user's, are gone."""
    first = write_colours(tmp_path / "a" / "x.mp4", ["red"] * 6)
    other = write_colours(tmp_path / "b" / "x.mp4", ["blue"] * 6)
    more = write_colours(tmp_path / "b" / "y.mp4", ["green"] * 6)
    out = tmp_path / "out"
    assert predict_paths(model, [first, more], out) == 0
    kept = (out / "x.json").read_bytes()
    assert predict_paths(model, [other], out) == 1
    assert "x.json is there, and not from this video" in capsys.readouterr().out
    assert (out / "x.json").read_bytes() == kept
    write_colours(first, ["green"] * 8)
    assert predict_paths(model, [first], out, annotate=False) == 0
    rows = read_rows(out / "predictions.csv")
    assert [(row["video"], row["label"]) for row in rows] == [
        ("x.mp4", "green"),
        ("y.mp4", "green"),
    ]
    assert "x.annotated.mp4" not in files(out)  # it showed what was found before
    (out / "y.json").unlink()
    assert predict_paths(model, [more], out) == 1


def test_a_runs_own_tables_are_left_alone(tmp_path, model):
    video = write_colours(tmp_path / "x.mp4", ["red"] * 6)
    (tmp_path / "predictions.csv").write_text("clip,group\n")
    with pytest.raises(PreprocessError, match="is no table of predictions"):
        predict_paths(model, [video], tmp_path)
    assert (tmp_path / "predictions.csv").read_text() == "clip,group\n"


def test_a_name_that_is_not_text(tmp_path, model, capsys):
    write_colours(tmp_path / "v" / "x.mp4", ["red"] * 6)
    (tmp_path / "v" / "x.mp4").rename(tmp_path / "v" / os.fsdecode(b"\xff.mp4"))
    assert predict_paths(model, [tmp_path / "v"], tmp_path / "out") == 1
    assert "not valid UTF-8" in capsys.readouterr().out


def test_a_cut_video_is_predicted_and_told(tmp_path, model):
    source = write_colours(tmp_path / "x.mp4", ["red", "blue"] * 40, size=(320, 240))
    ffmpeg("-i", source, "-c:v", "mjpeg", tmp_path / "cut.avi")
    content = (tmp_path / "cut.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    assert predict_paths(model, [tmp_path / "cut.avi"], tmp_path / "out", annotate=False) == 1
    assert "ended early" in json.loads((tmp_path / "out" / "cut.json").read_text())["failure"]
    assert read_rows(tmp_path / "out" / "cut.csv")


def test_an_interruption_leaves_whole_files(tmp_path):
    class Interrupted(Colours):
        def predict(self, windows, original_size):
            if len(self.seen) > 6:
                raise KeyboardInterrupt
            return super().predict(windows, original_size)

    for name in "ab":
        write_colours(tmp_path / "v" / f"{name}.mp4", ["red"] * 12)
    with pytest.raises(KeyboardInterrupt):
        predict_paths(Interrupted(), [tmp_path / "v"], tmp_path / "out")
    whole = {"a.csv", "a.json", "a.annotated.mp4", "predictions.csv"}
    assert files(tmp_path / "out") == whole


@pytest.fixture
def started(monkeypatch):
    """The tests' own process has its thread pools and signals already."""
    monkeypatch.setattr(runtime, "configure", lambda threads, seed: None)
    monkeypatch.setattr(stopping, "answer_signals", lambda resume_hint: None)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["nowhere.mp4"], "no video or folder nowhere.mp4"),
        (["empty"], "No videos found in empty"),
        (["x.mp4", "--hop", "0"], "--hop must be greater than 0"),
        (["x.mp4", "--rolling", "-1"], "--rolling must be greater than 0"),
        (["x.mp4", "--views", "many"], "views must be TxS"),
        (["x.mp4", "--threads", "many"], "--threads must be auto"),
        (["x.mp4", "--run", "nowhere"], "--run must be the directory"),
        (["x.mp4", "--run", "begun"], "A finished run's directory is needed"),
        (["x.mp4", "--out", "x.mp4"], "Cannot write to x.mp4"),
        (["none*.mp4"], "no video or folder that matches none*.mp4"),
        (["x.mp4"], "Annotated videos need an ffmpeg"),
        ([], "must be named"),
    ],
)
@pytest.mark.usefixtures("started")
def test_wrong_commands_get_one_line(tmp_path, monkeypatch, capsys, wrong, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.json").touch()
    write_colours(tmp_path / "x.mp4", ["red"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "no-ffmpeg"))
    late = lambda *_: pytest.fail("refused too late")  # noqa: E731
    monkeypatch.setattr("experiments.clips.prediction.job.load_model", late)
    assert main("predict", ["--run", "run", *wrong]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run that kept a model, which nobody trained."""
    from experiments.clips.model import ClipInputSpec, keep_model
    from preprocess.batches.views import CropChoice, FrameChoice
    from preprocess.shards.settings import FrameSettings
    from ttrnn.models.crnn import build_crnn

    input_spec = ClipInputSpec(
        ("left", "right"),
        FrameSettings((48, 40), 2, 8),
        FrameChoice(6, "segments"),
        CropChoice((40, 40)),
        usual_frames=10,
    )
    folder = tmp_path_factory.mktemp("run")
    keep_model(folder, build_crnn(2, height=40, width=40, seed=0), input_spec)
    return folder


@pytest.mark.usefixtures("started")
def test_the_command(run_dir, tmp_path, capsys):
    """Red when a run's model cannot be used as it was kept, or its absence ends in a traceback."""
    video = write_colours(tmp_path / "x.mp4", ["red"] * 30 + ["blue"] * 30)
    assert main("predict", [str(video), "--run", str(run_dir), "--views", "2x3"]) == 0
    out = run_dir / "predictions"
    assert files(out) == {"x.csv", "x.json", "x.annotated.mp4", "predictions.csv"}
    assert len(read_rows(out / "x.csv")) == 5  # 30 frames; windows from 0, 5, 10, 15, 20
    assert json.loads((out / "x.json").read_text())["settings"]["views"] == "2x3"
    assert main("predict", [str(video), "--run", str(tmp_path)]) == 2
    assert "A finished run's directory is needed" in capsys.readouterr().err


def test_stopped_from_outside(tmp_path):
    """Red when Ctrl-C ends in a traceback, or leaves a half file or a process."""
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=320x240:r=25:d=10", tmp_path / "x.mp4")
    for name in ("model.json", "model.keras"):  # looked for, and never read: a stand-in predicts
        (tmp_path / name).touch()
    args = ["-m", predict_with_stand_in.__name__, "x.mp4", "--run", ".", "--out", "out"]
    # It waits before the copy gets its name, so that the signal comes in time.
    run = start_held(
        tmp_path / "hold",
        args,
        after="experiments.media.annotation:_run",
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    ).process
    wait_until(lambda: list(tmp_path.glob("out/.annotating-*/copy.mp4")), "half a copy", run)
    run.send_signal(signal.SIGINT)
    _, output = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 130
    assert "Interrupted. The results so far are kept; the same command" in output
    assert "Traceback" not in output
    assert files(tmp_path / "out") == {"x.csv", "x.json", "predictions.csv"}


COVER = REPOSITORY.parent / "shared" / "clips" / "reported" / "audio_cover.mp4"


@pytest.mark.skipif(not COVER.exists(), reason="needs the clips in ../shared/clips/reported")
def test_a_cover_picture_is_no_video(tmp_path, model, capsys):
    """Red when sound with a cover picture ends in ffmpeg's words, or stops the others."""
    write_colours(tmp_path / "v" / "x.mp4", ["red"] * 6)
    (tmp_path / "v" / "cover.mp4").symlink_to(COVER)
    (tmp_path / "v" / "notes.txt").touch()
    assert predict_paths(model, [tmp_path / "v"], tmp_path / "out") == 1
    output = capsys.readouterr().out
    assert "cover.mp4: no video, only a cover picture" in output
    assert "Left out: 1 file is no video by its name: 1 .txt." in output
    assert [row["video"] for row in read_rows(tmp_path / "out" / "predictions.csv")] == ["x.mp4"]
