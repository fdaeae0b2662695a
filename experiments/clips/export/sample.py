"""Find real frames to try a model on: a video, the run's clips, or the built-in demo set."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.clips.export.subjects import Subject
from experiments.clips.prediction.predict import sliding_windows
from preprocess.errors import PreprocessError
from preprocess.shards.reader import ShardClip, Shards, open_shards
from preprocess.sources.clips import Clip
from preprocess.sources.synthetic import render_dataset

# Most rows of a sample, and the memory that they take at most.
_MAX_ROWS, _MAX_BYTES = 64, 2**29
_WINDOWS_OF_A_VIDEO = 8
_DEMO_CLIPS = 3


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of a graph's input, with their labels and origin.

    Args:
        rows: views (T, H, W, 3) or images (H, W, 3), three or more.
        labels: their classes, (len(rows),); None if unknown.
        origin: description of where they come from.
    """

    rows: list[NDArray[Any]]
    labels: NDArray[np.int64] | None
    origin: str

    def batch(self, size: int) -> NDArray[Any]:
        """Stack the first rows to a batch, with clips cut to the shortest one."""
        rows = self.rows[:size]
        if rows[0].ndim == 3:
            return np.stack(rows)
        length = min(len(row) for row in rows)
        return np.stack([row[:length] for row in rows])


def find_sample(subject: Subject, *, run_dir: Path | None, video: Path | None) -> Sample:
    """Find real frames on which a model is tried.

    Args:
        subject: the model.
        run_dir: run whose clips are taken, only its test clips if it has named them.
        video: video that is taken in place of them.

    Raises:
        PreprocessError, OSError: if the video cannot be read.
    """
    if video is not None:
        return _of_videos(subject, [video], str(video))
    if run_dir is not None and (found := _of_run(subject, run_dir)):
        return found
    # A last resort: any real motion tells more about two runtimes than noise does.
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        options: Any = {"groups_per_class": 1, "clips_per_group": 1, "progress": False}
        render_dataset(Path(folder), **options)
        videos = sorted(Path(folder).rglob("*.mpg"))[:_DEMO_CLIPS]
        return _of_videos(subject, videos, "the built-in demo set")


def _of_videos(subject: Subject, videos: Sequence[Path], name: str) -> Sample:
    rows = [row for video in videos for row in _video_rows(subject, video)]
    if not rows:
        raise PreprocessError(f"no frame of {name} could be decoded")
    return Sample(_at_least_three(rows), None, f"{len(rows)} windows of {name}")


def _video_rows(subject: Subject, video: Path) -> Iterator[NDArray[Any]]:
    settings, window = replace(subject.frame_settings, max_frames=None), subject.window
    clip = Clip(video, source=video.name, class_name="", group="")
    with settings.open(clip, threads=1) as reader:
        windows = sliding_windows(
            reader, settings.frame_shape, window=window, hop=max(window // 2, 1)
        )
        for found in islice(windows, _WINDOWS_OF_A_VIDEO):
            yield subject.model_input(found.frames, (reader.info.width, reader.info.height))


def _of_run(subject: Subject, run_dir: Path) -> Sample | None:
    """Take clips from the shards that a run has used; None if these are gone or have changed."""
    config = run_dir / "config.json"
    folder = json.loads(config.read_text()).get("shards") if config.is_file() else None
    if not folder:
        return None
    try:
        with open_shards(folder, subject.settings_type) as shards:
            return _of_clips(subject, shards, _tested(run_dir, shards))
    except PreprocessError as error:
        print(f"The run's own clips cannot be taken: {error}")
        return None


def _tested(run_dir: Path, shards: Shards) -> list[ShardClip]:
    """List the clips that the run was tested on; all clips if it does not name them."""
    clips, table = list(shards), run_dir / "predictions.csv"
    if not table.is_file():
        return clips
    with table.open(newline="", encoding="utf-8") as file:
        tested = {row.get("clip") for row in csv.DictReader(file)}
    return [clip for clip in clips if clip.source in tested] or clips


def _of_clips(subject: Subject, shards: Shards, clips: list[ShardClip]) -> Sample | None:
    """Make a sample of clips that are evenly spread over all."""
    names = subject.about.class_names
    is_labelled = subject.about.kind == "clips"
    if is_labelled:
        clips = [clip for clip in clips if clip.class_name in names]
    if not clips:
        return None
    # Its size tells how many rows fit into the memory.
    first = _row(subject, shards, clips[0])
    number = min(max(3, min(_MAX_ROWS, _MAX_BYTES // first.nbytes)), len(clips))
    chosen = [clips[i] for i in np.linspace(0, len(clips) - 1, number).astype(int)]
    rows = [first, *(_row(subject, shards, clip) for clip in chosen[1:])]
    labels = np.array([names.index(clip.class_name) for clip in chosen]) if is_labelled else None
    origin = f"{number} clips of {shards.folder}"
    return Sample(_at_least_three(rows), labels if number >= 3 else None, origin)


def _row(subject: Subject, shards: Shards, clip: ShardClip) -> NDArray[Any]:
    """Read a clip as the model sees it; for a model of images, its first frame."""
    settings = subject.frame_settings
    if shards.settings.frame_shape != settings.frame_shape:
        raise PreprocessError(
            f"frames of {settings.size} are needed. {shards.folder} has {shards.settings.size}."
        )
    if subject.about.kind != "clips":
        return subject.model_input(clip.read(max_frames=1), clip.original_size)
    # Both count in frames of the video, and the shards may have left some out already.
    stride = max(settings.stride // shards.stride, 1)
    frames = clip.read(stride=stride, max_frames=settings.max_frames)
    return subject.model_input(frames, clip.original_size)


def _at_least_three(rows: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Add the first row mirrored, and upside down, if there are fewer than three rows."""
    # A batch of three is compared in any case. Axes count from the end: (..., H, W, 3).
    more = [rows[0][..., ::-1, :], rows[0][..., ::-1, :, :]]
    return rows + [np.ascontiguousarray(row) for row in more] if len(rows) < 3 else rows
