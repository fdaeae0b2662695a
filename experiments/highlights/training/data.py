"""What a scorer is trained and validated on: labels and shards, joined and split by group."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from experiments.highlights.labels.labels import read_labels
from experiments.highlights.labels.splits import ClassBalance, class_balance, split_clips
from experiments.highlights.labels.types import Box
from experiments.highlights.scoring.extraction import open_pictures
from experiments.highlights.scoring.pictures import PictureSettings
from experiments.highlights.training.examples import (
    Examples,
    PictureClip,
    join_labels,
    make_examples,
)


@dataclass(frozen=True)
class TrainingData:
    """Pictures to train on and to validate with; no group is in both.

    Args:
        settings: how the pictures are made.
        train: to learn from.
        validation: to choose the best epoch and the threshold by.
        box: that all clips are labelled with; None where they differ.
        notes: what was passed over, in words.
    """

    settings: PictureSettings
    train: Examples
    validation: Examples
    box: Box | None
    notes: list[str]

    @property
    def parts(self) -> dict[str, Examples]:
        """Both, by their names."""
        return {"training": self.train, "validation": self.validation}


def read_training_data(
    labels: Path, shards: Path, *, validation_share: float, seed: int, allow_failures: bool = False
) -> TrainingData:
    """Join a label file and its shards, and split them.

    Args:
        labels: of either kind.
        shards: what `extract` made of it.
        validation_share: wanted share of the validation part, in (0, 1).
        seed: of the split.
        allow_failures: go on without labelled clips that the shards lack.

    Raises:
        ValueError, ShardError, OSError: if one of them is not what it should be, or a part of
            the split would be without highlights, or have nothing else.
    """
    clips = read_labels(labels)
    pictures = open_pictures(shards)
    joined = join_labels(clips, pictures, labels=labels, allow_missing=allow_failures)
    known = [clip.labels for clip in joined.clips]
    everything = make_examples(joined.clips)
    parts = split_clips(known, validation_share=validation_share, seed=seed)
    train, validation = (everything.of(part) for part in parts)
    _require_both(train, "training", labels)
    _require_both(validation, "validation", labels)
    assert isinstance(pictures.settings, PictureSettings)
    boxes = {clip.box for clip in known}
    notes = []
    if joined.missing:
        number = _number(len(joined.missing), "labelled clip")
        notes.append(f"{number} without pictures in {shards}: left out.")
    if joined.unlabelled:
        number = _number(joined.unlabelled, "clip")
        notes.append(f"{number} of {shards} not in {labels}: passed over.")
    if blank := sum(clip.is_blank for clip in clips):
        notes.append(f"{_number(blank, 'clip')} of which {labels} says nothing: passed over.")
    return TrainingData(
        settings=pictures.settings,
        train=train,
        validation=validation,
        box=boxes.pop() if len(boxes) == 1 else None,
        notes=notes,
    )


def balance_of(examples: Examples) -> ClassBalance:
    """Seconds of highlights among those that are labelled."""
    durations = [_duration(clip) for clip in examples.clips]
    return class_balance([clip.labels for clip in examples.clips], durations)


def describe(name: str, examples: Examples) -> str:
    """A part in one line: clips, groups, pictures and the balance of the classes."""
    balance = balance_of(examples)
    groups = len(examples.groups)
    hard = f", {examples.hard.sum():,} of them hard negatives" if examples.hard.any() else ""
    return (
        f"{name}: {_number(len(examples.clips), 'clip')} of {_number(groups, 'group')}, "
        f"{len(examples):,} pictures, {examples.num_positive:,} of highlights "
        f"({examples.num_positive / len(examples):.0%}; {balance.positive_seconds:.0f} of "
        f"{balance.total_seconds:.0f} s){hard}"
    )


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _duration(clip: PictureClip) -> float:
    """To the end of the step that the last picture stands for, in seconds."""
    times = clip.pictures.times
    if len(times) < 2:
        return float(times[-1]) + 1.0 if len(times) else 0.0
    return float(times[-1] + (times[-1] - times[0]) / (len(times) - 1))


def _require_both(examples: Examples, name: str, labels: Path) -> None:
    positive, total = examples.num_positive, len(examples)
    if not 0 < positive < total:
        what = "pictures of highlights" if not positive else "pictures without a highlight"
        raise InputError(
            f"The {name} part needs pictures of highlights and others. It has {total:,} pictures, "
            f"{positive:,} of highlights; label more clips in {labels} that have {what}, in more "
            "groups, or choose another --seed or --validation-share."
        )
