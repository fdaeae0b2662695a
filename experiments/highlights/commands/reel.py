"""`reel`: makes a reel from existing scores; `run` shares its options."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro
from tyro.conf import Positional, arg

from common.errors import InputError
from common.formatting import plural
from experiments.highlights.cut_lists.cut_lists import SUFFIXES, Kind, Media, check_url
from experiments.highlights.cut_lists.formats import check_edl, require_otio
from experiments.highlights.selection.segments import SelectionOptions

if TYPE_CHECKING:
    from experiments.highlights.selection.scores import Floats
    from experiments.highlights.selection.segments import Selection
    from experiments.media.recording import Chunk

Scores = tuple["Floats", "Floats"]


@dataclass(frozen=True)
class ReelOptions(SelectionOptions):
    """Options of a reel: which highlights, how they are rendered, and which cut lists there are."""

    out: Annotated[Path, arg(aliases=["-o"])] = Path("reel.mp4")
    """The reel; cut lists lie beside it."""
    select_by: Literal["ours", "original"] = "ours"
    """original: the rule of eqy/autotosis, of --threshold and --bin-size."""
    snap: bool = True
    """Move each cut to a quiet moment or a change of shot within a second, so that nothing is cut
    mid-word."""
    crossfade: float = 0.0
    """Seconds by which highlights overlap."""
    overlay: bool = False
    """Draw the score into the picture."""
    cut_lists: tuple[Kind, ...] = ("csv",)
    """Lists for people and editing programs."""
    url: str | None = None
    """Where the recording can be seen, for links."""
    dry_run: bool = False
    """Print the cut list and stop."""
    sound_track: int | None = None
    """Of several sound tracks, the one that is taken, from 0, for the reel and all else that
    listens; by default the first."""
    overwrite: bool = False
    """Replace what exists."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crossfade(self.crossfade)
        # Refused here and not by the renderer, which is asked only after hours of scoring.
        if self.crossfade and self._shortest < 2 * self.crossfade:
            name = "bin_size" if self.select_by == "original" else "min_length"
            raise InputError(
                f"{name} must be twice the crossfade or more, for one at either end of a segment: "
                f"{2 * self.crossfade:g}. Received {self._shortest:g}."
            )
        if self.select_by == "original" and (self.bin_size < 1 or self.bin_size % 1):
            raise InputError(
                "bin_size must be whole seconds, 1 or more, with select_by original. Received "
                f"{self.bin_size:g}."
            )
        if self.url is not None or "links" in self.cut_lists:
            check_url(self.url)
        check_sound_track(self.sound_track)

    @property
    def _shortest(self) -> float:
        """Shortest length of a segment, in seconds."""
        return self.bin_size if self.select_by == "original" else self.min_length

    @contextmanager
    def opened(self, files: Sequence[Path], *kept: Path) -> Iterator[tuple[Chunk, ...]]:
        """Open the recording, after checking everything that could prevent its reel.

        Args:
            files: files of the recording, in order.
            kept: other files that the command reads, which nothing may replace.

        Raises:
            RenderError, ValueError: if the recording cannot be read or the reel cannot be made.
        """
        from experiments.highlights.rendering.opening import opened_recording

        self.check_outputs(files, kept)
        with opened_recording(
            files,
            beside=self.out,
            sound_track=self.sound_track or 0,
            leave_out=self._leave_out(),
        ) as chunks:
            self.check_recording(chunks)
            yield chunks

    def _leave_out(self) -> Callable[[Exception], None] | None:
        """Function that takes the error of an unreadable file; None if that ends the work."""
        return None

    def check_outputs(self, files: Sequence[Path], kept: Sequence[Path] = ()) -> None:
        """Check that the reel and its lists can be written.

        Raises:
            RenderError, UserError: if one cannot.
        """
        from experiments.highlights.rendering.render import check_output, check_writable

        if self.dry_run:
            return
        if "otio" in self.cut_lists:
            require_otio()
        check_output(self.out, files, self.overwrite)
        for kind in self.cut_lists:
            path = self.out.with_suffix(SUFFIXES[kind])
            # `reel.csv` beside `reel.mp4` may be the very file of scores that is read.
            if any(path.absolute() == other.absolute() for other in (*files, *kept)):
                raise InputError(f"{path} would be replaced by a cut list; give another --out.")
            if path.exists() and not self.overwrite:
                raise InputError(f"{path} exists; give another --out, or --overwrite.")
            check_writable(path, self.overwrite)

    def check_recording(self, chunks: Sequence[Chunk]) -> None:
        """Check that a recording has the frame rates that the options need.

        Raises:
            InputError: if it has not.
        """
        if "edl" in self.cut_lists:
            check_edl([Media.of(chunk) for chunk in chunks])
        first = chunks[0]
        if self._shortest * first.rate < 1:
            image = float(1 / first.rate)
            name = "bin-size" if self.select_by == "original" else "min-length"
            raise InputError(
                f"{first.path} has a frame rate of {float(first.rate):g} per second. A picture "
                f"lasts {image:g} seconds, and a segment must last as long. Received "
                f"--{name} {self._shortest:g}; give --{name} {math.ceil(image)}."
            )

    def make(self, chunks: tuple[Chunk, ...], scores: Scores) -> int:
        """Select, render and write cut lists. Returns the exit code.

        Args:
            chunks: the recording.
            scores: times (N,), in seconds of the recording, and probabilities (N,).
        """
        from common.files import write_atomically
        from experiments.highlights.cut_lists.cut_lists import csv_text
        from experiments.media.recording import recording_duration

        selection = self._select(*scores, chunks, recording_duration(chunks))
        for note in selection.notes:
            print(note)
        media = [Media.of(chunk) for chunk in chunks]
        if self.dry_run or not selection.segments:
            print(csv_text(selection.segments, media), end="")
            return 0
        # The texts before the rendering, the files after it: a list that cannot be made costs no
        # time, and none names cuts of a reel that was not written.
        lists = self._cut_lists(selection, media)
        self._render(selection, chunks, scores)
        for path, text in lists.items():
            write_atomically(path, text.encode())
        written = ", ".join(map(str, (self.out, *lists)))
        print(f"{plural(len(selection.segments), 'highlight')} in {written}")
        return 0

    def _cut_lists(self, selection: Selection, media: list[Media]) -> dict[Path, str]:
        """Make the texts of the cut lists, by the files that they are for."""
        from experiments.highlights.cut_lists.cut_lists import cut_list

        same: dict[str, Any] = {
            "title": self.out.stem,
            "url": self.url,
            "crossfade": self.crossfade,
        }
        return {
            self.out.with_suffix(SUFFIXES[kind]): cut_list(kind, selection.segments, media, **same)
            for kind in self.cut_lists
        }

    def _select(
        self, times: Any, probabilities: Any, chunks: tuple[Chunk, ...], duration: float
    ) -> Selection:
        from dataclasses import replace

        from experiments.highlights.selection.original import select_original
        from experiments.highlights.selection.scores import ScoreTrack
        from experiments.highlights.selection.selection import limited, select
        from experiments.highlights.selection.shots import shots_near
        from experiments.highlights.selection.snapping import quiet_near, snap_cuts, snap_note

        if self.select_by == "original":
            selection = select_original(
                times,
                probabilities,
                duration,
                threshold=self.threshold,
                bin_size=int(self.bin_size),
            )
            # These two limits apply to segments of any rule.
            track = ScoreTrack(times, probabilities, duration, reach=self.bin_size / 2)
            return limited(selection, track, top=self.top, max_duration=self.max_duration)
        selection = select(times, probabilities, duration, self)
        if not self.snap:
            return selection
        shots = shots_near(chunks, selection.segments)
        segments = snap_cuts(
            selection.segments,
            duration=duration,
            quiet=quiet_near(chunks, selection.segments),
            shots=shots,
            min_length=self.min_length,
            max_length=self.max_length,
            max_duration=self.max_duration,
        )
        note = snap_note(selection.segments, segments, shots)
        return replace(selection, segments=segments, notes=[*selection.notes, note])

    def _render(self, selection: Selection, chunks: tuple[Chunk, ...], scores: Scores) -> None:
        from tqdm import tqdm

        from experiments.highlights.rendering.render import render_reel

        with tqdm(total=100, desc=self.out.name, unit="%", leave=False) as bar:

            def advance(share: float) -> None:
                bar.update(round(100 * share, 1) - bar.n)

            render_reel(
                chunks,
                [(one.start, one.end) for one in selection.segments],
                self.out,
                crossfade=self.crossfade,
                scores=scores if self.overlay else None,
                # With --percentile the threshold of the options is not the one that was used.
                threshold=None if self.percentile else self.threshold,
                on_progress=advance,
                on_notice=bar.write,
                overwrite=self.overwrite,
            )


