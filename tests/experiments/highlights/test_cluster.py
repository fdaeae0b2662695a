"""Scoring on a Dask cluster: a real scheduler and real workers, one of which dies."""

from __future__ import annotations

import pickle
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.clips.images import ImageSettings
from experiments.highlights.commands import main
from experiments.highlights.scoring import image_batches, scoring_job
from experiments.highlights.scoring.image_batches import BatchReader
from experiments.highlights.scoring.kept_scores import KeptScores
from experiments.highlights.scoring.scoring_job import ScoredPart, score_on_cluster
from experiments.media.recording import read_recording
from preprocess.errors import DecodeError
from preprocess.video.frame_differences import join_differences
from tests import processes
from tests.experiments.highlights.counters import render_counter
from tests.grids import slow
from tests.preprocess.dask_cluster import DaskCluster, InPlaceOfACluster

ROOT = Path(__file__).resolve().parents[3]
STRETCH_SECONDS = 3
SEEN = ImageSettings(parts=("frame",), side=32, fps=5.0)
HEARD = ImageSettings(parts=("frame", "sound"), side=32, fps=5.0)
EVERY_7TH = replace(SEEN, fps=None, every=7)
IN_SHORT_STRETCHES = f"""
import sys
from experiments.highlights.scoring import image_batches
image_batches.STRETCH_SECONDS = {STRETCH_SECONDS}
from experiments.highlights.commands import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def dask(tmp_path_factory):
    cluster = DaskCluster(tmp_path_factory.mktemp("dask"), 2)
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Two chunks of 11 s, with sound."""
    folder = tmp_path_factory.mktemp("recording")
    first = render_counter(folder / "part0.mp4", 25, 11)
    shutil.copy(first, folder / "part1.mp4")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A scorer of random weights."""
    import keras

    from experiments.clips.scorer import write_scorer

    folder = tmp_path_factory.mktemp("model")
    keras.utils.set_random_seed(0)
    pixels = keras.Input(HEARD.frame_shape, dtype="uint8")
    features = keras.layers.Rescaling(1 / 255)(pixels)
    features = keras.layers.Conv2D(8, 5, strides=2, activation="relu")(features)
    features = keras.layers.GlobalAveragePooling2D()(features)
    outputs = keras.layers.Dense(2, activation="softmax")(features)
    keras.Model(pixels, outputs).save(folder / "best.keras")
    write_scorer(folder, HEARD, box=None, threshold=0.5)
    return folder


@pytest.fixture
def short_stretches(monkeypatch):
    monkeypatch.setattr(image_batches, "STRETCH_SECONDS", STRETCH_SECONDS)


# Quick tests do the same to extraction, in extraction/test_cluster.py, and to classification.
@pytest.mark.slow
def test_a_worker_that_dies_changes_nothing(
    recording, model, dask, tmp_path, monkeypatch, short_stretches, capsys
):
    """Red if scores are lost, there twice, or of other times."""
    args = ["run", str(recording / "part"), "--model", str(model), "--batch-size", "8"]
    args += ["--threads", "1,1", "--bin-size", "1", "--no-snap", "--dry-run"]
    append, parts = KeptScores.append, []

    def kill_one(kept, times, probabilities):
        append(kept, times, probabilities)
        parts.append(times[0])
        if len(parts) == 1:
            dask.workers[1].kill()

    monkeypatch.setattr("experiments.process.runtime.configure", lambda *args, **options: None)
    monkeypatch.setattr(KeptScores, "append", kill_one)
    cluster_args = ["-o", str(tmp_path / "cluster.mp4"), "--scheduler", dask.address]
    assert main([*args, *cluster_args]) == 0
    assert dask.workers[1].wait() == -signal.SIGKILL
    assert parts == sorted(parts)
    assert len(parts) == 8
    assert "110 pictures were scored" in capsys.readouterr().out
    serial = ["-c", IN_SHORT_STRETCHES, *args, "-o", tmp_path / "serial.mp4"]
    assert processes.run(serial).returncode == 0
    for suffix in ("csv", "json"):
        texts = [tmp_path / f"{name}.scores.{suffix}" for name in ("cluster", "serial")]
        assert texts[0].read_bytes() == texts[1].read_bytes()
    assert not list(tmp_path.glob(".*"))


def joined(batches):
    """All times and pictures."""
    times = np.concatenate([batch.times for batch in batches])
    return times, np.concatenate([batch.images for batch in batches])


@pytest.mark.parametrize(
    ("settings", "after"),
    [
        (HEARD, -np.inf),
        (HEARD, 4.4),
        *slow((HEARD, 11.2), (EVERY_7TH, -np.inf), (EVERY_7TH, 4.4)),
        (EVERY_7TH, 11.2),
    ],
)
def test_parts_are_the_whole(recording, settings, after, short_stretches):
    """Red if a picture at the edge of a part is lost, there twice, or another."""
    chunks = read_recording(sorted(recording.glob("*.mp4")))
    reader = BatchReader(chunks, settings, after=after, batch_size=7, measures=True)
    whole = list(reader)
    sent = [pickle.loads(pickle.dumps(part)) for part in reader.parts()]
    parts = [list(part.read_here()) for part in sent]
    batches = [batch for part in parts for batch in part]
    for found, expected in zip(joined(batches), joined(whole), strict=True):
        np.testing.assert_array_equal(found, expected)
    differences = [
        join_differences(batch.differences for batch in each) for each in (batches, whole)
    ]
    for known in differences:
        assert known.cover(chunks[0].duration if after > 11 else max(after, 0.0), 22.0)
    there = np.isin(differences[0].times, differences[1].times)
    np.testing.assert_array_equal(differences[0].values[there][1:], differences[1].values[1:])
    untils = [part[-1].until for part in parts]
    assert untils == sorted(set(untils))
    assert untils[-1] == whole[-1].until
    assert not [notice for batch in batches for notice in batch.notices]


def empty(reader):
    return ScoredPart(np.empty(0), np.empty(0, np.float32), 1.0, ("a gap",))


def test_a_chunk_without_a_picture(recording, tmp_path, monkeypatch, short_stretches):
    """Red if what stops a run in one process is passed over where it is cut into parts."""
    from experiments.highlights.scoring.scoring_job import ScoringOptions
    from experiments.process.runtime import Threads

    monkeypatch.setattr(scoring_job, "open_workers", InPlaceOfACluster(empty))
    chunks = read_recording(sorted(recording.glob("*.mp4")))
    options = ScoringOptions(tmp_path, None, None, None, 8, Threads(1, 1), False, "tcp://x:1")
    reader = BatchReader(chunks, SEEN)
    with pytest.raises(DecodeError, match=r"part0\.mp4: no picture could be decoded"):
        score_on_cluster(options, reader, lambda *_: None, folder=tmp_path)
    captured = []
    score_on_cluster(
        options,
        replace(reader, allow_failures=True),
        lambda scored, _: captured.extend(scored.notices),
        folder=tmp_path,
    )
    assert len(captured) == 8
