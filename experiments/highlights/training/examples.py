"""Labelled pictures: their extraction to shards, and labels and shards joined."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from experiments.clips.images import WHOLE, ImageSettings, LabelledVideo, TimeRange
from experiments.highlights.labels import LabelledClip, is_highlight
from preprocess.extraction.extract import ExtractionSummary, extract_clips
from preprocess.shards.reader import ShardClip, Shards, open_shards

_CLASS = "clip"  # labels are joined when a model is trained: they change, the pictures do not


def extract_images(
    clips: Sequence[LabelledClip],
    shards: Path,
    settings: ImageSettings,
    *,
    labels_folder: Path,
    command: str,
    **options: Any,
) -> ExtractionSummary:
    """Write the pictures of labelled clips to shards. Clips that are there already are kept.

    Of a clip of which only stretches are labelled, only these are read.

    Args:
        clips: clips from `read_labels`.
        shards: directory to write to.
        settings: how the pictures are made.
        labels_folder: folder relative to which the clips' paths are stored.
        command: shell command that repeats this call, for messages.
        options: further arguments of `preprocess.extraction.extract.extract_clips`.

    Raises:
        PreprocessError: for the reasons of `extract_clips`.
    """
    videos = sorted(
        # By name, so that rows of the label file may be moved without other shards.
        (labelled_video(clip, labels_folder) for clip in clips),
        key=lambda one: one.source,
    )
    return extract_clips(
        videos,
        shards,
        settings,
        dataset="highlights",
        class_names=(_CLASS,),
        command=command,
        **options,
    )


def open_images(shards: Path) -> Shards:
    """Open the directory that `extract_images` wrote.

    Raises:
        ShardError: if there is none, or it is not complete.
    """
    made_by = "python -m experiments.highlights extract LABELS"
    return open_shards(shards, ImageSettings, made_by=made_by)


def source_of(clip: LabelledClip, labels_folder: Path) -> str:
    """Name of a clip in the shards: its path relative to the labels' folder."""
    return Path(os.path.relpath(clip.path, labels_folder)).as_posix()


def labelled_video(clip: LabelledClip, labels_folder: Path) -> LabelledVideo:
    """Describe what to extract of a clip.

    Its `detail`, kept in the shards, tells later whether box and stretches are still the same.
    """
    stretches = _wanted(clip)
    detail = f"{clip.box}"
    if stretches != WHOLE:
        # Only where not all of the clip is wanted, so that most clips have the box alone as their
        # detail.
        detail += " seconds " + ", ".join(f"{start:g} to {end:g}" for start, end in stretches)
    return LabelledVideo(
        path=clip.path,
        source=source_of(clip, labels_folder),
        class_name=_CLASS,
        group="",
        detail=detail,
        box=clip.box,
        stretches=stretches,
    )


def _wanted(clip: LabelledClip) -> tuple[TimeRange, ...]:
    if clip.rest_known:
        return WHOLE
    return tuple((one.start, one.end) for one in sorted((*clip.highlights, *clip.negatives)))


_MAX_NAMED = 3  # clips that an error names


@dataclass(frozen=True)
class ImageClip:
    """A labelled clip with its pictures."""

    labels: LabelledClip
    images: ShardClip

    @property
    def source(self) -> str:
        """Name of the clip in the shards."""
        return self.images.source

    @property
    def group(self) -> str:
        """Group of the clip; a split never separates clips of one group."""
        return self.labels.group


@dataclass(frozen=True)
class Joined:
    """Labelled clips that have pictures, and what was left out.

    Args:
        clips: clips in the order of the labels.
        missing: names of labelled clips that the shards lack.
        unlabelled: number of clips in the shards that have no labels.
    """

    clips: list[ImageClip]
    missing: list[str]
    unlabelled: int


@dataclass(frozen=True)
class Examples:
    """Labelled pictures, N in all, clip by clip.

    Args:
        clips: clips that the pictures are of.
        clip: index of each picture's clip, (N,).
        frame: index of the picture within its clip, (N,).
        time: time at which it is shown, in seconds of the clip, (N,).
        label: 1 in a highlight, else 0, (N,).
        hard: whether it lies in a stretch that was mistaken for a highlight, (N,).
    """

    clips: list[ImageClip]
    clip: NDArray[np.int64]
    frame: NDArray[np.int64]
    time: NDArray[np.float64]
    label: NDArray[np.int32]
    hard: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def num_positive(self) -> int:
        """Number of pictures in highlights."""
        return int(self.label.sum())

    @property
    def groups(self) -> list[str]:
        """Names of the clips' groups, sorted, each once."""
        return sorted({clip.group for clip in self.clips})

    def of(self, clips: Collection[LabelledClip]) -> Examples:
        """Examples of some of the clips, in the same order."""
        wanted = {clip.path for clip in clips}
        return make_examples([clip for clip in self.clips if clip.labels.path in wanted])


