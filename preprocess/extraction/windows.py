"""Lists of videos cut into windows of time: a split for data sets of one clip per class."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common.errors import WriteError
from common.files import not_written, write_text
from preprocess.errors import DecodeError, PreprocessError
from preprocess.sources.catalog import parse_clip_name
from preprocess.sources.clips import Clip, clips_of, list_videos, require_folder
from preprocess.sources.listed_clips import SUBSETS
from preprocess.video.decode import VideoReader
from preprocess.video.frame_folder import list_frames
from preprocess.video.transforms import FrameFit

_COLUMNS = ("video", "start", "stop", "start_frame", "stop_frame", "label", "group", "part")
_FEWEST = len(SUBSETS)  # a window for each of training, validation and test
_OTHER_FILE = "{file} is there, and is not this list. Name another, or pass --overwrite."


def write_windows(videos: Path, file: Path, *, num_windows: int, overwrite: bool = False) -> int:
    """Write a list of all clips below a folder, each divided into windows of equal length.

    Of each clip the last window is for testing and the one before for validation; the others are
    for training. The windows of a clip in one part are a group. A video is divided by its
    timestamps, for which it is decoded once; a folder of frames by its frame numbers. The clips of
    a folder without class folders are labelled by their names.

    Args:
        videos: the folder, in a layout that `find_clips` knows.
        file: the list to write; its paths are relative to it. The same list may exist already.
        num_windows: number of windows of each clip, at least 3.
        overwrite: replace another file of that name.

    Returns:
        The number of clips.

    Raises:
        PreprocessError: if there are no clips, one cannot be read or is too short, another file
            exists, or the list cannot be written.
    """
    if file.suffix.lower() != ".csv":
        raise PreprocessError(f"A list must be called NAME.csv. Received {file}.")
    if num_windows < _FEWEST:
        raise PreprocessError(
            f"parts must be at least {_FEWEST}: {', '.join(SUBSETS)}. Received {num_windows}."
        )
    require_folder(videos)
    listing = list_videos(videos)
    clips = clips_of(videos, listing)
    # All that can be refused is refused here, before minutes of decoding.
    parent = next(folder for folder in file.absolute().parents if folder.exists())
    if file.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK):
        raise PreprocessError(f"{file} cannot be written; name another file.")
    if not overwrite and file.exists() and not _could_be_of(file, clips, num_windows):
        raise PreprocessError(_OTHER_FILE.format(file=file))
    if listing.notice:
        tqdm.write(f"{videos}: {listing.notice}")
    rows = _rows(clips, videos, file, num_windows)
    _write(file, _as_csv(rows), overwrite)
    return len(rows) // num_windows


def _could_be_of(file: Path, clips: Sequence[Clip], num_windows: int) -> bool:
    """Return True if a file has as many lines as the list of these clips.

    A cheap check before decoding; `_write` compares the text itself.
    """
    try:
        return len(file.read_text(encoding="utf-8").splitlines()) == 1 + len(clips) * num_windows
    except (OSError, UnicodeDecodeError):
        return False


def _rows(
    clips: Sequence[Clip], videos: Path, file: Path, num_windows: int
) -> list[dict[str, str]]:
    """Rows of the list, the windows of a clip in order of time."""
    root, folder = videos.resolve(), file.parent.resolve()
    by_name = all(_is_nameless(clip) for clip in clips)
    # Training comes first in time, so that the test windows are the farthest from it.
    subsets = ["train"] * (num_windows - 2) + ["validation", "test"]
    rows = []
    for clip in tqdm(clips, unit="clip", desc="timing"):
        label = PurePosixPath(clip.source).stem if by_name else clip.class_name
        video = Path(os.path.relpath(root / clip.source, folder)).as_posix()
        for subset, window in zip(subsets, _windows(clip, num_windows), strict=True):
            group = f"{clip.source}/{subset}"
            rows.append({"video": video, "label": label, "group": group, "part": subset} | window)
    return rows


def _as_csv(rows: Sequence[dict[str, str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write(file: Path, text: str, overwrite: bool) -> None:
    try:
        if not overwrite and file.exists() and file.read_bytes() != text.encode():
            raise PreprocessError(_OTHER_FILE.format(file=file))
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    except (OSError, WriteError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PreprocessError(
            f"{not_written(file, reason)} Make room or name another, then run the same command "
            "again."
        ) from error


def _is_nameless(clip: Clip) -> bool:
    """Return True if neither a folder nor its name gives a clip's class."""
    place = PurePosixPath(clip.source)
    return len(place.parts) == 1 and parse_clip_name(place.name) is None


def _windows(clip: Clip, num_windows: int) -> Iterator[dict[str, str]]:
    """Yield the cells that describe each window of a clip."""
    is_folder = clip.path.is_dir()
    try:
        moments = list_frames(clip.path).numbers if is_folder else _timestamps(clip.path)
    except DecodeError as error:
        raise PreprocessError(f"{clip.path}: {error}. Mend or remove it.") from error
    edges = _edges(moments, num_windows, digits=0 if is_folder else 3)
    if len(set(np.digitize(moments, edges).clip(1, num_windows))) < num_windows:
        raise PreprocessError(
            f"Each window must hold a frame. {clip.path} has {len(moments)} frames for "
            f"{num_windows} windows; cut into fewer, or remove it."
        )
    for start, stop in pairwise(edges):
        # Frame numbers of a list are inclusive. The last window of a video has no stop, so that
        # rounding to milliseconds cannot cut off its last frame.
        if is_folder:
            yield {"start_frame": f"{start:.0f}", "stop_frame": f"{stop - 1:.0f}"}
        else:
            yield {"start": f"{start:.3f}", "stop": "" if stop == edges[-1] else f"{stop:.3f}"}


def _edges(moments: Sequence[float], num_windows: int, *, digits: int) -> NDArray[np.float64]:
    """Edges of windows of equal length, (num_windows + 1,); the last is the end of the clip."""
    # The last frame is shown as long as the one before it.
    step = moments[-1] - moments[-2] if len(moments) > 1 else 1
    return np.linspace(moments[0], moments[-1] + step, num_windows + 1).round(digits)


def _timestamps(path: Path) -> list[float]:
    """Presentation time of each frame of a video, in seconds."""
    times = []
    with VideoReader(path, fit=FrameFit((1, 1))) as video:
        while video.pass_over():
            times.append(video.time_seconds)
    if not times:
        raise DecodeError("no frame could be decoded")
    return times
