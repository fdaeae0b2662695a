"""The demo stream as it is decoded: what is labelled differs from what is not as is promised.

Pictures and sound are measured here by plain means of the test's own: dark red pixels where the
mouth is, how much the face camera changes from picture to picture, loudness, and loudness of a
band.
"""

import json
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from common.errors import WriteError
from experiments.highlights.demo import synthetic_stream
from experiments.highlights.demo.images import face_look
from experiments.highlights.demo.plan import Kind, plan_clips, plan_recording, syllables
from experiments.highlights.demo.quality import read_truth
from experiments.highlights.demo.sound import SAMPLE_RATE, stream_sound
from experiments.highlights.demo.synthetic_stream import render_stream
from experiments.highlights.labels import read_labels
from experiments.media.chunk_files import recording_chunks
from experiments.media.ffmpeg import RenderError
from experiments.media.recording import read_recording, recording_duration
from preprocess.errors import PreprocessError
from preprocess.video.decode import iter_frames, probe
from preprocess.video.sound import read_sound

SEED = 8  # of which the few seconds below show each kind of moment twice
SMALL: dict[str, Any] = {
    **{"num_clips": 3, "clip_seconds": 14, "num_chunks": 2, "chunk_seconds": 28.0},
    "seed": SEED,
}
TINY: dict[str, Any] = {"num_clips": 1, "clip_seconds": 8, "num_chunks": 2, "chunk_seconds": 8.0}
FACE = (slice(0, 72), slice(224, 320))
MOUTH = (slice(38, 62), slice(224 + 30, 224 + 66))


class Clip:
    """A decoded video and what is measured of it, each value by its picture."""

    def __init__(self, path, plan, offset=0.0):
        self.plan, self.offset = plan, offset
        self.frames = np.array(list(iter_frames(path, size=(320, 180))))
        self.samples = read_sound(path, sample_rate=SAMPLE_RATE).samples
        red, green, blue = np.moveaxis(self.frames[:, *MOUTH].astype(int), -1, 0)
        dark_red = (red > 60) & (red < 135) & (green < 60) & (blue < 75) & (red - green > 35)
        self.mouth = dark_red.mean(axis=(1, 2))
        face = self.frames[:, *FACE].astype(np.int16)
        change = np.abs(np.diff(face, axis=0)).mean(axis=(1, 2, 3))
        self.motion = np.concatenate([change[:1], change])

    def moments(self, kind):
        """Starts and ends of those that are wholly in the video, in seconds of it."""
        shifted = [(a - self.offset, b - self.offset) for a, b, _ in self.plan.of(kind)]
        duration = len(self.frames) / self.plan.rate
        return [(a, b) for a, b in shifted if a >= 0 and b <= duration]

    def mean(self, values, start, end):
        return values[self.place(start) : self.place(end)].mean()

    def place(self, time):
        return round(time * self.plan.rate)

    def decibels(self, start, end):
        return decibels(self.samples, start, end)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("stream") / "demo"
    render_stream(root, **SMALL, jobs=2, progress=False)
    return root


@pytest.fixture(scope="module")
def clips(root):
    """All clips and chunks, decoded."""
    plans = plan_clips(SMALL["num_clips"], SMALL["clip_seconds"], SEED)
    recording = plan_recording(SMALL["num_chunks"], SMALL["chunk_seconds"], SEED)
    paths = sorted((root / "clips").glob("*.mp4"))
    clips = [Clip(path, plan) for path, plan in zip(paths, plans, strict=True)]
    chunks = recording_chunks(root / "recording")
    length = SMALL["chunk_seconds"]
    return clips + [Clip(path, recording, n * length) for n, path in enumerate(chunks)]


def decibels(samples, start, end):
    part = samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    return 10 * np.log10(np.square(part, dtype=float).mean() + 1e-12)


def every(clips, kind):
    found = [(clip, start, end) for clip in clips for start, end in clip.moments(kind)]
    assert len(found) >= 2, f"the small stream shows too few of {kind}"
    return found


# What is seen and heard