def join_labels(
    clips: Sequence[LabelledClip],
    shards: Shards,
    *,
    labels: Path,
    allow_missing: bool = False,
) -> Joined:
    """Find the pictures of labelled clips.

    Args:
        clips: clips from `read_labels`; those of which nothing is known are left out.
        shards: shards from `open_images`.
        labels: file from which the clips were read.
        allow_missing: whether to leave out clips that the shards lack, if there are others.

    Raises:
        InputError: if a clip is not in the shards, or they hold pictures of another part of it.
    """
    # Labels and shards name a clip in the same way: by its path relative to the label file.
    places = {source: i for i, source in enumerate(shards.sources)}
    sources = {source_of(clip, labels.parent): clip for clip in clips}
    labelled = {source: clip for source, clip in sources.items() if not clip.is_blank}
    missing = [source for source in labelled if source not in places]
    found = [source for source in labelled if source in places]
    if not found or (missing and not allow_missing):
        raise InputError(_missing(missing, len(labelled), shards, labels))
    joined = [ImageClip(sources[source], shards[places[source]]) for source in found]
    # A box or stretch that was changed after `extract` would put labels on the wrong pictures.
    changed = [clip.source for clip in joined if not _is_current(clip, labels.parent)]
    if changed:
        raise InputError(
            f"The labels have changed since the pictures in {shards.folder} were made: of "
            f"{_named(changed)} they show another part. Make them again: {_command(labels, shards)}"
        )
    return Joined(joined, missing, len(places.keys() - sources.keys()))


def make_examples(clips: Sequence[ImageClip]) -> Examples:
    """Collect the labelled pictures of some clips."""
    columns = [_of_clip(number, clip) for number, clip in enumerate(clips)]
    clip, frame, time, label, hard = (
        # The empty array gives the type where there are no clips.
        np.concatenate([np.empty(0, kind), *(column[place] for column in columns)])
        for place, kind in enumerate((np.int64, np.int64, np.float64, np.int32, np.bool_))
    )
    return Examples(list(clips), clip, frame, time, label, hard)


def _of_clip(number: int, clip: ImageClip) -> tuple[NDArray, ...]:
    """Columns of `Examples` for the labelled pictures of one clip."""
    times = clip.images.times
    label = np.array([is_highlight(clip.labels, time) for time in times], bool)
    hard = np.array([_is_hard(clip.labels, time) for time in times], bool)
    # Inside a labelled stretch, or anywhere if the rest of the clip is known.
    known = np.flatnonzero(label | hard | clip.labels.rest_known)
    number_of_each = np.full(len(known), number)
    return number_of_each, known, times[known], label[known].astype(np.int32), hard[known]


def _is_hard(clip: LabelledClip, time: float) -> bool:
    return any(stretch.start <= time < stretch.end for stretch in clip.negatives)


def _is_current(clip: ImageClip, labels_folder: Path) -> bool:
    """Return whether the pictures show the box and the stretches that the labels name now."""
    return clip.images.detail == labelled_video(clip.labels, labels_folder).detail


def _missing(missing: Sequence[str], num_labelled: int, shards: Shards, labels: Path) -> str:
    if not num_labelled:
        return f"{labels} says nothing of any clip: label at least one highlight."
    failed = ""
    if shards.num_failed:
        failed = (
            f" {shards.num_failed} could not be read, see {shards.folder / 'failures.csv'}: "
            "--allow-failures goes on without them."
        )
    return (
        f"{len(missing)} of {num_labelled} labelled clips have no pictures in {shards.folder}: "
        f"{_named(missing)}. Make them: {_command(labels, shards)}{failed}"
    )


def _named(sources: Sequence[str]) -> str:
    more = f" and {len(sources) - _MAX_NAMED} more" if len(sources) > _MAX_NAMED else ""
    return ", ".join(sources[:_MAX_NAMED]) + more


def _command(labels: Path, shards: Shards) -> str:
    return f"python -m experiments.highlights extract {labels} {shards.folder}"
