"""Extraction of labelled clips to shards of the pictures that a model is trained on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.clips.images import WHOLE, ImageSettings, LabelledVideo, TimeRange
from experiments.highlights.labels import LabelledClip
from preprocess.extraction.extract import ExtractionSummary, extract_clips
from preprocess.shards.reader import Shards, open_shards

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