def test_excitement_is_seen_in_mouth_and_motion(clips):
    """Red when labels and pictures are of different times, or the face hardly moves."""
    for clip, start, end in every(clips, Kind.EXCITED):
        around = [(start - 1, start - 0.3), (end + 0.3, end + 1)]
        mouth, motion = (clip.mean(each, start, end) for each in (clip.mouth, clip.motion))
        for before, after in around:
            assert mouth > 2 * clip.mean(clip.mouth, before, after)
            assert motion > 1.8 * clip.mean(clip.motion, before, after)


def test_excitement_is_heard(clips):
    """Red when the sound is of another time: in the band of cheering it rises within 0.2 s."""
    band = butter(4, (2500, 4500), "bandpass", fs=SAMPLE_RATE, output="sos")
    for clip, start, end in every(clips, Kind.EXCITED):
        heard = sosfilt(band, clip.samples)
        level = partial(decibels, heard)
        assert level(start + 0.1, start + 0.4) > level(start - 0.4, start - 0.1) + 6
        assert level(end - 0.4, end - 0.1) > level(end + 0.1, end + 0.4) + 6
        assert clip.decibels(start, end) > -17


def test_a_bang_is_loud_beside_a_calm_face(clips):
    """Red when loudness, or motion of the face, tells by itself."""
    least = min(clip.decibels(a, b) for clip, a, b in every(clips, Kind.EXCITED))
    motion = min(clip.mean(clip.motion, a, b) for clip, a, b in every(clips, Kind.EXCITED))
    for clip, start, end in every(clips, Kind.BANG):
        assert clip.decibels(start, end) > least - 3
        assert clip.mean(clip.mouth, start, end) < 0.12
        assert clip.mean(clip.motion, start, end) < motion / 1.5


def test_an_open_mouth_may_be_silent(clips):
    """Red when an open mouth tells by itself."""
    opened = np.mean([clip.mean(clip.mouth, a, b) for clip, a, b in every(clips, Kind.EXCITED)])
    for clip, start, end in every(clips, Kind.YAWN) + every(clips, Kind.LAUGH):
        assert clip.mean(clip.mouth, start + 0.4, end - 0.4) > 0.7 * opened
        assert clip.decibels(start + 0.1, end - 0.1) < -32


def test_a_flash_is_of_the_game_alone(clips):
    """Red when the labelled box is not where the face camera is, or a flash lights the face."""
    for clip, start, _ in every(clips, Kind.FLASH):
        before, after = (clip.frames[clip.place(start) + n].astype(int) for n in (-2, 1))
        lit = (after - before).mean(axis=-1)
        box = np.zeros((180, 320), bool)
        box[FACE] = True
        assert lit[~box].mean() > 30
        assert abs(lit[:66, 230:].mean()) < 6
        assert lit[:70, 218:223].mean() > 20  # beside the box
        assert lit[74:79, 226:].mean() > 20  # below it


def test_there_are_pauses_to_cut_at(clips):
    """Red when speech has no pauses, or none lies beside most excited moments."""
    quiet = []
    for clip, start, end in every(clips, Kind.EXCITED):
        quiet += [clip.decibels(start - 0.25, start - 0.05) < -34]
        quiet += [clip.decibels(end + 0.05, end + 0.25) < -34]
    assert np.mean(quiet) >= 0.5
    spoken = syllables(plan_recording(3, 120.0, SEED))
    pauses = np.array([b.start - a.end for a, b in pairwise(spoken)])
    assert pauses.min() >= 0
    assert ((pauses >= 0.15) & (pauses <= 0.4)).sum() > 360 / 6


def test_a_group_has_colours_of_its_own(clips):
    """Red when what is behind the face does not tell the group, here a clip from a chunk."""
    walls = [clip.frames[::30, 2:60, 226:230].mean(axis=(0, 1, 2)) for clip in clips]
    for wall in walls[1:3]:
        assert np.abs(wall - walls[0]).max() < 5
    assert np.abs(walls[3] - walls[0]).max() > 25
    looks = [face_look(0, group) for group in range(9)]
    gaps = [
        max(np.abs(np.subtract(getattr(a, part), getattr(b, part))).max() for part in vars(a))
        for n, a in enumerate(looks)
        for b in looks[:n]
    ]
    assert min(gaps) > 60


