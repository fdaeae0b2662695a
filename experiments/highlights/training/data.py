"""Training and validation data of a scorer: labels and shards, joined and split by group."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from common.formatting import plural
from experiments.clips.images import Box, ImageSettings
from experiments.highlights.labels import Interval, LabelledClip, read_labels
from experiments.highlights.training.examples import (
    Examples,
    ImageClip,
    join_labels,
    make_examples,
    open_images,
)


@dataclass(frozen=True)
class TrainingData:
    """Pictures to train on and to validate with; no group is in both.

    Args:
        settings: how the pictures are made.
        train: pictures to learn from.
        validation: pictures that choose the best epoch and the threshold.
        box: box that all clips are labelled with; None where they differ.
        notes: sentences for the user about clips that were left out.
    """

    settings: ImageSettings
    train: Examples
    validation: Examples
    box: Box | None
    notes: list[str]

    @property
    def subsets(self) -> dict[str, Examples]:
        """Training and validation examples by the names of the parts."""
        return {"training": self.train, "validation": self.validation}


def read_training_data(
    labels: Path, shards: Path, *, validation_share: float, seed: int, allow_failures: bool = False
) -> TrainingData:
    """Join a label file and its shards, and split them.

    Args:
        labels: label file of either kind.
        shards: folder that `extract` made from it.
        validation_share: wanted fraction of clips in the validation part, in (0, 1).
        seed: seed of the split.
        allow_failures: whether to leave out labelled clips that the shards lack.

    Raises:
        ValueError, ShardError, OSError: if one of them is not what it should be, or a part of
            the split would be without highlights, or have nothing else.
    """
    clips = read_labels(labels)
    images = open_images(shards)
    joined = join_labels(clips, images, labels=labels, allow_missing=allow_failures)
    # Split only now: a group whose clips have no pictures must not take up a part.
    known = [clip.labels for clip in joined.clips]
    everything = make_examples(joined.clips)
    subsets = split_clips(known, validation_share=validation_share, seed=seed)
    train, validation = (everything.of(subset) for subset in subsets)
    _require_both(train, "training", labels)
    _require_both(validation, "validation", labels)
    assert isinstance(images.settings, ImageSettings)
    boxes = {clip.box for clip in known}
    notes = []
    if joined.missing:
        number = plural(len(joined.missing), "labelled clip")
        notes.append(f"{number} without pictures in {shards}: left out.")
    if joined.unlabelled:
        number = plural(joined.unlabelled, "clip")
        notes.append(f"{number} of {shards} not in {labels}: passed over.")
    if blank := sum(clip.is_blank for clip in clips):
        notes.append(f"{plural(blank, 'clip')} of which {labels} says nothing: passed over.")
    return TrainingData(
        settings=images.settings,
        train=train,
        validation=validation,
        box=boxes.pop() if len(boxes) == 1 else None,
        notes=notes,
    )


def balance_of(examples: Examples) -> ClassBalance:
    """Class balance of the clips of some examples, in seconds."""
    durations = [_duration(clip) for clip in examples.clips]
    return class_balance([clip.labels for clip in examples.clips], durations)


def describe(name: str, examples: Examples) -> str:
    """Describe a part in one line: clips, groups, pictures and the balance of the classes."""
    balance = balance_of(examples)
    groups = len(examples.groups)
    hard = f", {examples.hard.sum():,} of them hard negatives" if examples.hard.any() else ""
    return (
        f"{name}: {plural(len(examples.clips), 'clip')} of {plural(groups, 'group')}, "
        f"{len(examples):,} pictures, {examples.num_positive:,} of highlights "
        f"({examples.num_positive / len(examples):.0%}; {balance.positive_seconds:.0f} of "
        f"{balance.total_seconds:.0f} s){hard}"
    )


def _duration(clip: ImageClip) -> float:
    """Length of a clip in seconds, up to the end of the step that its last picture stands for."""
    times = clip.images.times
    if len(times) < 2:
        return float(times[-1]) + 1.0 if len(times) else 0.0
    # The last picture stands for one more step, of the mean length.
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


Totals = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class ClassBalance:
    """Seconds of highlights and of all that is labelled."""

    positive_seconds: float
    total_seconds: float

    @property
    def share(self) -> float:
        """Fraction of the labelled time that is highlights; 0 where nothing is labelled."""
        return self.positive_seconds / self.total_seconds if self.total_seconds else 0.0


def class_balance(clips: Sequence[LabelledClip], durations: Sequence[float]) -> ClassBalance:
    """Count the seconds of highlights and of all that is labelled.

    Args:
        clips: labelled clips. Of a clip whose rest is unknown only its stretches count.
        durations: length of each clip in seconds; a stretch counts up to its end.
    """
    positive = total = 0.0
    for clip, duration in zip(clips, durations, strict=True):
        positive += _covered(clip.highlights, duration)
        stretches = (*clip.highlights, *clip.negatives)
        total += duration if clip.rest_known else _covered(stretches, duration)
    return ClassBalance(positive, total)


def _covered(stretches: Iterable[Interval], duration: float) -> float:
    """Seconds of [0, duration) that lie in any stretch; stretches may overlap each other."""
    covered = reached = 0.0
    for one in sorted(stretches):
        end = min(one.end, duration)
        # Only what lies behind the stretches so far is new.
        covered += max(0.0, end - max(one.start, reached))
        reached = max(reached, end)
    return covered


def split_clips(
    clips: Sequence[LabelledClip], *, validation_share: float, seed: int = 0
) -> tuple[list[LabelledClip], list[LabelledClip]]:
    """Split clips into training and validation clips, each in the order given.

    Groups stay whole. Groups are taken in a random order into the validation part as long as
    that brings its share of the clips and its share of the highlights' seconds closer to the
    wanted one. Both parts have highlights if two groups have any; with one, training has it. A
    group with a clip of which the rest is unknown, such as a reviewed recording, is trained on if
    others can validate: its labels are those that a scorer asked for. A clip of which nothing is
    known counts for nothing. The split does not depend on the order of
    the clips.

    Args:
        clips: labelled clips.
        validation_share: wanted fraction of the validation part, in (0, 1).
        seed: seed of the order in which groups are taken.

    Returns:
        Training clips and validation clips.

    Raises:
        InputError: if the share is out of its range, or all clips are of one group.
    """
    if not 0 < validation_share < 1:
        raise InputError(f"validation_share must be between 0 and 1. Received {validation_share}.")
    known = [clip for clip in clips if not clip.is_blank]
    totals = _totals(known)
    if len(totals) < 2:
        raise InputError(
            f"A split needs labelled clips of at least 2 groups. Received {len(known)} clips of "
            f"{len(totals)}; label more clips, or give them different groups."
        )
    partly = {clip.group for clip in known if not clip.rest_known}
    chosen = _choose(totals, validation_share, seed, partly)
    train = [clip for clip in clips if clip.group not in chosen]
    return train, [clip for clip in clips if clip.group in chosen]


def _totals(clips: Sequence[LabelledClip]) -> Totals:
    """Number of clips and seconds of highlights of each group, shape (2,) each."""
    totals: Totals = {}
    for clip in clips:
        positive = sum(interval.end - interval.start for interval in clip.highlights)
        totals[clip.group] = totals.get(clip.group, np.zeros(2)) + np.array([1, positive])
    return totals


def _choose(totals: Totals, share: float, seed: int, partly: Collection[str]) -> set[str]:
    names = sorted(totals)
    # Sorted before it is shuffled, so that rows of the label file may be moved without another
    # split.
    order = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    positive = {name for name in names if totals[name][1] > 0}
    if len(positive) > 1 and positive - set(partly):
        order = [name for name in order if name not in partly]
    chosen: set[str] = set()
    for name in order:
        closer = _distance(totals, {*chosen, name}, share) < _distance(totals, chosen, share)
        if closer and _may_leave(name, chosen, names, positive):
            chosen.add(name)
    # Where no group came closer, the one that misses the wanted share least is taken, so that
    # neither part is empty or without highlights.
    lacks_highlights = len(positive) > 1 and not chosen & positive
    if lacks_highlights or not chosen:
        wanted = positive if lacks_highlights else set(names)
        able = [name for name in order if name in wanted - chosen]
        able = [name for name in able if _may_leave(name, chosen, names, positive)]
        chosen.add(min(able, key=lambda name: _distance(totals, {*chosen, name}, share)))
    return chosen


def _may_leave(
    name: str, chosen: Collection[str], names: Collection[str], positive: Collection[str]
) -> bool:
    """Return whether training keeps a group without this one, with highlights if there are any."""
    rest = set(names) - {*chosen, name}
    return bool(rest) and (not positive or bool(rest & set(positive)))


def _distance(totals: Totals, chosen: Collection[str], share: float) -> float:
    """Distance of the shares of clips and of highlights from the wanted one, summed."""
    everything = sum(totals.values(), np.zeros(2))
    part = sum((totals[name] for name in chosen), np.zeros(2))
    # Without any highlights only the share of the clips counts.
    shares = part / np.where(everything > 0, everything, 1)
    return float(np.abs(shares - share)[everything > 0].sum())
