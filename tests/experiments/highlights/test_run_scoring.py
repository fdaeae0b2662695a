"""Pictures and scores of a recording, by files whose pictures say their number."""

from __future__ import annotations

import math
import os
import signal
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest

from experiments.clips.images import ImageSettings
from experiments.highlights.scoring import image_batches
from experiments.highlights.scoring.image_batches import BatchReader
from experiments.highlights.scoring.scoring_job import score_recording
from experiments.media.chunk_files import recording_chunks
from experiments.media.recording import read_recording, recording_duration
from preprocess.errors import DecodeError
from tests.experiments.highlights.counters import NTSC, ffmpeg, number_of, render_counter
from tests.grids import slow
from tests.preprocess.conftest import decoding_processes
from tests.processes import is_alive

RATE = 25
SEEN = ImageSettings(parts=("frame",), side=160, fps=2.0)
HEARD = ImageSettings(parts=("frame", "sound"), side=112, fps=2.0)


class Numbers:
    """A stand-in for a model: the number that a picture says, as a share of 2 ** 16."""

    def predict(self, images):
        grey = [cv2.cvtColor(one[:160], cv2.COLOR_RGB2GRAY) for one in images]
        return np.array([number_of(one) for one in grey], np.float32) / 2**16


def score(paths, settings=SEEN, **options):
    """Times, numbers and notices."""
    times, numbers, notices = [], [], []

    def take(batch, probabilities):
        times.extend(batch.times)
        numbers.extend(np.rint(probabilities * 2**16).astype(int))
        notices.extend(batch.notices)

    reader = BatchReader(read_recording(paths), settings, **options)
    score_recording(Numbers(), reader, take, at_once=2)
    return times, numbers, notices


def images_of(reader):
    """All times and pictures, joined."""
    batches = list(reader)
    times = np.concatenate([batch.times for batch in batches])
    return times, np.concatenate([batch.images for batch in batches])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """20 s at 25 pictures a second, with sound."""
    return render_counter(tmp_path_factory.mktemp("source") / "counter.mp4", RATE, 20)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """12 s at 25 pictures a second, with sound: each stretch of it has a process that decodes."""
    return render_counter(tmp_path_factory.mktemp("short") / "counter.mp4", RATE, 12)


@pytest.mark.parametrize("batch_size", [7, *slow(1, 64)])
def test_scores_are_of_the_pictures_at_their_times(source, batch_size):
    """Red when batches are mixed up, the last is lost, or times are of other pictures."""
    times, numbers, notices = score([source], batch_size=batch_size)
    assert times == pytest.approx(np.arange(40) / 2, abs=0.04)
    assert numbers == [round(time * RATE) for time in times]
    assert not notices


def test_every_so_many_frames(tmp_path):
    """Red when frames are counted at int(fps)."""
    path = render_counter(tmp_path / "ntsc.mp4", NTSC, 12)
    times, numbers, _ = score([path], replace(SEEN, fps=None, every=7))
    assert numbers == list(range(0, 360, 7))
    assert times == pytest.approx([float(number / NTSC) for number in numbers], abs=1e-3)


def test_eleven_chunks_in_order(tmp_path):
    """Red when chunk 10 comes after chunk 1, or a chunk's times begin at 0 again."""
    whole = render_counter(tmp_path / "whole.mp4", RATE, 22, "-g", "50", has_sound=False)
    args = ["-c", "copy", "-f", "segment", "-segment_time", "2", "-reset_timestamps", "1"]
    ffmpeg("-i", str(whole), *args, str(tmp_path / "part%d.mp4"))
    paths = recording_chunks(tmp_path / "part")
    assert len(paths) == 11
    times, numbers, notices = score(paths, batch_size=3)
    assert 0 < np.diff(times).min() < np.diff(times).max() < 0.53
    assert numbers == [round(time * RATE) for time in times]
    assert not notices