# What lies where


def test_labels_name_the_clips(root):
    """Red when a label is of another clip, box or group."""
    labelled = read_labels(root / "labels.csv")
    plans = plan_clips(SMALL["num_clips"], SMALL["clip_seconds"], SEED)
    assert [clip.path for clip in labelled] == sorted((root / "clips").glob("*.mp4"))
    for clip, plan in zip(labelled, plans, strict=True):
        spans = [(one.start, one.end) for one in clip.highlights]
        assert spans == [(one.start, one.end) for one in plan.of(Kind.EXCITED)]
        assert (clip.box.x1, clip.box.y1, clip.box.x2, clip.box.y2) == (0.7, 0.0, 1.0, 0.4)
        assert clip.negatives == ()
    assert {clip.group for clip in labelled} == {"streamer1"}
    assert [bool(clip.highlights) for clip in labelled] == [True, True, False]


def test_sizes_rates_and_durations(root, clips):
    """Red when a picture is lost, or a rate is rounded."""
    rates = [30, 30000 / 1001, 25, 30, 30]
    paths = [*sorted((root / "clips").glob("*.mp4")), *recording_chunks(root / "recording")]
    for path, clip, rate in zip(paths, clips, rates, strict=True):
        info = probe(path)
        assert (info.width, info.height) == (320, 180)
        assert info.fps == pytest.approx(rate, abs=1e-3)
        assert len(clip.samples) / SAMPLE_RATE == pytest.approx(len(clip.frames) / rate, abs=0.03)
    for clip in clips[:3]:
        assert len(clip.frames) / clip.plan.rate == pytest.approx(14, abs=1.5)
    for clip in clips[3:]:
        assert len(clip.frames) == 28 * 30


def test_chunks_follow_each_other(root, clips):
    """Red when a chunk begins elsewhere: the face jumps, or the sound is not the recording's."""
    chunks = read_recording(recording_chunks(root / "recording"))
    assert recording_duration(chunks) == pytest.approx(56.0, abs=1e-3)
    assert chunks[1].offset == pytest.approx(28.0, abs=1e-3)
    last, first = clips[3].frames[-1], clips[4].frames[0]
    jump = np.abs(last[FACE].astype(int) - first[FACE]).mean()
    assert jump < 2 * max(clips[3].motion[-30:].max(), clips[4].motion[:30].max())
    whole = stream_sound(clips[3].plan, 0.0, 56.0)
    for chunk, start in zip(clips[3:], (0, 28), strict=True):
        expected = whole[round(start * SAMPLE_RATE) :][: len(chunk.samples)]
        heard = chunk.samples[: len(expected)]
        assert np.corrcoef(expected, heard)[0, 1] > 0.9


def test_the_truth_is_the_recordings(root):
    plan = plan_recording(SMALL["num_chunks"], SMALL["chunk_seconds"], SEED)
    truth = read_truth(root / "truth.csv")
    assert truth == [(one.start, one.end) for one in plan.of(Kind.EXCITED)]
    assert len(truth) == 1
    assert truth[0][0] < 28 < truth[0][1]  # across the border


@pytest.mark.parametrize("seed", range(12))
def test_how_much_is_excited(seed):
    """Red when shares, lengths or distances are not those promised, for some seed."""
    clips, recording = plan_clips(24, 20.0, seed), plan_recording(3, 120.0, seed)
    spans = [[(one.start, one.end) for one in p.of(Kind.EXCITED)] for p in (*clips, recording)]
    lengths = [end - start for each in spans for start, end in each]
    assert all(3.99 <= length <= 12.01 for length in lengths)
    share = sum(b - a for each in spans[:-1] for a, b in each) / sum(p.duration for p in clips)
    assert 0.15 < share < 0.25
    last = spans[-1]
    assert 0.10 < sum(end - start for start, end in last) / 360 < 0.14
    assert 6 <= len(last) <= 8
    assert all(b[0] - a[1] >= 12 for a, b in pairwise(last))
    assert any(start < border < end for start, end in last for border in (120, 240))
    for plan in (*clips, recording):
        assert all(a.end < b.start for a, b in pairwise(plan.moments))
        assert plan.moments == () or plan.moments[-1].end <= plan.duration
    assert {one.kind for plan in clips for one in plan.moments} == set(Kind)
    assert {one.kind for one in recording.moments} == set(Kind)