def check_crossfade(seconds: float) -> None:
    """Check the seconds by which segments overlap.

    Raises:
        InputError: if they are negative or not finite.
    """
    if not 0 <= seconds < math.inf:
        raise InputError(f"crossfade must be 0 or more seconds. Received {seconds}.")


def check_sound_track(number: int | None) -> None:
    """Check the number of a sound track.

    Raises:
        InputError: if it is negative.
    """
    if number is not None and number < 0:
        raise InputError(f"sound_track must be 0 or more; 0 is the first. Received {number}.")


@dataclass(frozen=True)
class Reel(ReelOptions):
    """Choose the highlights of a recording by its scores, and render them as one video."""

    scores: Positional[Path] = tyro.MISSING
    """CSV with the columns time_seconds and probability."""
    recording: Positional[tuple[Path, ...]] = tyro.MISSING
    """A video, or several in order; or a folder of part0.mp4 ... part10.mp4, or of what OBS or a
    GoPro has split; or what the names begin with."""

    resume_hint: ClassVar[str] = "Nothing half-made is left; the same command begins anew."

    def run(self) -> int:
        """Select and render. Returns the exit code."""
        from experiments.highlights.selection.scores import read_scores
        from experiments.media.chunk_files import recording_files
        from experiments.media.recording import recording_duration

        read_scores(self.scores)  # errors of the file alone come before those of the recording
        with self.opened(recording_files(self.recording, print), self.scores) as chunks:
            scores = read_scores(self.scores, duration=recording_duration(chunks))
            return self.make(chunks, scores)
