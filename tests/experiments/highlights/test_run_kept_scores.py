"""Scores that are kept, and found again; what is not theirs is left alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from common.errors import WriteError
from experiments.highlights.scoring.kept_scores import KeptScores

FINGERPRINT = {"recording": [[10, 20]], "model": "a", "rate": [None, 30]}
TIMES = np.array([0.0, 0.5, 1.000001])
PROBABILITIES = np.array([0.1, 1 / 3, 1.0], np.float32)


def write(out, fingerprint=FINGERPRINT, times=TIMES, probabilities=PROBABILITIES, *, finish=True):
    with KeptScores(out, fingerprint) as kept:
        kept.begin()
        kept.append(times, probabilities)
        if finish:
            kept.finish()
        return kept


@pytest.fixture
def out(tmp_path):
    return tmp_path / "it's, a: reel.v2.mp4"


def test_scores_are_read_as_they_were(out):
    """Red when digits are lost, or the reel's name is cut at another dot."""
    write(out)
    kept = KeptScores(out, FINGERPRINT)
    assert kept.is_complete()
    times, probabilities = kept.read()
    np.testing.assert_array_equal(times, TIMES)
    np.testing.assert_array_equal(probabilities.astype(np.float32), PROBABILITIES)
    names = sorted(path.name for path in out.parent.iterdir())
    assert names == ["it's, a: reel.v2.scores.csv", "it's, a: reel.v2.scores.json"]


@pytest.mark.parametrize(
    ("change", "difference"),
    [({"model": "b"}, "model"), ({"recording": [[10, 21]], "rate": [2, None]}, "recording, rate")],
)
def test_scores_of_something_else(out, change, difference):
    """Red when scores of another file, model, box or rate are taken for these."""
    write(out)
    other = KeptScores(out, FINGERPRINT | change)
    assert not other.is_complete()
    assert other.difference() == difference
    assert KeptScores(out, FINGERPRINT).difference() == ""
    write(out, FINGERPRINT | change, TIMES[:1], PROBABILITIES[:1])
    assert len(KeptScores(out, FINGERPRINT | change).read()[0]) == 1
    assert not KeptScores(out, FINGERPRINT).is_complete()


def test_a_file_of_somebody_elses(out):
    """Red when scores that a person wrote are replaced."""
    kept = KeptScores(out, FINGERPRINT)
    kept.path.write_text("time_seconds,probability\n1,1\n")
    assert not kept.is_complete()
    with pytest.raises(ValueError, match=r"not made here.*--overwrite-scores"):
        kept.difference()


@pytest.mark.parametrize(
    "tail", ["", "1.5", "1.500000,0.25", "1.5,2\n2,0.5\n", "0.1,0.5\n", "\0\0\n"]
)
def test_going_on(out, tail):
    """Red when a row that was half written, or does not follow, is kept or moves others."""
    write(out, finish=False)
    part = Path(f"{out.with_suffix('')}.scores.csv.part")
    with part.open("a") as file:
        file.write(tail)
    with KeptScores(out, FINGERPRINT) as kept:
        kept.begin()
        assert (kept.num_rows, kept.last_time) == (3, 1.000001)
        kept.append(np.array([3.0]), np.array([0.5], np.float32))
        kept.finish()
        np.testing.assert_array_equal(kept.read()[0], [*TIMES, 3.0])
    assert not part.exists()


@pytest.mark.parametrize("spoilt", ["", "[", '{"model": "b"}', "[1]"])
def test_starting_anew(out, spoilt):
    """Red when rows of which nobody knows what they were made of are gone on with."""
    write(out, finish=False)
    Path(f"{out.with_suffix('')}.scores.json.part").write_text(spoilt)
    with KeptScores(out, FINGERPRINT) as kept:
        kept.begin()
        assert kept.num_rows == 0
        kept.append(TIMES[1:], PROBABILITIES[1:])
        kept.finish()
        np.testing.assert_array_equal(kept.read()[0], TIMES[1:])


def test_another_model_does_not_go_on(out):
    write(out, finish=False)
    kept = write(out, FINGERPRINT | {"model": "b"}, TIMES[2:], PROBABILITIES[2:])
    np.testing.assert_array_equal(kept.read()[0], TIMES[2:])


def test_a_new_csv_beside_an_old_json_is_not_complete(out, monkeypatch):
    """Red when a kill between the two renamings passes old scores off as new ones."""
    write(out)
    import os

    honest, renamed = os.replace, []

    def once(source, target):
        if renamed and ".part" in str(source):
            raise KeyboardInterrupt
        renamed.append(target)
        honest(source, target)

    other = FINGERPRINT | {"model": "b"}
    with KeptScores(out, other) as kept:
        kept.begin()
        kept.append(TIMES, PROBABILITIES)
        monkeypatch.setattr(os, "replace", once)
        with pytest.raises(KeyboardInterrupt):
            kept.finish()
    assert not KeptScores(out, other).is_complete()


def test_two_at_once(out):
    """Red when two runs write into one file."""
    with KeptScores(out, FINGERPRINT) as first:
        first.begin()
        with pytest.raises(WriteError, match="another run is at it"):
            KeptScores(out, FINGERPRINT).begin()
        first.append(TIMES, PROBABILITIES)
        first.finish()
        assert len(first.read()[0]) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk(out):
    """Red when the reason is lost, or closing the file fails once more."""
    Path(f"{out.with_suffix('')}.scores.csv.part").symlink_to("/dev/full")
    with KeptScores(out, FINGERPRINT) as kept:
        with pytest.raises(WriteError, match=r"scores\.csv: No space left on device"):
            kept.begin()
        with pytest.raises(WriteError, match="No space left"):
            kept.append(TIMES, PROBABILITIES)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(WriteError, match="No such file or directory"):
        KeptScores(tmp_path / "nowhere" / "reel.mp4", FINGERPRINT).begin()


def test_what_it_was_made_of_can_be_read(out):
    write(out)
    content = json.loads(Path(f"{out.with_suffix('')}.scores.json").read_text())
    assert content == FINGERPRINT