# How it is written


def contents(root):
    """Decoded pictures and sound of each file, and the texts."""
    found = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = path.relative_to(root).as_posix()
        if path.suffix == ".mp4":
            frames = np.array(list(iter_frames(path, size=(320, 180))))
            found[name] = frames.tobytes() + read_sound(path).samples.tobytes()
        else:
            found[name] = path.read_bytes()
    return found


def test_same_content_with_any_number_of_jobs_and_in_two_runs(tmp_path):
    """Red when a worker's order or the time tells, or a second run writes what is there."""
    one, two = tmp_path / "one", tmp_path / "two"
    render_stream(one, **TINY, jobs=1, progress=False)
    render_stream(two, **TINY, jobs=2, progress=False)
    first = contents(one)
    assert set(first) == {
        *("clips/clip01.mp4", "recording/part0.mp4", "recording/part1.mp4"),
        *("labels.csv", "truth.csv", "stream.json"),
    }
    assert first == contents(two)
    for name in ("recording/part1.mp4", "truth.csv"):
        (two / name).unlink()
    before = {path: path.stat().st_mtime_ns for path in two.rglob("*.mp4")}
    render_stream(two, **TINY, jobs=1, progress=False)
    assert first == contents(two)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_another_seed_is_another_stream():
    assert plan_clips(3, 20, 1) != plan_clips(3, 20, 0)
    assert plan_recording(1, 60, 1) != plan_recording(1, 60, 0)
    assert face_look(0, 1) != face_look(1, 1)


def test_a_folder_is_not_shared(tmp_path, root):
    """Red when two streams, or a stream and somebody's files, are mixed."""
    with pytest.raises(PreprocessError, match="delete it or name another"):
        render_stream(root, **{**SMALL, "seed": 1})
    with pytest.raises(PreprocessError, match="delete it or name another"):
        render_stream(root, **{**SMALL, "num_clips": 4})
    stamp = json.loads((root / synthetic_stream.STAMP_NAME).read_text())
    assert stamp["renderer_version"] == synthetic_stream.RENDERER_VERSION
    (tmp_path / "holiday.mp4").touch()
    with pytest.raises(PreprocessError, match="a folder of its own"):
        render_stream(tmp_path)
    with pytest.raises(WriteError, match=r"holiday\.mp4"):
        render_stream(tmp_path / "holiday.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.mp4"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("num_clips", 0), ("clip_seconds", 7.9), ("num_chunks", 0)),
        *(("chunk_seconds", float("nan")), ("seed", -1), ("jobs", 0)),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path, option, value):
    with pytest.raises(PreprocessError, match=rf"{option} must be .* Received {value}\."):
        render_stream(tmp_path, **{option: value})
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_fails_is_told(tmp_path, monkeypatch):
    """Red when half a video gets its name, or ffmpeg's words are lost."""
    monkeypatch.setattr(synthetic_stream, "_SIZE", (1, 1))
    with pytest.raises(RenderError, match=r"ffmpeg failed: .+"):
        render_stream(tmp_path / "demo", **TINY, jobs=1, progress=False)
    left = [path for path in Path(tmp_path).rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["stream.json"]


def test_a_picture_that_cannot_be_drawn_is_told(tmp_path, monkeypatch):
    """Red when a video whose pictures end early gets its name."""

    def images(plan, frames):
        yield np.zeros((180, 320, 3), np.uint8)
        raise RuntimeError("no second picture")

    monkeypatch.setattr(synthetic_stream, "stream_images", images)
    with pytest.raises(RuntimeError, match="no second picture"):
        render_stream(tmp_path / "demo", **TINY, jobs=1, progress=False)
    left = [path for path in Path(tmp_path).rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["stream.json"]