def test_pictures_that_begin_late(tmp_path, source):
    """Red when time 0 of the reader is taken for that of the file, which begins with sound."""
    path = tmp_path / "late.mp4"
    inputs = ["-itsoffset", "1.5", "-i", str(source), "-i", str(source)]
    ffmpeg(*inputs, "-map", "0:v", "-map", "1:a", "-c", "copy", str(path))
    times, numbers, _ = score([source, path])
    assert times[40:42] == pytest.approx([21.5, 22.0], abs=0.05)
    assert numbers[40:42] == [0, numbers[1]]


@pytest.mark.parametrize("settings", [HEARD, *slow(replace(HEARD, fps=None, every=12))])
def test_going_on_gives_the_same_pictures(short, settings, monkeypatch):
    """Red when sound that is decoded from elsewhere makes other pictures after a stop."""
    monkeypatch.setattr(image_batches, "STRETCH_SECONDS", 4)
    reader = BatchReader(read_recording([short, short]), settings, batch_size=5)
    times, images = images_of(reader)
    for place in (7, 23, 33):
        later = images_of(replace(reader, after=float(times[place])))
        np.testing.assert_array_equal(later[0], times[place + 1 :])
        np.testing.assert_array_equal(later[1], images[place + 1 :])


def test_a_decoder_that_dies_costs_its_chunk(source):
    """Red if it takes the command with it, or the chunks after it."""
    chunks = read_recording([source, source])
    reader = BatchReader(chunks, replace(SEEN, fps=5.0), batch_size=4, allow_failures=True)
    notices, times, killed = [], [], False
    for batch in reader:
        notices += batch.notices
        times += batch.times.tolist()
        if not killed:
            for pid in decoding_processes(os.getpid()):
                os.kill(pid, signal.SIGKILL)
            killed = True
    assert [notice for notice in notices if "is left out: the decoder crashed (SIGKILL)" in notice]
    assert batch.until == pytest.approx(recording_duration(chunks))
    assert times[-1] > chunks[1].offset
    assert not decoding_processes(os.getpid())


def test_going_on_leaves_out_what_is_read(source, monkeypatch):
    """Red when all of a recording is decoded again after a stop."""
    monkeypatch.setattr(image_batches, "STRETCH_SECONDS", 4)
    opened = []
    honest = image_batches.ImageReader

    def watch(*args, **options):
        opened.append(options["stretches"][0])
        return honest(*args, **options)

    monkeypatch.setattr(image_batches, "ImageReader", watch)
    for part in BatchReader(read_recording([source, source]), SEEN, after=33.1).parts():
        list(part.read_here())
    assert opened == [(12.0, 16.0), (16.0, math.inf)]


@pytest.mark.parametrize("fps", [0.7, *slow(2.0, 29.97)])
def test_stretches_change_no_sample(short, fps, monkeypatch):
    """Red when the samples of a stretch do not follow on those of the one before."""
    monkeypatch.setattr(image_batches, "STRETCH_SECONDS", 3)
    parts = score([short], replace(SEEN, fps=fps))
    monkeypatch.setattr(image_batches, "STRETCH_SECONDS", 300)
    assert parts == score([short], replace(SEEN, fps=fps))


def test_a_damaged_stretch_is_told_and_the_rest_goes_on(tmp_path, source):
    """Red when scoring ends at the first packet that cannot be decoded, or says nothing."""
    content = bytearray(source.read_bytes())
    first, last = int(0.3 * len(content)), int(0.5 * len(content))
    content[first:last] = bytes(last - first)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    times, numbers, notices = score([path], replace(HEARD, side=160))
    pairs = dict(zip(times, numbers, strict=True))
    assert all(pairs[time] == round(time * RATE) for time in times if time >= 16 or time < 5)
    assert max(times) == pytest.approx(19.5, abs=0.05)
    assert len(times) < 36
    (gap,) = [notice for notice in notices if "no picture from 00:00:" in notice]
    assert str(path) in gap
    assert any("of the sound, not all" in notice for notice in notices)


