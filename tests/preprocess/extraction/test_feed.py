"""Frames of many videos, decoded elsewhere: the same as decoded here, whatever happens there."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest

from preprocess import iter_frames
from preprocess.extraction.feed import FrameBlock, Task, VideoEnded, VideoOpened, feed_frames
from preprocess.video.transforms import FrameFit
from tests.preprocess.conftest import decoding_processes, planted_module, write_video
from tests.processes import wait_until

FIT = FrameFit((40, 30))
PLANTED = """
import signal
import time
from pathlib import Path
from preprocess.video.transforms import FrameFit

class Hanging(FrameFit):
    takes_planes = False

    def __call__(self, image, frame):
        if not Path("hung").exists():
            Path("hung").touch()
            # The watch gives a frame minutes; here it is made to strike at once, even if it has
            # just been set anew.
            assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 900
            while True:
                signal.setitimer(signal.ITIMER_REAL, 0.01)
                time.sleep(1)
        super().__call__(image, frame)
"""


def collect(tasks, **options):
    """Frames, times and ends of each video."""
    frames: dict[int, list] = {}
    times: dict[int, list] = {}
    ends: dict[int, VideoEnded] = {}
    for event in feed_frames(tasks, FIT, **options):
        if isinstance(event, FrameBlock):
            assert event.first == len(frames.setdefault(event.video, [])) + tasks[event.video].skip
            frames[event.video] += [frame.copy() for frame in event.frames]
            times.setdefault(event.video, []).extend(event.times)
        elif isinstance(event, VideoEnded):
            ends[event.video] = event
    return frames, times, ends


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> list[Path]:
    root = tmp_path_factory.mktemp("feed")
    lengths = (40, 3, 70, 16, 33)
    return [write_video(root / f"{n}.mpg", length, seed=n) for n, length in enumerate(lengths)]


@pytest.mark.parametrize(
    ("jobs", "stride", "frames_ahead"), [(1, 1, 128), (2, 1, 1), (3, 3, 64), (9, 2, 128)]
)
def test_frames_are_those_decoded_here(videos, jobs, stride, frames_ahead) -> None:
    """Red when a block is given back too early, or two videos' blocks are mixed up."""
    tasks = [Task(path) for path in videos]
    frames, times, ends = collect(tasks, jobs=jobs, stride=stride, frames_ahead=frames_ahead)
    for number, path in enumerate(videos):
        expected = np.stack(list(iter_frames(path, size=(40, 30), stride=stride)))
        np.testing.assert_array_equal(np.stack(frames[number]), expected)
        assert ends[number] == VideoEnded(number, len(expected), "")
        np.testing.assert_allclose(np.diff(times[number]), stride / 25, atol=1e-3)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("skip", [0, 1, 15, 16, 39, 40, 500])
def test_skipping_leaves_the_rest_unchanged(videos, stride, skip) -> None:
    """Red when a resumed video starts a frame off, or skips at stride 1."""
    frames, times, ends = collect([Task(videos[0], skip=skip)], stride=stride)
    _, all_times, _ = collect([Task(videos[0])], stride=stride)
    expected = list(iter_frames(videos[0], size=(40, 30), stride=stride))
    assert len(frames.get(0, [])) == max(len(expected) - skip, 0)
    for frame, wanted in zip(frames.get(0, []), expected[skip:], strict=True):
        np.testing.assert_array_equal(frame, wanted)
    assert times.get(0, []) == all_times[0][skip:]
    assert ends[0].num_frames == len(expected)


def test_unreadable_videos_say_why_and_the_others_go_on(videos, tmp_path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "junk.mp4").write_bytes(b"junk" * 50)
    tasks = [
        Task(tmp_path / "empty.mp4"),
        Task(videos[1]),
        Task(tmp_path / "junk.mp4"),
        Task(tmp_path / "missing.mp4"),
        Task(videos[3]),
    ]
    frames, _, ends = collect(tasks, jobs=2)
    assert [len(frames.get(n, [])) for n in range(5)] == [0, 3, 0, 0, 16]
    assert "empty" in ends[0].failure
    assert "not a video" in ends[2].failure
    assert "No such file" in ends[3].failure
    assert not any(end.crashed for end in ends.values())


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_decoder_that_dies_costs_its_video_alone(videos, jobs) -> None:
    """Red when the caller waits for ever for a dead process, or the videos after it are lost."""
    tasks = [Task(path) for path in videos]
    ends, killed, counts = {}, None, {}
    for event in feed_frames(tasks, FIT, jobs=jobs, frames_ahead=1):
        if isinstance(event, VideoOpened) and event.video == 2:
            killed = event.video
            _kill_decoders()
        elif isinstance(event, VideoEnded):
            ends[event.video] = event
        elif isinstance(event, FrameBlock):
            counts[event.video] = event.first + len(event.times)
    assert killed == 2
    assert sorted(ends) == [0, 1, 2, 3, 4]
    assert ends[2].crashed
    assert "SIGKILL" in ends[2].failure
    assert ends[2].num_frames == counts.get(2, 0)
    assert ends[4] == VideoEnded(4, 33, "")


def test_a_decoder_that_dies_between_two_videos_costs_none(videos) -> None:
    """Red when the next video is handed to a dead process."""
    ends = []
    for event in feed_frames([Task(path) for path in videos], FIT):
        if isinstance(event, VideoEnded):
            ends.append(event)
            _kill_decoders()
    assert [end.video for end in ends] == [0, 1, 2, 3, 4]
    assert not any(end.failure for end in ends)


def test_a_decoder_that_hangs_is_ended(videos, tmp_path, monkeypatch) -> None:
    """Red when it is waited for, or the next video is lost."""
    fit = planted_module(PLANTED, tmp_path, monkeypatch).Hanging((40, 30))
    tasks = [Task(videos[2]), Task(videos[3])]
    events = list(feed_frames(tasks, fit, frames_ahead=1, stall_seconds=900))
    ends = [event for event in events if isinstance(event, VideoEnded)]
    assert ends[0].crashed
    assert ends[0].failure == "the decoder gave nothing for 900 s"
    assert ends[1] == VideoEnded(1, 16, "")


def test_no_process_is_left(videos) -> None:
    """Red when a generator that is closed early leaves its decoders running."""
    events = feed_frames([Task(path) for path in videos], FIT, jobs=2)
    next(events)
    assert decoding_processes(os.getpid())
    events.close()
    assert not decoding_processes(os.getpid())


def _kill_decoders() -> None:
    """Until all their threads are gone, and with them their ends of the pipes."""
    for child in decoding_processes(os.getpid()):
        os.kill(child, signal.SIGKILL)
        wait_until(lambda child=child: not psutil.pid_exists(child), "the end of a decoder")
