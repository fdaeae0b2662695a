"""Videos and shards that the measured work reads, and extraction, the work without TensorFlow."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

from common.errors import UserError
from experiments.threads import WorkloadName
from experiments.threads.space import Task
from preprocess.extraction.extract import extract
from preprocess.shards.settings import FrameSettings
from preprocess.sources.synthetic import render_dataset

_VIDEO_SIZE = (640, 360)
_VIDEO_FPS = 30


def prepare(
    workload: WorkloadName, scratch: Path, *, num_cores: int, say: Callable[[str], None]
) -> Path:
    """Make the input of a work for which the user has named none; returns the folder.

    Args:
        workload: the kind of work.
        scratch: folder to write below; files that are there already are used.
        num_cores: number of cores; more cores need more videos to be kept busy.
        say: called with a description of the current work.

    Raises:
        UserError: if it cannot be written.
    """
    if workload in ("alexnet", "resnet"):
        return scratch
    if workload == "classify":
        num_videos = max(2, num_cores)
        say(f"rendering {num_videos} videos")
        return render_videos(scratch / "h264", num_videos=num_videos, num_frames=500)
    videos, groups = scratch / "mpeg1", min(99, 4 * num_cores)
    say(f"rendering short videos, {4 * groups} of each class")
    render_dataset(videos, groups_per_class=groups, clips_per_group=4, progress=False)
    if workload == "extract":
        return videos
    say("extracting their frames")
    extract(videos, scratch / "shards")
    return scratch / "shards"


def demo_shards(scratch: Path, settings: FrameSettings, num_clips: int) -> Path:
    """Extract clips of the built-in set, of which those that are there already are used.

    Args:
        scratch: folder to write below.
        settings: settings of the frames, which name the folder of the shards.
        num_clips: number of clips.
    """
    videos = scratch / "videos"
    if not videos.exists():
        render_dataset(videos, groups_per_class=1, clips_per_group=math.ceil(num_clips / 11))
        clips = sorted(videos.rglob("*.mpg"))
        for surplus in clips[num_clips:]:
            surplus.unlink()
    shards = scratch / "-".join(map(str, (*settings.size, settings.stride, settings.max_frames)))
    if not shards.exists():
        extract(videos, shards, settings)
    return shards


def render_videos(folder: Path, *, num_videos: int = 2, num_frames: int = 1500) -> Path:
    """Render moving shapes with the noise of a camera, 640x360 H.264; returns the folder.

    Args:
        folder: folder of the videos; made if it is missing.
        num_videos: number of videos.
        num_frames: number of frames of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = f"{_VIDEO_SIZE[0]}x{_VIDEO_SIZE[1]}"
    args = [imageio_ffmpeg.get_ffmpeg_exe()]
    args += ["-y", "-loglevel", "error", "-nostdin", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    args += f"-s {size} -r {_VIDEO_FPS} -i -".split()
    args += ["-c:v", "libx264", "-preset", "fast", "-pix_fmt", "yuv420p"]
    for number in range(num_videos):
        random = np.random.default_rng(number)
        coarse = random.integers(0, 256, (9, 16, 3), np.uint8)
        scene = cv2.resize(coarse, _VIDEO_SIZE, interpolation=cv2.INTER_CUBIC)
        encoder = subprocess.Popen(
            [*args, f"file:{folder.absolute()}/{number}.mp4"], stdin=subprocess.PIPE
        )
        assert encoder.stdin is not None
        for frame in range(num_frames):
            image = np.roll(scene, 3 * frame, axis=1)
            cv2.circle(image, (5 * frame % _VIDEO_SIZE[0], 180), 60, (230, 60, 40), -1)
            # Without noise an encoder would leave out most blocks, and decoding would be too easy.
            noise = random.integers(-4, 5, image.shape, np.int16)
            encoder.stdin.write(np.clip(image + noise, 0, 255).astype(np.uint8).tobytes())
        encoder.stdin.close()
        if encoder.wait() != 0:
            raise UserError("ffmpeg could not render the videos")
    return folder


def extractions(task: Task) -> Iterator[int]:
    """Extract a whole folder of videos again and again, the start of the workers included."""
    yield 0
    while True:
        # Otherwise the next round would find all clips extracted.
        shutil.rmtree(task.scratch, ignore_errors=True)
        yield extract(
            task.inputs,
            task.scratch,
            jobs=task.setting["jobs"],
            opencv_threads=task.setting["opencv_threads"],
        ).num_frames
