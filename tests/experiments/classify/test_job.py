"""The whole job against a plain loop, and what becomes of it when it is disturbed."""

from __future__ import annotations

import dataclasses
import json
import shutil

import cv2
import numpy as np
import pytest

from experiments.clips.classification.job import JobOptions, classify_folder, top_classes
from experiments.media.videos import Video, find_videos, write_failures
from experiments.process.runtime import Threads
from tests.experiments.classify.conftest import NAMES, read_rows, write_colours

OPTIONS = JobOptions(top=3, batch_size=8, jobs=2, timeline=False)


def classify(model, folder, out, **changes):
    options = dataclasses.replace(OPTIONS, **changes)
    return classify_folder(model, find_videos([folder], out).videos, out, options)


def plain_loop(model, path, stride=1):
    """Probabilities of a video's frames, by an OpenCV loop and a batch of one frame at a time."""
    capture, found = cv2.VideoCapture(str(path)), []
    while True:
        there, image = capture.read()
        if not there:
            return np.array(found[::stride])
        height, width = image.shape[:2]
        left, top = (width - min(width, height)) // 2, (height - min(width, height)) // 2
        square = image[top : top + min(width, height), left : left + min(width, height)]
        small = cv2.resize(square, (32, 32))[..., ::-1]  # 48 to 32: linear
        batch = np.zeros((8, 32, 32, 3), np.uint8)
        batch[0] = small
        found.append(model.predict(batch)[0])


def files(folder):
    """What is in each file, the numbers of threads left out."""
    found = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name in [name for name in found if name.endswith(".json")]:
        summary = json.loads(found[name])
        if summary["num_rows"]:  # a video that cannot be read needs no threads
            assert summary.pop("threads")["intra_op"] == 1
        found[name] = json.dumps(summary)
    return found