def test_pictures_and_sound_are_told_apart(tmp_path, source):
    """Red if what is said of the video stream is said of the sound, or not at all."""
    path = tmp_path / "two.mp4"
    args = ["-map", "0:v", "-map", "0:v", "-map", "0:a", "-c", "copy", "-t", "4"]
    ffmpeg("-i", str(source), *args, str(path))
    _, _, notices = score([path], HEARD)
    (notice,) = [notice for notice in notices if "video streams" in notice]
    assert notice.startswith(f"{path}: ")
    assert "of the sound" not in notice


def test_without_sound(tmp_path):
    """Red when a missing track stops the work, or is not told."""
    path = render_counter(tmp_path / "mute.mp4", RATE, 2, has_sound=False)
    reader = BatchReader(read_recording([path]), HEARD)
    (batch,) = reader
    assert not batch.images[:, 112:].any()
    assert batch.images[:, :112].any()
    assert "has no sound" in batch.notices[0]
    assert not score([path])[2]


def test_chunks_that_cannot_be_read(source, tmp_path, monkeypatch):
    """Red when a chunk is left out unasked, or its time is."""
    chunks = list(read_recording([source, source, source]))
    chunks[1] = replace(chunks[1], path=tmp_path / "gone.mp4")
    with pytest.raises(DecodeError, match=r"gone\.mp4: No such file"):
        list(BatchReader(chunks, SEEN))
    batches = list(BatchReader(chunks, SEEN, allow_failures=True))
    times = np.concatenate([batch.times for batch in batches])
    assert ((times < 20) | (times >= 40)).all()
    assert len(times) == 80
    assert "gone.mp4 is left out" in "".join(n for batch in batches for n in batch.notices)


def test_a_chunk_without_a_picture_that_decodes(tmp_path, source):
    chunk = read_recording([source])[0]
    content = bytearray(source.read_bytes())
    start = content.index(b"mdat") + 4
    stop = content.index(b"moov") - 4
    content[start:stop] = bytes(stop - start)
    (tmp_path / "zeros.mp4").write_bytes(content)
    with pytest.raises(DecodeError, match="no picture could be decoded"):
        list(BatchReader([replace(chunk, path=tmp_path / "zeros.mp4")], SEEN))


def test_pictures_behind_the_end_of_a_chunk(source):
    """Red when times of one chunk run into the next, so that they are not sorted."""
    chunks = list(read_recording([source, source]))
    chunks[0], chunks[1] = replace(chunks[0], duration=18.2), replace(chunks[1], offset=18.2)
    batches = list(BatchReader(chunks, SEEN))
    times = np.concatenate([batch.times for batch in batches])
    assert np.diff(times).min() > 0
    assert len(times) == 37 + 40
    assert "3 pictures say" in "".join(n for batch in batches for n in batch.notices)


class Broken:
    def __init__(self, answer):
        self.answer = answer

    def predict(self, images):
        if isinstance(self.answer, Exception):
            raise self.answer
        return np.full(len(images), self.answer, np.float32)


@pytest.mark.parametrize("answer", [float("nan"), 1.5, RuntimeError("out of memory")])
def test_a_model_that_fails_ends_all_threads(source, answer):
    """Red when a thread goes on decoding, or NaN is written for a score."""
    before = set(threading.enumerate())
    with pytest.raises((ValueError, RuntimeError), match=r"probabilities|out of memory"):
        score_recording(
            Broken(answer), BatchReader(read_recording([source]), SEEN), lambda *_: None, at_once=2
        )
    assert set(threading.enumerate()) <= before


def test_a_stop_between_two_pictures(source):
    """Red when a stop waits until a whole batch is read: here, for a decoder that stands still."""
    batches = iter(BatchReader(read_recording([source]), replace(SEEN, fps=5.0), batch_size=10))
    next(batches)
    (decoder,) = decoding_processes(os.getpid())
    os.kill(decoder, signal.SIGSTOP)
    batches.close()
    assert not is_alive(decoder)
