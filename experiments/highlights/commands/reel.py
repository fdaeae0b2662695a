"""`reel`: from scores that are there to a reel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import tyro
from tyro.conf import Positional

from experiments.highlights.reel_options import ReelOptions


@dataclass(frozen=True)
class Reel(ReelOptions):
    """Choose the highlights of a recording by its scores, and render them as one video."""

    scores: Positional[Path] = tyro.MISSING
    """CSV with the columns time_seconds and probability."""
    recording: Positional[tuple[Path, ...]] = tyro.MISSING
    """A video, or several in order; or a folder of part0.mp4 ... part10.mp4, or of what OBS or a
    GoPro has split; or what the names begin with."""

    going_on: ClassVar[str] = "Nothing half-made is left; the same command begins anew."

    def run(self) -> int:
        """Select and render; the exit code."""
        from experiments.highlights.selection.scores_file import read_scores
        from experiments.media.chunk_files import recording_files
        from experiments.media.recording import recording_duration

        read_scores(self.scores)  # what is wrong with the file alone is said first
        with self.opened(recording_files(self.recording, print), self.scores) as chunks:
            scores = read_scores(self.scores, duration=recording_duration(chunks))
            return self.make(chunks, scores)
