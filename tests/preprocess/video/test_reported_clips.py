"""Clips that went wrong once: what is read of each is what its description says.

Frame i of most of them shows its number as 16 blocks, 4 x 4, least significant bit first.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from preprocess import DecodeError, FrameSettings, open_shards
from preprocess.extraction.extract import extract
from preprocess.video.decode import VideoReader, probe
from preprocess.video.frame_reader import open_stretch
from preprocess.video.sampling import FrameSampler
from preprocess.video.time_ranges import Seconds
from preprocess.video.transforms import FrameFit
from preprocess.video.video_file import audio_tracks, clock_restarts
from tests.preprocess.conftest import REPOSITORY

CLIPS = REPOSITORY.parent / "shared" / "clips" / "reported"
FIT = FrameFit((64, 48))
pytestmark = pytest.mark.skipif(not CLIPS.is_dir(), reason=f"no reported clips in {CLIPS}")


def numbers_in(frames: list[np.ndarray]) -> list[int]:
    cells = np.stack(frames).reshape(-1, 4, 12, 4, 16, 3).mean(axis=(2, 4, 5)).reshape(-1, 16)
    return [int(bits @ (1 << np.arange(16))) for bits in cells > 128]


def read(video) -> tuple[list[int], list[float]]:
    """Numbers that the frames show, and when they are shown."""
    frames, times = [], []
    with video:
        while video.read_into(frame := np.empty(FIT.frame_shape, np.uint8)):
            frames.append(frame)
            times.append(video.time_seconds)
    return numbers_in(frames), times


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *(("h264_i.mp4", 25), ("mpeg2_i.mpg", 25), ("mpeg4_i.avi", 25)),
        *(("mixed_interlaced.mkv", 75), ("cat.ts", 200)),
        *(("vp8res.webm", 100), ("res2x.mkv", 100), ("portrait.mkv", 100)),
    ],
)
def test_every_frame_is_read_in_its_place(name: str, count: int) -> None:
    """Red when interlaced frames are black, or times go in half steps after a restart."""
    numbers, times = read(VideoReader(CLIPS / name, fit=FIT))
    assert numbers == list(range(count))
    # Matroska rounds to thousandths, and where some of these were joined the step is 0.043.
    np.testing.assert_allclose(times, np.arange(count) / 25, atol=0.026 if "mkv" in name else 1e-3)


def test_a_stretch_behind_a_restart_of_the_clock() -> None:
    """Red when 4 to 6 s are looked for on the clock of the first part alone."""
    numbers, _ = read(open_stretch(CLIPS / "cat.ts", Seconds(4.0, 6.0), fit=FIT))
    assert numbers == list(range(100, 150))


def test_samples_behind_a_restart_of_the_clock() -> None:
    numbers, _ = read(FrameSampler(CLIPS / "cat.ts", fit=FIT, fps=2))
    assert numbers == [math.ceil(n * 12.5) for n in range(16)]


def test_which_clocks_restart() -> None:
    found = {path.name for path in CLIPS.iterdir() if _has_restart(path)}
    assert found == {"cat.ts"}


def _has_restart(path: Path) -> bool:
    try:
        return clock_restarts(path)
    except DecodeError:  # of the tables, and of sound without video
        return False


def test_sound_with_a_cover_picture_is_no_video() -> None:
    with pytest.raises(DecodeError, match="no video, only a cover picture"):
        probe(CLIPS / "audio_cover.mp4")


def test_tracks_are_named() -> None:
    tracks = audio_tracks(CLIPS / "twotracks.mp4")
    assert [track.number for track in tracks] == [0, 1]
    assert [track.title for track in tracks] == ["", "Mic"]
    assert str(tracks[1]) == "1: aac, mono, 44100 Hz, 'Mic'"
    assert audio_tracks(CLIPS / "mpeg4_i.avi") == ()


def test_all_through_an_extraction(tmp_path: Path) -> None:
    """Red when the command reads otherwise than the reader does."""
    folder = tmp_path / "videos" / "class"
    folder.mkdir(parents=True)
    names = ["h264_i.mp4", "mpeg2_i.mpg", "cat.ts", "audio_cover.mp4"]
    for name in names:
        (folder / name).symlink_to(CLIPS / name)
    summary = extract(tmp_path / "videos", tmp_path / "shards", FrameSettings((64, 48)), jobs=1)
    assert summary.failures == {
        "class/audio_cover.mp4": "no video, only a cover picture, as in a music file"
    }
    with open_shards(tmp_path / "shards") as shards:
        shown = {Path(clip.source).name: numbers_in(list(clip.frames)) for clip in shards}
    assert shown == {
        "cat.ts": list(range(200)),
        "h264_i.mp4": list(range(25)),
        "mpeg2_i.mpg": list(range(25)),
    }
