"""The benchmark of highlights: that it compares like with like."""

from __future__ import annotations

import subprocess

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from experiments.bench_highlights import (
    highlights,
    make_recording,
    render_originally,
    render_ours,
    row_of,
    table,
)
from experiments.bench_highlights_loop_clips import Sources, compose_stream
from experiments.highlights.demo.quality import read_truth
from experiments.highlights.labels import read_labels
from experiments.media.recording import read_recording, recording_duration
from preprocess.video.sound import read_sound
from tests.experiments.highlights.counters import ffmpeg, read_images


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return make_recording(tmp_path_factory.mktemp("bench"), 0.08)


def test_the_recording_is_like_a_stream(recording):
    """Red when keyframes are rare, which would make seeking dear, or sound is missing."""
    (chunk,) = read_recording([recording])
    assert (chunk.width, chunk.height, chunk.rate) == (1280, 720, 30)
    assert chunk.duration == pytest.approx(4.8, abs=0.05)
    assert chunk.sound is not None
    capture, keyframes = cv2.VideoCapture(str(recording)), []
    while capture.grab():
        if capture.get(cv2.CAP_PROP_FRAME_TYPE) == ord("I"):
            keyframes.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    assert keyframes == pytest.approx([0, 2000, 4000], abs=1)


def test_a_longer_one_is_repeated(recording, tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.bench_highlights._ENCODED_MINUTES", 0.02)
    (chunk,) = read_recording([make_recording(tmp_path, 0.1)])
    assert chunk.duration == pytest.approx(6, abs=0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["recording.mp4"]


def test_both_ways_show_the_same(recording, tmp_path):
    """Red when one of the two is spared a part of the work."""
    images = []
    for render in (render_ours, render_originally):
        out = render(recording, [(0.5, 1.5), (2.4, 4.2)], tmp_path)
        capture, shown = cv2.VideoCapture(str(out)), []
        while (image := capture.read()[1]) is not None:
            shown.append(image)
        images.append(shown)
        args = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(out)]
        assert b"Audio: aac" in subprocess.run(args, capture_output=True, check=False).stderr
    ours, original = images
    assert len(ours) == len(original) == 84
    for place in (0, 29, 30, 83):
        assert cv2.PSNR(ours[place], original[place]) > 30


def test_highlights_are_spread_over_the_recording():
    spans = highlights(3600)
    assert spans[0] == (175, 185)
    assert spans[-1] == (3415, 3425)
    assert len(spans) == 10


def test_the_table():
    rows = [row_of("work", "bare", [4.0, 2.0, 3.0]), row_of("work", "ours", [1.5], 3.0, 10**9)]
    assert table(rows).splitlines()[2:] == [
        "| work | bare | 3.0 s | 67% | \N{EN DASH} | \N{EN DASH} |",
        "| work | ours | 1.5 s | \N{EN DASH} | 0.500 | 1.0 GB |",
    ]


@pytest.mark.slow
def test_a_stream_of_clips_says_when_its_highlights_are(tmp_path):
    """Red when a shot is longer than planned, or a scene of the labels is in the recording."""
    levels = {"Boxing": (60, 120), "Reading": (180, 240)}  # of two scenes each
    for name, of_scenes in levels.items():
        (tmp_path / "ucf" / name).mkdir(parents=True)
        for scene, level in enumerate(of_scenes, 1):
            grey = f"color=c=0x{level:02x}{level:02x}{level:02x}:s=64x48:r=30:d=4"
            path = tmp_path / "ucf" / name / f"v_{name}_g{scene:02d}_c01.mp4"
            ffmpeg("-f", "lavfi", "-i", grey, str(path))
    sounds = [tmp_path / "low.mp4", tmp_path / "high.mp4"]
    for path, pitch in zip(sounds, (200, 3000), strict=True):
        tone = ["-f", "lavfi", "-i", f"sine={pitch}:d=20"]
        ffmpeg("-f", "lavfi", "-i", "color=gray:s=64x48:r=5:d=20", *tone, str(path))
    sources = Sources(tmp_path / "ucf", "Boxing", (sounds[0],), (sounds[1],))
    root = tmp_path / "stream"
    compose_stream(root, sources, num_clips=3, num_chunks=2, chunk_seconds=30, seed=1)
    with_highlights = [len(clip.highlights) for clip in read_labels(root / "labels.csv")]
    assert with_highlights == [1, 1, 0]
    chunks = read_recording(sorted((root / "recording").iterdir()))
    images, rate = [], 0.0
    for chunk in chunks:
        frames, rate = read_images(chunk.path)
        images += [frame.mean() for frame in frames]
    truth = read_truth(root / "truth.csv")
    assert truth
    edges = np.rint(np.array(truth) * rate).astype(int)
    expected = np.full(len(images), levels["Reading"][1])
    for start, end in edges:
        expected[start:end] = levels["Boxing"][1]
    assert len(images) == round(recording_duration(chunks) * rate)
    assert images == pytest.approx(expected, abs=6)
    heard = read_sound(chunks[0].path, sample_rate=16000, start=truth[0][0] + 1, duration=1.0)
    spectrum = np.abs(np.fft.rfft(heard.samples))
    assert spectrum.argmax() == pytest.approx(3000, abs=5)
