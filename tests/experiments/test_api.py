"""The jobs as functions: what they return is what the commands write."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError
from common.extras import MissingExtraError
from experiments import classify_videos, cut, load_run, score, train
from experiments.clips.prediction import command
from experiments.highlights.scoring.scoring_job import ScoringOptions
from experiments.runs.run import ClipModelError
from preprocess.system import stopping
from tests.experiments.classify.conftest import write_colours
from tests.experiments.highlights.run_with_stand_in import Brightness
from tests.experiments.highlights.test_run_command import render_white
from tests.experiments.runs.test_tensorboard import read as read_events


@pytest.fixture(scope="module")
def run(small_shards, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    flags = {"maxlen": 20, "stride": 4, "policy": "float32", "tensorboard": True}
    return train(small_shards, epochs=1, out=out, **flags)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_is_trained_and_found_again(run, small_shards):
    """Red when shards are taken for videos, or another directory is returned."""
    assert run.result["dataset"] == "demo"
    assert run.result["num_test_clips"] == len(rows_of(run.run_dir / "predictions.csv"))
    flags = {"maxlen": 20, "stride": 4, "policy": "float32"}
    again = train(small_shards, epochs=1, out=str(run.run_dir), resume=True, **flags)
    assert again.run_dir == run.run_dir
    assert load_run(str(run.run_dir)).result == run.result


def test_a_watched_run_has_its_epochs_and_pictures(run):
    """Red when --tensorboard writes nothing, or before there are pictures."""
    events = read_events(run.run_dir)
    (epoch,) = rows_of(run.run_dir / "metrics.csv")
    assert events[1, "loss/train"] == pytest.approx(float(epoch["train_loss"]), rel=1e-5)
    assert events[1, "data_wait_share"] == pytest.approx(float(epoch["data_wait_share"]), rel=1e-5)
    assert events[1, "confusion_matrix"].ndim == 3
    assert sum(tag.startswith("strips/") for _, tag in events) == 11


def test_a_run_explains_its_most_confident_mistakes(run):
    """Red when other clips or frames are explained than were tested, or by other weights."""
    index = json.loads((run.run_dir / "explained" / "index.json").read_text())
    wrong = [
        row for row in rows_of(run.run_dir / "predictions.csv") if row["label"] != row["predicted"]
    ]
    wrong.sort(key=lambda row: -float(row["confidence"]))
    assert index["sees_pixels"] is True
    assert index["clips"] == [row["clip"] for row in wrong[:3]]
    confidence = [float(row["confidence"]) for row in wrong[:3]]
    np.testing.assert_allclose(index["probabilities"], confidence, atol=2e-5)
    report = (run.run_dir / "report.html").read_text()
    assert report.count("Which moments and places decided") == len(index["clips"]) > 0


def test_a_prediction_is_that_of_the_command(run, videos, tmp_path, monkeypatch):
    """Red when the function takes other frames, hops or columns than the command."""
    monkeypatch.setattr(stopping, "answer_signals", lambda resume_hint: None)
    tested = rows_of(run.run_dir / "predictions.csv")[0]
    video = videos / tested["clip"]
    table = load_run(run.run_dir).predict(video, hop=3).to_arrow()
    args = [str(run.run_dir), str(video), "--hop", "3", "--no-annotate", "--out", str(tmp_path)]
    assert command.main("predict", args) == 0
    written = rows_of(tmp_path / f"{video.stem}.csv")
    assert table.column_names == list(written[0])
    for mine, row in zip(table.to_pylist(), written, strict=True):
        for name, cell in row.items():
            same = mine[name] == cell if "label" in name else pytest.approx(float(cell), abs=1e-3)
            assert same is True or mine[name] == same
    # The first window is what was tested of the clip, by another path: shards in place of videos.
    first = table.to_pylist()[0]
    expected = [float(tested[f"p_{name}"]) for name in run.class_names]
    found = [first[f"p_{name}"] for name in run.class_names]
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_without_pandas_its_extra_is_named(run, videos, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    prediction = run.predict(next(videos.glob("*/*/*.mpg")))
    with pytest.raises(MissingExtraError, match=r"pip install 'ttrnn\[pandas\]'"):
        prediction.to_pandas()


def test_a_folder_is_classified(model_file, tmp_path):
    """Red when a video's rows are lost, or a failure is."""
    write_colours(tmp_path / "v" / "a.mp4", ["green"] * 5 + ["blue"] * 6)
    (tmp_path / "v" / "broken.mp4").write_bytes(b"junk" * 40)
    flags = {"labels": str(model_file.parent / "labels.txt"), "scaling": "unit", "top": 2}
    found = classify_videos(
        tmp_path / "v", out=tmp_path / "o", model=str(model_file), batch_size=8, **flags
    )
    assert found.frames["label_1"].to_pylist() == ["green"] * 5 + ["blue"] * 6
    assert set(found.frames["video"].to_pylist()) == {"a.mp4"}
    assert found.failures.keys() == {"broken.mp4"}


def test_a_recording_is_scored_and_cut(tmp_path, monkeypatch):
    """Red when scores are of other times, or a reel is told that was not rendered."""
    monkeypatch.setattr(ScoringOptions, "load", lambda self: Brightness())
    (tmp_path / "model").mkdir()
    for name in ("scorer.json", "best.keras"):
        (tmp_path / "model" / name).write_text(name)
    recording, out = render_white(tmp_path / "vod.mp4"), tmp_path / "reel.mp4"
    # White from 6 to 9 s, at 10 pictures a second.
    scores = score(recording, tmp_path / "model", out=out, threshold=0.4)
    assert not out.exists()
    white = (scores.times >= 6) & (scores.times < 9)
    assert scores.probabilities[white].min() > 0.9 > 0.1 > scores.probabilities[~white].max()
    none = cut(recording, scores, out=out, threshold=1.0, bin_size=5.0, snap=False)
    assert (none.path, none.cuts.num_rows, out.exists()) == (None, 0, False)
    reel = cut(recording, scores, out=out, threshold=0.4, bin_size=1.0, snap=False)
    assert reel.path == out
    assert out.exists()
    (start,), (end,) = (reel.cuts[name].to_pylist() for name in ("start_seconds", "end_seconds"))
    assert (start, end) == pytest.approx((6, 9), abs=0.3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: train("v", epoch=3), r"flags must be among .*epoch'. Did you mean epochs\?"),
        (lambda: train("v", model="tt-gri"), r"'tt-gri'. Did you mean tt-gru\?"),
        (lambda: train("v", find_rate=True), "Received find_rate; give that flag to the command"),
        (lambda: classify_videos("v", one_csv=False), "Received 'one_csv'"),
        (lambda: classify_videos([]), "Name what to classify"),
    ],
)
def test_wrong_arguments_are_told(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_no_run_is_told(tmp_path):
    with pytest.raises(ClipModelError, match="A finished run's directory is needed"):
        load_run(tmp_path)
