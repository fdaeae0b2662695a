"""Labels and shards joined: every picture that something is known of, with its label."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from experiments.highlights.labels import LabelledClip, is_highlight
from experiments.highlights.scoring.extraction import labelled_video, source_of
from preprocess.shards.reader import ShardClip, Shards

_MAX_NAMED = 3


@dataclass(frozen=True)
class PictureClip:
    """A labelled clip with its pictures."""

    labels: LabelledClip
    pictures: ShardClip

    @property
    def source(self) -> str:
        """What it is called in the shards."""
        return self.pictures.source

    @property
    def group(self) -> str:
        """Clips of one group never come apart in a split."""
        return self.labels.group


@dataclass(frozen=True)
class Joined:
    """The labelled clips that have pictures, and what was passed over.

    Args:
        clips: in the order of the labels.
        missing: labelled clips that the shards lack, by their name there.
        unlabelled: how many clips of the shards no label speaks of.
    """

    clips: list[PictureClip]
    missing: list[str]
    unlabelled: int


@dataclass(frozen=True)
class Examples:
    """Pictures of which it is known whether they show a highlight; N in all, clip by clip.

    Args:
        clips: that they are of.
        clip: number of each one's clip, (N,).
        frame: its number among the clip's pictures, (N,).
        time: when it is shown, in seconds of the clip, (N,).
        label: 1 in a highlight, else 0, (N,).
        hard: whether it lies in a stretch that was mistaken for a highlight, (N,).
    """

    clips: list[PictureClip]
    clip: NDArray[np.int64]
    frame: NDArray[np.int64]
    time: NDArray[np.float64]
    label: NDArray[np.int32]
    hard: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def num_positive(self) -> int:
        """Pictures in highlights."""
        return int(self.label.sum())

    @property
    def groups(self) -> list[str]:
        """Of the clips, sorted, each once."""
        return sorted({clip.group for clip in self.clips})

    def of(self, clips: Collection[LabelledClip]) -> Examples:
        """Those of some of the clips, in the same order."""
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
        clips: from `read_labels`; those of which nothing is known are left out.
        shards: from `open_pictures`.
        labels: the file that the clips were read from.
        allow_missing: go on without clips that the shards lack, as long as there are others.

    Raises:
        InputError: if a clip is not in the shards, or they hold pictures of another part of it.
    """
    places = {source: i for i, source in enumerate(shards.sources)}
    sources = {source_of(clip, labels.parent): clip for clip in clips}
    told = {source: clip for source, clip in sources.items() if not clip.is_blank}
    missing = [source for source in told if source not in places]
    found = [source for source in told if source in places]
    if not found or (missing and not allow_missing):
        raise InputError(_missing(missing, len(told), shards, labels))
    joined = [PictureClip(sources[source], shards[places[source]]) for source in found]
    changed = [clip.source for clip in joined if not _is_current(clip, labels.parent)]
    if changed:
        raise InputError(
            f"The labels have changed since the pictures in {shards.folder} were made: of "
            f"{_named(changed)} they show another part. Make them again: {_command(labels, shards)}"
        )
    return Joined(joined, missing, len(places.keys() - sources.keys()))


def make_examples(clips: Sequence[PictureClip]) -> Examples:
    """All pictures of some clips that something is known of."""
    columns = [_of_clip(number, clip) for number, clip in enumerate(clips)]
    clip, frame, time, label, hard = (
        np.concatenate([np.empty(0, kind), *(column[place] for column in columns)])
        for place, kind in enumerate((np.int64, np.int64, np.float64, np.int32, np.bool_))
    )
    return Examples(list(clips), clip, frame, time, label, hard)


def _of_clip(number: int, clip: PictureClip) -> tuple[NDArray, ...]:
    """Columns of a clip's known pictures."""
    times = clip.pictures.times
    label = np.array([is_highlight(clip.labels, time) for time in times], bool)
    hard = np.array([_is_hard(clip.labels, time) for time in times], bool)
    known = np.flatnonzero(label | hard | clip.labels.rest_known)
    number_of_each = np.full(len(known), number)
    return number_of_each, known, times[known], label[known].astype(np.int32), hard[known]


def _is_hard(clip: LabelledClip, time: float) -> bool:
    return any(stretch.start <= time < stretch.end for stretch in clip.negatives)


def _is_current(clip: PictureClip, labels_folder: Path) -> bool:
    """Whether its pictures are of the box and the stretches that the labels name today."""
    return clip.pictures.detail == labelled_video(clip.labels, labels_folder).detail


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
