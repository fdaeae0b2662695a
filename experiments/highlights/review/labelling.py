"""Labelling of videos of which nothing is known yet: the state of a page is the label file itself.

Each change is written at once, so there is nothing to add or to save afterwards.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.errors import InputError
from experiments.clips.images import Box
from experiments.highlights.labels import Interval, LabelledClip, write_labels
from experiments.highlights.review.decisions import Decision, Decisions, Saved, merged_spans
from experiments.highlights.review.session import Session
from experiments.highlights.review.training_rows import (
    clip_place,
    clips_there,
    new_clip,
    shared_box,
)
from experiments.highlights.selection.selection import SelectionOptions
from experiments.media.recording import Chunk

_DIGITS = 3  # decimals of a second in the labels
_OPTIONS = SelectionOptions(bin_size=0.0, min_length=0.0)


class LabelFile:
    """Label file that the pages of several videos write.

    Args:
        path: the file, of our kind; made if it does not exist.

    Raises:
        LabelError: if it is of the original's kind, or a line of it is wrong.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clips: list[LabelledClip] = []
        self._content: bytes | None = None
        self._read()

    def find(self, video: Path) -> LabelledClip | None:
        """Return the clip of a video, or None."""
        place = clip_place(self.clips, video, self.path)
        return None if place is None else self.clips[place]

    def put(self, clip: LabelledClip) -> None:
        """Write a clip in place of what the file says of its video.

        Raises:
            WriteError: if the file cannot be written.
        """
        clips = list(self.clips)
        place = clip_place(clips, clip.path, self.path)
        clips = [*clips, clip] if place is None else [*clips[:place], clip, *clips[place + 1 :]]
        write_labels(self.path, clips)
        self._read()

    def check_unshared(self) -> None:
        """Check that nobody else has changed the file.

        Raises:
            InputError: if somebody has.
        """
        if (self.path.read_bytes() if self.path.exists() else None) != self._content:
            raise InputError(
                f"{self.path} was changed by somebody else, such as an editor. Stop the command, "
                "and start it again."
            )

    def _read(self) -> None:
        self._content = self.path.read_bytes() if self.path.exists() else None
        self.clips = clips_there(self.path)


class LabelSession(Session):
    """Labelling of one video: highlights, stretches that are none, and the box.

    Args:
        file: label file, shared by all videos.
        chunk: the video.
        box: box of a new clip; None for the one that all clips of the file share.
        group: group of a new clip.
    """

    is_labelling = True

    def __init__(self, file: LabelFile, chunk: Chunk, *, box: Box | None, group: str) -> None:
        self._file = file
        self._chunk = chunk
        self._default_box = box
        self._group = group
        # One score of nothing at all: no segment is automatic.
        super().__init__(np.zeros(1), np.zeros(1), chunk.duration, _OPTIONS, file.path)

    @property
    def box(self) -> Box | None:
        """Part of the picture that is labelled."""
        return self._saved.box or self._default_box or shared_box(self._file.clips)

    def _parse(self, content: bytes | None, start: float) -> Saved:
        clip = self._file.find(self._chunk.path)
        duration = self._chunk.duration
        if clip is None:
            return Saved(duration, start, start, Decisions())
        spans = [(one.start, one.end, True) for one in clip.highlights]
        # Negatives may overlap each other, and decisions may not.
        negatives = merged_spans((one.start, one.end) for one in clip.negatives)
        spans += [(*one, False) for one in negatives]
        decisions = Decisions(
            tuple(
                Decision(number, begin, end, kept)
                for number, (begin, end, kept) in enumerate(sorted(spans), 1)
            )
        )
        return Saved(duration, start, start, decisions, finished=clip.rest_known, box=clip.box)

    def _check_unshared(self) -> None:
        self._file.check_unshared()

    def _write(self, saved: Saved) -> None:
        before = self._file.find(self._chunk.path)
        box = saved.box or self.box
        clip = before or new_clip(self._chunk.path, self._file.path, box, self._group)
        self._file.put(
            LabelledClip(
                clip.path,
                box or clip.box,
                _intervals(saved.decisions, kept=True),
                clip.group,
                _intervals(saved.decisions, kept=False),
                rest_known=saved.finished,
            )
        )


def _intervals(decisions: Decisions, *, kept: bool) -> tuple[Interval, ...]:
    return tuple(
        Interval(round(one.start, _DIGITS), round(one.end, _DIGITS))
        for one in decisions
        if one.kept == kept
    )
