"""Built-in demo of the highlights: labelled clips of a streamer, and a long recording.

Everything is drawn and computed from a seed: see `plan` for what happens. The colours of the
game, of the face and of its room differ by group, and the recording is a group of its own, so a
model that learns colours by heart fails on it. ffmpeg encodes frames and samples to video files.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import imageio_ffmpeg
import joblib
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common.errors import WriteError
from common.files import write_text
from experiments.clips.images import Box
from experiments.highlights.demo import face, game
from experiments.highlights.demo.plan import Kind, StreamPlan, plan_clips, plan_recording
from experiments.highlights.demo.sound import SAMPLE_RATE, stream_sound
from experiments.highlights.labels import Interval, LabelledClip, write_labels
from experiments.media.ffmpeg import RenderError, complaints, url
from preprocess.errors import PreprocessError
from preprocess.system.machine import available_cpus

STAMP_NAME = "stream.json"
LABELS_NAME = "labels.csv"
TRUTH_NAME = "truth.csv"
RECORDING_NAME = "recording"
RENDERER_VERSION = 1  # raise when the same arguments draw another stream
_SIZE = game.WIDTH, game.HEIGHT
_LEFT = game.WIDTH - face.WIDTH
# Box of the face camera, the same in all streams.
_FACE_BOX = Box(_LEFT / _SIZE[0], 0.0, 1.0, face.HEIGHT / _SIZE[1])


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
    _check_arguments(seed, jobs)
    clips = plan_clips(num_clips, clip_seconds, seed)
    recording = plan_recording(num_chunks, chunk_seconds, seed)
    videos = [*_chunks(root, recording, num_chunks), *(_clip(root, plan) for plan in clips)]
    stamp = {
        "renderer_version": RENDERER_VERSION,
        "num_clips": num_clips,
        "clip_seconds": clip_seconds,
        "num_chunks": num_chunks,
        "chunk_seconds": chunk_seconds,
        "seed": seed,
    }
    try:
        _stamp(root, stamp)
        _render([video for video in videos if not video.path.exists()], jobs, progress)
        if not (root / LABELS_NAME).exists():
            write_labels(root / LABELS_NAME, [_labelled(root, plan) for plan in clips])
        if not (root / TRUTH_NAME).exists():
            write_text(root / TRUTH_NAME, _truth_text(recording))
    except OSError as error:
        raise WriteError(f"Cannot write the demo to {root}: {error}") from error


def _check_arguments(seed: int, jobs: int | None) -> None:
    if seed < 0:
        raise PreprocessError(f"seed must be 0 or more. Received {seed}.")
    if jobs is not None and jobs < 1:
        raise PreprocessError(f"jobs must be 1 or more, or None for all cores. Received {jobs}.")


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


def _stamp(root: Path, wanted: dict[str, float]) -> None:
    """Mark `root` with the arguments of its content, and refuse to mix it with anything else."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / STAMP_NAME
    if not path.exists():
        if any(root.glob("[!.]*")):  # hidden files, such as .DS_Store, do no harm
            raise PreprocessError(
                f"The demo needs a folder of its own. {root} holds other files; name another."
            )
        write_text(path, json.dumps(wanted))
    found = json.loads(path.read_text())
    if found != wanted:
        raise PreprocessError(
            f"A folder holds one demo. {root} holds {found}, wanted {wanted}; "
            "delete it or name another folder."
        )


def _render(videos: Sequence[_Video], jobs: int | None, progress: bool) -> None:
    """Write videos in parallel, long ones first."""
    for folder in {video.path.parent for video in videos}:
        folder.mkdir(exist_ok=True)
    tasks = [joblib.delayed(_render_video)(video) for video in videos]
    # Unordered, so that the bar moves whenever a video is finished.
    workers = joblib.Parallel(n_jobs=jobs or available_cpus(), return_as="generator_unordered")
    total = round(sum(video.seconds for video in videos))
    # With one job joblib works in this process, whose OpenCV must get its threads back.
    num_threads = cv2.getNumThreads()
    try:
        with tqdm(total=total, desc="demo stream", unit="s", disable=not progress) as bar:
            done = 0.0
            for seconds in workers(tasks):
                done += seconds
                bar.update(round(done) - bar.n)
    finally:
        cv2.setNumThreads(num_threads)


