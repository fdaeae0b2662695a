"""Plan of an extraction: what is left to do in a directory of shards, and whether it may be.

A second run of the same command decodes only clips that are missing or have changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.files import TEMPORARY_GLOB, remove_partials
from preprocess.errors import DecodeError, PreprocessError, ShardError
from preprocess.shards.index import FILE_NAME, LABELS_NAME, DatasetIndex
from preprocess.shards.schema import SHARD_GLOB, ClipRecord, read_records
from preprocess.shards.settings import StoredSettings
from preprocess.sources.clips import Clip, holds_videos
from preprocess.video.frame_folder import list_frames

REPORT_FILES = ("failures.csv", "statistics.json", "lengths.png")


@dataclass(frozen=True)
class Plan:
    """Work of an extraction.

    Args:
        todo: clips to decode, sorted by source.
        stale: shards to remove first, because one of their clips changed or no longer exists.
        kept: records of the clips that are stored already.
    """

    todo: list[Clip]
    stale: list[Path]
    kept: list[ClipRecord]


def make_plan(clips: Sequence[Clip], folder: Path) -> Plan:
    """Compare the clips wanted with the shards that exist.

    Raises:
        ShardError: if the directory holds shards, but none of them a clip wanted.
    """
    wanted = {clip.source: clip for clip in clips}
    shards = {path: _records_or_none(path) for path in sorted(folder.glob(SHARD_GLOB))}
    # A directory without any clip in common is somebody's other data set, most likely named by
    # mistake; it would be emptied as stale.
    stored = sorted(record.source for records in shards.values() for record in records or ())
    if stored and not any(source in wanted for source in stored):
        raise ShardError(
            f"{folder} holds shards of other videos, {stored[0]} for instance. "
            "Name another directory, or pass --overwrite to replace them."
        )
    kept: dict[str, ClipRecord] = {}
    stale = []
    for path, records in shards.items():
        # A shard is kept or removed as a whole; its other clips are then decoded again. A clip in
        # two shards is kept once.
        if records and all(
            record.source not in kept and _is_current(record, wanted.get(record.source))
            for record in records
        ):
            kept |= {record.source: record for record in records}
        else:
            stale.append(path)
    todo = [clip for clip in clips if clip.source not in kept]
    return Plan(todo=todo, stale=stale, kept=list(kept.values()))


def _records_or_none(path: Path) -> list[ClipRecord] | None:
    """Records of a shard's clips; None for a damaged shard, which is made again."""
    try:
        return read_records(path)
    except ShardError:
        return None


def _is_current(record: ClipRecord, clip: Clip | None) -> bool:
    """Return True if a stored clip still agrees with its video file and folder."""
    if clip is None:
        return False
    stored = (record.class_name, record.group, record.detail)
    if stored != (clip.class_name, clip.group, clip.detail):
        return False
    try:
        return (record.size_bytes, record.mtime_ns) == _stamp(clip.path)
    except (OSError, DecodeError):
        return False


def _stamp(path: Path) -> tuple[int, int]:
    """Size in bytes and modification time of a video or of all its frames."""
    # As in make and rsync: reading all videos to compare their contents would take minutes.
    if path.is_dir():
        frames = list_frames(path)
        return frames.size_bytes, frames.mtime_ns
    file = path.stat()
    return file.st_size, file.st_mtime_ns


def split_clips(clips: Sequence[Clip], num_clips: int) -> list[tuple[Clip, ...]]:
    """Divide clips into runs of consecutive ones, each the clips of one task."""
    # Long enough not to make a file of every clip, short enough that all workers have work to the
    # end. The length depends on `num_clips` alone, so that the shards do not depend on the workers.
    length = min(max(num_clips // 64, 1), 16)
    return [tuple(clips[start : start + length]) for start in range(0, len(clips), length)]


def check_settings(index: DatasetIndex, settings: StoredSettings, folder: Path) -> None:
    """Refuse to mix frames made in different ways.

    Raises:
        ShardError: if the directory's settings differ.
    """
    there, wanted = index.settings.to_json(), settings.to_json()
    names = dict.fromkeys([*wanted, *there])
    differing = [name for name in names if wanted.get(name) != there.get(name)]
    if differing:
        found = ", ".join(f"{name} {there.get(name, 'as usual')}" for name in differing)
        asked = ", ".join(f"{name} {wanted.get(name, 'as usual')}" for name in differing)
        raise ShardError(
            f"{folder} was made with {found}; this run asks for {asked}. "
            "Name another directory, or pass --overwrite to replace it."
        )


def remove_temporary_files(folder: Path) -> None:
    """Remove temporary files of killed runs. Call it only with the lock held."""
    for path in folder.glob(TEMPORARY_GLOB):
        path.unlink(missing_ok=True)
    remove_partials(folder)


def remove_all(folder: Path) -> None:
    """Remove everything that an extraction writes. Call it only with the lock held."""
    for path in folder.glob(SHARD_GLOB):
        path.unlink()
    for name in (FILE_NAME, LABELS_NAME, *REPORT_FILES):
        (folder / name).unlink(missing_ok=True)


def require_directory(folder: Path) -> None:
    """Make the directory of shards.

    Raises:
        PreprocessError: if it cannot be made, or holds videos.
    """
    if not (folder / FILE_NAME).exists() and holds_videos(folder):
        raise PreprocessError(
            f"Shards need a directory of their own. {folder} holds videos; name another."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror
        raise PreprocessError(f"Cannot make the shards directory {folder}: {reason}.") from error