@pytest.fixture(scope="session")
def undisturbed(model, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    failures = classify(model, folder, out)
    assert list(failures) == ["broken.mp4"]
    return out


@pytest.mark.parametrize("stride", [1, 4])
def test_rows_are_those_of_a_plain_loop(model, folder, tmp_path, stride):
    """Red when frames, videos, labels or times are mixed up on their way through batches."""
    classify(model, folder, tmp_path, stride=stride)
    for video in find_videos([folder], tmp_path).videos:
        if video.source == "broken.mp4":
            continue
        expected = plain_loop(model, video.path, stride)
        rows = read_rows(tmp_path / f"{video.results}.csv")
        assert [int(row["frame"]) for row in rows] == list(range(0, len(expected) * stride, stride))
        for row, shares in zip(rows, expected, strict=True):
            best = np.argsort(-shares, kind="stable")[:3]
            assert [row[f"label_{k}"] for k in (1, 2, 3)] == [NAMES[index] for index in best]
            given = [float(row[f"prob_{k}"]) for k in (1, 2, 3)]
            np.testing.assert_allclose(given, shares[best], atol=1e-5)
            assert float(row["time_seconds"]) == pytest.approx(int(row["frame"]) / 25, abs=1e-3)


@pytest.mark.parametrize(("at_once", "jobs"), [(1, 1), (1, 4), (3, 2)])
def test_sharing_batches_changes_nothing(model, folder, undisturbed, tmp_path, at_once, jobs):
    """Red when a frame's result depends on the frames beside it, or batches overtake others."""
    classify(model, folder, tmp_path, threads=Threads(1, at_once), jobs=jobs)
    assert files(tmp_path) == files(undisturbed)


class Broken(Exception):
    pass


def breaking_after(model, num_batches):
    """The model, until it has seen so many batches."""
    left = [num_batches]

    def predict(frames):
        left[0] -= 1
        if left[0] < 0:
            raise Broken
        return model.predict(frames)

    return dataclasses.replace(model, predict=predict)


@pytest.mark.parametrize("num_batches", [0, 1, 2, 5, 9, 12])
def test_going_on_after_a_break_gives_the_same_files(
    model, folder, undisturbed, tmp_path, num_batches
):
    """Red when a batch is lost or written twice, or the second run begins at a wrong frame."""
    with pytest.raises(Broken):
        classify(breaking_after(model, num_batches), folder, tmp_path)
    classify(model, folder, tmp_path)
    assert files(tmp_path) == files(undisturbed)


def test_only_batches_in_flight_are_lost(model, folder, tmp_path):
    """Red when rows wait in memory until a video is complete."""
    with pytest.raises(Broken):
        classify(breaking_after(model, 6), folder, tmp_path, jobs=1)
    rows = sum(
        path.read_text().count("\n") - 1
        for path in tmp_path.rglob("*.csv*")
        if path.name != "failures.csv"
    )
    assert rows == 6 * 8


def test_a_second_run_does_nothing(model, folder, undisturbed, tmp_path, capsys):
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    classify(breaking_after(model, 0), folder, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")} == before
    assert "4 of 5 videos were there already" in capsys.readouterr().out


def test_a_changed_model_starts_over_and_says_so(model, folder, undisturbed, tmp_path, capsys):
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    other = dataclasses.replace(model, settings=model.settings | {"weights_sha256": "other"})
    classify(other, folder, tmp_path)
    assert "long.mp4: weights_sha256 changed; starting over" in capsys.readouterr().out


def test_a_changed_video_starts_over(model, tmp_path, capsys):
    videos, out = tmp_path / "videos", tmp_path / "out"
    write_colours(videos / "x.mp4", ["red"] * 4)
    classify(model, videos, out)
    write_colours(videos / "x.mp4", ["blue"] * 6)
    classify(model, videos, out)
    assert "starting over" in capsys.readouterr().out
    assert [row["label_1"] for row in read_rows(out / "x.csv")] == ["blue"] * 6


def test_a_video_cut_short_is_kept_and_told(model, tmp_path):
    """Red when a file that ends early passes for whole, or its rows are thrown away."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    whole = write_colours(videos / "x.mp4", ["red", "green"] * 40, size=(320, 240))
    cut = _cut_avi(whole, videos / "cut.avi")
    whole.unlink()
    for _ in range(2):  # told by the run that finds it complete as well
        failures = classify(model, videos, out)
        assert "ended early" in failures["cut.avi"]
        rows = read_rows(out / "cut.csv")
        assert 0 < len(rows) < 80
        assert json.loads((out / "cut.json").read_text())["failure"] == failures["cut.avi"]
        assert read_rows(out / "failures.csv")[0]["video"] == "cut.avi"
    assert cut.exists()


def _cut_avi(source, path):
    from tests.experiments.classify.conftest import ffmpeg

    ffmpeg("-i", str(source), "-c:v", "mjpeg", str(path))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def test_no_failure_leaves_no_failures_file(model, tmp_path):
    videos = [Video(None, "a", "a"), Video(None, "b", "b")]
    write_failures(tmp_path / "f.csv", {"a": "broken"}, videos)
    write_failures(tmp_path / "f.csv", {"c": "other run's"}, [Video(None, "c", "c")])
    assert [row["video"] for row in read_rows(tmp_path / "f.csv")] == ["a", "c"]
    write_failures(tmp_path / "f.csv", {}, videos)
    assert [row["video"] for row in read_rows(tmp_path / "f.csv")] == ["c"]
    write_failures(tmp_path / "f.csv", {}, [Video(None, "c", "c")])
    assert not (tmp_path / "f.csv").exists()


def test_top_classes_are_sorted():
    shares = np.random.default_rng(0).random((50, 30)).astype(np.float32)
    expected = np.argsort(-shares, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(top_classes(shares, 5), expected)
    assert top_classes(shares, 30).shape == (50, 30)


def test_summary(model, folder, undisturbed):
    """Red when means are taken over the rows in which a class appears alone."""
    summary = json.loads((undisturbed / "long.json").read_text())
    rows = read_rows(undisturbed / "long.csv")
    means = plain_loop(model, folder / "long.mp4").mean(axis=0)
    assert len(summary["top_classes"]) == 4  # one more than the file shows
    for known in summary["top_classes"]:
        expected = means[NAMES.index(known["label"])]
        assert known["mean_probability"] == pytest.approx(expected, abs=1e-5)
    first = summary["top_classes"][0]
    assert first["label"] == NAMES[means.argmax()]
    assert first["rows_on_top"] == sum(row["label_1"] == first["label"] for row in rows)
    assert (summary["num_rows"], summary["width"], summary["height"]) == (60, 64, 48)
    assert summary["last_time_seconds"] == pytest.approx(59 / 25, abs=1e-3)