def _images(plan: StreamPlan, frames: range) -> Iterator[bytes]:
    """Yield some frames of a stream, 320x180, each as the planes of YUV 4:2:0."""
    played = game.Game(plan)
    # What is the same in all frames is drawn once.
    look = face.face_look(plan.seed, plan.group)
    wall = face.draw_wall(look)
    for frame, pose in zip(frames, face.face_poses(plan, frames), strict=True):
        image = played.draw(float(frame / plan.rate))
        image[: face.HEIGHT, _LEFT:] = face.draw_face(wall, look, pose)
        yield cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes()


def _render_video(video: _Video) -> float:
    """Write one video. Returns its length in seconds."""
    cv2.setNumThreads(1)  # one core per worker
    start = float(video.frames.start / video.plan.rate)
    write_video(
        video.path,
        _images(video.plan, video.frames),
        size=_SIZE,
        rate=video.plan.rate,
        samples=stream_sound(video.plan, start, video.seconds),
        sample_rate=SAMPLE_RATE,
    )
    return video.seconds


def _labelled(root: Path, plan: StreamPlan) -> LabelledClip:
    highlights = tuple(Interval(one.start, one.end) for one in plan.of(Kind.EXCITED))
    return LabelledClip(_clip(root, plan).path, _FACE_BOX, highlights, f"streamer{plan.group}")


def _truth_text(plan: StreamPlan) -> str:
    rows = [f"{one.start},{one.end}" for one in plan.of(Kind.EXCITED)]
    return "\n".join(["start,end", *rows, ""])


_KEYFRAME_SECONDS = 2  # as live streams have it


def write_video(
    path: Path,
    images: Iterable[bytes],
    *,
    size: tuple[int, int],
    rate: Fraction,
    samples: NDArray[np.float32],
    sample_rate: int,
) -> None:
    """Write an MP4 of H.264 and AAC on one core; the file appears when it is complete.

    Args:
        path: the file, in a folder that exists.
        images: frames as planes of YUV 4:2:0.
        size: width and height of a frame, in pixels, even.
        rate: frames per second.
        samples: the sound, (N,), mono, in [-1, 1].
        sample_rate: samples per second.

    Raises:
        RenderError: if ffmpeg fails, with its own last complaint.
        OSError: if the folder cannot be written.
    """
    with tempfile.TemporaryDirectory(
        prefix=".video-", dir=path.parent, ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        pcm = np.rint(32767 * np.clip(samples, -1, 1)).astype("<i2")
        (folder / "sound.s16").write_bytes(pcm.tobytes())
        _encode([*_inputs(folder, size, rate, sample_rate), *_outputs(folder, rate)], images)
        os.replace(folder / "video.mp4", path)


def _inputs(folder: Path, size: tuple[int, int], rate: Fraction, sample_rate: int) -> list[str]:
    return [
        *("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{size[0]}x{size[1]}"),
        *("-r", str(rate), "-i", "pipe:0"),
        *("-f", "s16le", "-ar", str(sample_rate), "-ac", "1", "-i", url(folder / "sound.s16")),
    ]


def _outputs(folder: Path, rate: Fraction) -> list[str]:
    return [
        *("-map", "0:v", "-c:v", "libx264", "-preset", "veryfast", "-crf", "24"),
        # One thread for each video: as many are encoded at once as there are cores.
        *("-g", str(round(_KEYFRAME_SECONDS * rate)), "-threads", "1"),
        *("-map", "1:a", "-c:a", "aac", "-b:a", "96k"),
        *("-movflags", "+faststart", url(folder / "video.mp4")),
    ]


def _encode(args: list[str], images: Iterable[bytes]) -> None:
    """Run ffmpeg with frames as its standard input."""
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error"]
    # Messages go to a file: nobody reads a pipe while this process writes frames.
    with tempfile.TemporaryFile() as messages:
        encoder = subprocess.Popen(
            [*program, *args], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=messages
        )
        assert encoder.stdin is not None
        try:
            for image in images:
                encoder.stdin.write(image)
            encoder.stdin.close()
            code = encoder.wait()
        except BrokenPipeError:  # ffmpeg has ended; its messages say why
            code = encoder.wait() or 1
        finally:
            # Does nothing after a regular end; after Ctrl-C no encoder is left behind.
            encoder.kill()
            encoder.wait()
        if code != 0:
            messages.seek(0)
            errors = complaints(messages.read().decode(errors="replace").splitlines())
            raise RenderError(f"ffmpeg failed: {errors[-1] if errors else f'exit code {code}'}")
