"""The built-in demo of the highlights: labelled clips of a streamer, and a long recording.

Everything is drawn and computed, from a seed: see `plan` for what happens. The colours of
the game, of the face and of its room differ by group, and the recording is a group of its own,
so what is learnt by heart there fails here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import joblib
from tqdm import tqdm

from common.errors import WriteError
from common.files import write_text
from experiments.highlights.demo.picture import FACE_BOX, SIZE, pictures
from experiments.highlights.demo.plan import Kind, StreamPlan, plan_clips, plan_recording
from experiments.highlights.demo.sound import SAMPLE_RATE, stream_sound
from experiments.highlights.demo.video import write_video
from experiments.highlights.labels import Interval, LabelledClip, write_labels
from preprocess.errors import PreprocessError
from preprocess.system.machine import available_cpus

STAMP_NAME = "stream.json"
LABELS_NAME = "labels.csv"
TRUTH_NAME = "truth.csv"
RECORDING_NAME = "recording"
RENDERER_VERSION = 1  # raise when the same arguments draw another stream


@dataclass(frozen=True)
class _Video:
    """A file, and which pictures of which stream it holds."""

    path: Path
    plan: StreamPlan
    frames: range

    @property
    def seconds(self) -> float:
        """How long it is."""
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
        num_clips: labelled clips, three a group.
        clip_seconds: how long they are, within a tenth.
        num_chunks: files of the recording.
        chunk_seconds: how long each is, to the nearest picture.
        seed: 0 or more; another seed draws another stream.
        jobs: worker processes; None takes all cores this process may use.
        progress: whether to show a bar, with the time left, on stderr.

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
    """Mark `root` with what fills it, and refuse to mix it with anything else."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / STAMP_NAME
    if not path.exists():
        if any(root.glob("[!.]*")):
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
    """Write videos in parallel, the long ones first."""
    for folder in {video.path.parent for video in videos}:
        folder.mkdir(exist_ok=True)
    tasks = [joblib.delayed(_render_video)(video) for video in videos]
    workers = joblib.Parallel(n_jobs=jobs or available_cpus(), return_as="generator_unordered")
    total = round(sum(video.seconds for video in videos))
    num_threads = cv2.getNumThreads()
    try:
        with tqdm(total=total, desc="demo stream", unit="s", disable=not progress) as bar:
            done = 0.0
            for seconds in workers(tasks):
                done += seconds
                bar.update(round(done) - bar.n)
    finally:
        cv2.setNumThreads(num_threads)


def _render_video(video: _Video) -> float:
    """Write one video; its length in seconds."""
    cv2.setNumThreads(1)  # one core a worker
    start = float(video.frames.start / video.plan.rate)
    write_video(
        video.path,
        pictures(video.plan, video.frames),
        size=SIZE,
        rate=video.plan.rate,
        samples=stream_sound(video.plan, start, video.seconds),
        sample_rate=SAMPLE_RATE,
    )
    return video.seconds


def _labelled(root: Path, plan: StreamPlan) -> LabelledClip:
    highlights = tuple(Interval(one.start, one.end) for one in plan.of(Kind.EXCITED))
    return LabelledClip(_clip(root, plan).path, FACE_BOX, highlights, f"streamer{plan.group}")


def _truth_text(plan: StreamPlan) -> str:
    rows = [f"{one.start},{one.end}" for one in plan.of(Kind.EXCITED)]
    return "\n".join(["start,end", *rows, ""])
