"""`review`: opens a page in the browser to go through the chosen highlights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import tyro
from tyro.conf import Positional, arg

from common.errors import InputError
from experiments.clips.images import parse_box
from experiments.highlights.commands.reel import check_crossfade, check_sound_track
from experiments.highlights.selection.segments import SelectionOptions

if TYPE_CHECKING:
    from experiments.highlights.review.desk import Desk
    from experiments.media.recording import Chunk


@dataclass(frozen=True)
class Review(SelectionOptions):
    """Go through the chosen highlights in the browser: accept, move, reject, add, render.

    The page is this machine's alone. What is decided is kept in SCORES.review.json, so that the
    same command goes on with it.
    """

    recording: Positional[tuple[Path, ...]] = tyro.MISSING
    """A video, or several in order; or a folder of part0.mp4 ... part10.mp4, or of what OBS or a
    GoPro has split; or what the names begin with."""
    scores: Path = tyro.MISSING
    """CSV with the columns time_seconds and probability."""
    out: Annotated[Path, arg(aliases=["-o"])] = Path("reel.mp4")
    """The reel; its cut list lies beside it."""
    labels: Path | None = None
    """Label file that decisions can be added to as training data."""
    box: str | None = None
    """x1,y1,x2,y2 of new labels, in fractions of the picture; by default that of the label file."""
    group: str | None = None
    """Of new labels; by default the recording's name."""
    snap: bool = True
    """Move each cut that nobody set to a quiet moment or a change of shot."""
    crossfade: float = 0.0
    """Seconds by which highlights overlap."""
    sound_track: int | None = None
    """Of several sound tracks, the one that the reel has, from 0; by default the first."""
    overwrite: bool = False
    """Replace a reel that exists without asking."""
    port: int = 0
    """Of the page; 0 takes one that is free."""
    open: bool = True
    """Open a browser. Other users of this machine may then see the address, token and all."""

    resume_hint: ClassVar[str] = "Decisions are kept; the same command goes on from there."

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crossfade(self.crossfade)
        check_sound_track(self.sound_track)

    def run(self) -> int:
        """Serve the page until Ctrl-C. Returns the exit code."""
        from experiments.highlights.rendering.opening import opened_recording
        from experiments.highlights.review.server import serve
        from experiments.media.chunk_files import recording_files

        files = recording_files(self.recording, print)
        self._check_files(files)
        track = self.sound_track or 0
        with opened_recording(files, beside=self.out, sound_track=track) as chunks:
            serve(self._desk(chunks), port=self.port, opens=self.open)
        return 0

    def _desk(self, chunks: tuple[Chunk, ...]) -> Desk:
        from experiments.highlights.review.decisions import review_file
        from experiments.highlights.review.desk import Desk
        from experiments.highlights.review.reel_job import ReelJob
        from experiments.highlights.review.session import Session
        from experiments.highlights.selection.scores import read_scores
        from experiments.media.recording import recording_duration

        box = None if self.box is None else parse_box(self.box)
        # The session replaces options, so it gets them alone, without the flags of the command.
        options = SelectionOptions(
            **{one.name: getattr(self, one.name) for one in fields(SelectionOptions)}
        )
        duration = recording_duration(chunks)
        scores = read_scores(self.scores, duration=duration)
        session = Session(*scores, duration, options, review_file(self.scores))
        job = ReelJob(chunks, self.out, options, snap=self.snap, crossfade=self.crossfade)
        title = recording_name(self.recording[0])
        return Desk(
            title,
            session,
            chunks,
            job,
            labels=self.labels,
            box=box,
            group=self.group or title,
            overwrite=self.overwrite,
        )

    def _check_files(self, files: Sequence[Path]) -> None:
        """Check that files can be written, now rather than after an hour of review.

        The page asks before it replaces a reel that exists.
        """
        from experiments.highlights.cut_lists.cut_lists import SUFFIXES
        from experiments.highlights.rendering.render import check_output, check_writable
        from experiments.highlights.review.training_rows import clips_there

        kept = [path for path in (self.scores, self.labels) if path is not None]
        for path in (self.out, self.out.with_suffix(SUFFIXES["csv"])):
            if any(path.resolve() == other.resolve() for other in kept):
                raise InputError(f"{path} would be replaced by the reel; give another --out.")
        # A reel that exists is no error here: the page asks before it replaces one.
        check_output(self.out, files, overwrite=True)
        for path in (self.scores, *kept[1:]):  # the review is kept beside the scores
            check_writable(path, overwrite=True)
        if self.labels is not None:
            clips_there(self.labels)


def recording_name(recording: Path) -> str:
    """Name of a recording: a file's stem, a folder's name, or `folder/part` for a prefix."""
    # Resolved, since `.` and `..` have no names.
    path = recording.resolve()
    if path.is_file():
        return path.stem
    return path.name if path.is_dir() else f"{path.parent.name}/{path.name}"
