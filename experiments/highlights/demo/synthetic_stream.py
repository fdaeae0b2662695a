"""Built-in demo of the highlights: labelled clips of a streamer, and a long recording.

Everything is drawn and computed from a seed: see `plan` for what happens. The colours of the
game, of the face and of its room differ by group, and the recording is a group of its own, so a
model that learns colours by heart fails on it. ffmpeg encodes frames and samples to video files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import joblib
import numpy as np
from tqdm import tqdm

from common.errors import WriteError
from common.files import write_text
from experiments.clips.images import Box
from experiments.highlights.demo.images import (
    FACE_HEIGHT,
    FACE_WIDTH,
    HEIGHT,
    WIDTH,
    stream_images,
)
from experiments.highlights.demo.plan import Kind, StreamPlan, plan_clips, plan_recording
from experiments.highlights.demo.sound import SAMPLE_RATE, stream_sound
from experiments.highlights.labels import Interval, LabelledClip, write_labels
from experiments.media.ffmpeg import fed_pipe, private_folder, run
from preprocess.sources.synthetic import check_seed_and_jobs, in_parallel, stamp

STAMP_NAME = "stream.json"
LABELS_NAME = "labels.csv"
TRUTH_NAME = "truth.csv"
RECORDING_NAME = "recording"
RENDERER_VERSION = 1  # raise when the same arguments draw another stream
_SIZE = WIDTH, HEIGHT
# Box of the face camera, the same in all streams.
_FACE_BOX = Box((WIDTH - FACE_WIDTH) / WIDTH, 0.0, 1.0, FACE_HEIGHT / HEIGHT)
_KEYFRAME_SECONDS = 2  # as live streams have it


@dataclass(frozen=True)
class _Video:
    """Video file with the frames of a stream that it holds."""

    path: Path
    plan: StreamPlan
    frames: range

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return float(len(self.frames) / self.plan.rate)


def render_stream(
    root: Path,
    *,
    num_clips: int = 24,
    clip_seconds: float = 20.0,
    num_chunks: int = 3,
    chunk_seconds: float = 120.0,
    seed: int = 0,
    jobs: int | None = None,
    progress: bool = True,
) -> None:
    """Write the demo under `root`: clips and their labels, a recording and its highlights.

    `clips/*.mp4` are named in `labels.csv`; `recording/part0.mp4` and so on follow each other,
    and `truth.csv` says when their highlights start and end, in seconds of the whole. The same
    arguments give the same content whatever `jobs` is. A file appears under its name only when
    it is complete, and a second run writes what is missing.

    Args:
        root: folder to fill; made when absent.
        num_clips: number of labelled clips, three per group.
        clip_seconds: length of a clip, which varies by up to a tenth.
        num_chunks: number of files of the recording.
        chunk_seconds: length of each, to the nearest frame.
        seed: seed of the stream, 0 or more.
        jobs: number of worker processes; None takes all cores that this process may use.
        progress: whether to show a progress bar on stderr.

    Raises:
        PreprocessError: if an argument is out of range, or `root` holds other files.
        RenderError: if a video cannot be encoded.
        WriteError: if `root` cannot be written.
    """
    check_seed_and_jobs(seed, jobs)
    clips = plan_clips(num_clips, clip_seconds, seed)
    recording = plan_recording(num_chunks, chunk_seconds, seed)
    videos = [*_chunks(root, recording, num_chunks), *(_clip(root, plan) for plan in clips)]
    wanted = {
        "renderer_version": RENDERER_VERSION,
        "num_clips": num_clips,
        "clip_seconds": clip_seconds,
        "num_chunks": num_chunks,
        "chunk_seconds": chunk_seconds,
        "seed": seed,
    }
    try:
        root.mkdir(parents=True, exist_ok=True)
        stamp(root / STAMP_NAME, wanted, what="demo")
        _render([video for video in videos if not video.path.exists()], jobs, progress)
        if not (root / LABELS_NAME).exists():
            write_labels(root / LABELS_NAME, [_labelled(root, plan) for plan in clips])
        if not (root / TRUTH_NAME).exists():
            write_text(root / TRUTH_NAME, _truth_text(recording))
    except OSError as error:
        raise WriteError(f"Cannot write the demo to {root}: {error}") from error


def _clip(root: Path, plan: StreamPlan) -> _Video:
    path = root / "clips" / f"clip{plan.number:02d}.mp4"
    return _Video(path, plan, range(plan.num_frames))


def _chunks(root: Path, plan: StreamPlan, num_chunks: int) -> list[_Video]:
    length = plan.num_frames // num_chunks
    return [
        _Video(
            root / RECORDING_NAME / f"part{chunk}.mp4",
            plan,
            range(chunk * length, (chunk + 1) * length),
        )
        for chunk in range(num_chunks)
    ]


def _render(videos: Sequence[_Video], jobs: int | None, progress: bool) -> None:
    """Write videos in parallel, long ones first."""
    for folder in {video.path.parent for video in videos}:
        folder.mkdir(exist_ok=True)
    tasks = [joblib.delayed(_render_video)(video) for video in videos]
    total = round(sum(video.seconds for video in videos))
    with tqdm(total=total, desc="demo stream", unit="s", disable=not progress) as bar:
        done = 0.0
        for seconds in in_parallel(tasks, jobs):
            done += seconds
            bar.update(round(done) - bar.n)


def _render_video(video: _Video) -> float:
    """Write one video, MP4 of H.264 and AAC, on one core. Returns its length in seconds."""
    cv2.setNumThreads(1)  # one core per worker
    plan, rate = video.plan, video.plan.rate
    samples = stream_sound(plan, float(video.frames.start / rate), video.seconds)

    def write_images(pipe: BinaryIO) -> None:
        for image in stream_images(plan, video.frames):
            pipe.write(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes())

    args = [
        *("-loglevel", "error"),
        *("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{_SIZE[0]}x{_SIZE[1]}"),
        *("-r", str(rate), "-i", "images.yuv"),
        *("-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "sound.s16"),
        *("-map", "0:v", "-c:v", "libx264", "-preset", "veryfast", "-crf", "24"),
        # One thread for each video: as many are encoded at once as there are cores.
        *("-g", str(round(_KEYFRAME_SECONDS * rate)), "-threads", "1"),
        *("-map", "1:a", "-c:a", "aac", "-b:a", "96k"),
        *("-movflags", "+faststart", "video.mp4"),
    ]
    with private_folder(video.path.parent, prefix=".video-") as folder:
        (folder / "sound.s16").write_bytes(np.rint(32767 * samples).astype("<i2").tobytes())
        with fed_pipe(folder / "images.yuv", write_images):
            run(args, folder)
        os.replace(folder / "video.mp4", video.path)
    return video.seconds


def _labelled(root: Path, plan: StreamPlan) -> LabelledClip:
    highlights = tuple(Interval(one.start, one.end) for one in plan.of(Kind.EXCITED))
    return LabelledClip(_clip(root, plan).path, _FACE_BOX, highlights, f"streamer{plan.group}")


def _truth_text(plan: StreamPlan) -> str:
    rows = [f"{one.start},{one.end}" for one in plan.of(Kind.EXCITED)]
    return "\n".join(["start,end", *rows, ""])
