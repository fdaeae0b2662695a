"""The command `python -m experiments.highlights`: labels, and scores to a reel."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import tyro
from tyro.conf import Positional, arg, subcommand

from experiments import runtime
from experiments.highlights.cut_lists import SUFFIXES, Kind, Media
from experiments.highlights.segments import SelectionOptions
from preprocess.errors import PreprocessError

if TYPE_CHECKING:
    from experiments.highlights.recording import Chunk
    from experiments.highlights.segments import Selection

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Labels:
    """Write labels, the original's data.csv or ours, as a plain CSV."""

    source: Positional[Path]
    """What to read."""
    target: Positional[Path]
    """What to write: path,x1,y1,x2,y2,start,end,label,group."""

    def run(self) -> int:
        """Convert; the exit code."""
        from experiments.highlights.labels import convert_labels

        if self.target.exists():
            raise ValueError(f"{self.target} exists; give another name, or remove it.")
        print(f"{self.target}: {convert_labels(self.source, self.target)} clips.")
        return 0


@dataclass(frozen=True)
class Reel(SelectionOptions):
    """Choose the highlights of a recording by its scores, and render them as one video."""

    scores: Positional[Path] = tyro.MISSING
    """CSV with the columns time_seconds and probability."""
    recording: Positional[Path] = tyro.MISSING
    """A video; or a folder of part0.mp4 ... part10.mp4; or what their names begin with."""
    out: Annotated[Path, arg(aliases=["-o"])] = Path("reel.mp4")
    """The reel; cut lists lie beside it."""
    select_by: Literal["ours", "original"] = "ours"
    """original: the rule of eqy/autotosis, of --threshold and --bin-size."""
    snap: bool = True
    """Move each cut to a quiet moment within a second, so that nothing is cut mid-word."""
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
    overwrite: bool = False
    """Replace what exists."""

    def run(self) -> int:
        """Select and render; the exit code."""
        from experiments.highlights.chunk_files import recording_chunks
        from experiments.highlights.cut_lists import csv_text
        from experiments.highlights.recording import read_recording, recording_duration
        from experiments.highlights.scores_file import read_scores
        from experiments.run_directory import write_atomically

        chunks = read_recording(recording_chunks(self.recording))
        times, probabilities = read_scores(self.scores)
        selection = self._select(times, probabilities, chunks, recording_duration(chunks))
        for note in selection.notes:
            print(note)
        media = [_media(chunk) for chunk in chunks]
        if self.dry_run or not selection.segments:
            print(csv_text(selection.segments, media), end="")
            return 0
        lists = self._cut_lists(selection, media)
        self._render(selection, chunks, (times, probabilities))
        for path, text in lists.items():
            write_atomically(path, text.encode())
        number = len(selection.segments)
        written = ", ".join(map(str, (self.out, *lists)))
        print(f"{number} highlight{'s' * (number != 1)} in {written}")
        return 0

    def _cut_lists(self, selection: Selection, media: list[Media]) -> dict[Path, str]:
        """Their texts, by the files that they are for."""
        from experiments.highlights.cut_lists import cut_list

        same: dict[str, Any] = {
            "title": self.out.stem,
            "url": self.url,
            "crossfade": self.crossfade,
        }
        lists = {
            self.out.with_suffix(SUFFIXES[kind]): cut_list(kind, selection.segments, media, **same)
            for kind in self.cut_lists
        }
        taken = [path for path in lists if path.exists() and not self.overwrite]
        if taken:
            raise ValueError(f"{taken[0]} exists; give another --out, or --overwrite.")
        return lists

    def _select(
        self, times: Any, probabilities: Any, chunks: tuple[Chunk, ...], duration: float
    ) -> Selection:
        from dataclasses import replace

        from experiments.highlights.quiet import quiet_near
        from experiments.highlights.scores import ScoreTrack
        from experiments.highlights.selection import limited, select
        from experiments.highlights.selection_original import select_original
        from experiments.highlights.snapping import snap_cuts

        if self.select_by == "original":
            selection = select_original(
                *(times, probabilities, duration),
                threshold=self.threshold,
                bin_size=int(self.bin_size),
            )
            track = ScoreTrack(times, probabilities, duration, reach=self.bin_size / 2)
            return limited(selection, track, top=self.top, max_duration=self.max_duration)
        selection = select(times, probabilities, duration, self)
        if not self.snap:
            return selection
        segments = snap_cuts(
            selection.segments,
            duration=duration,
            quiet=quiet_near(chunks, selection.segments),
            min_length=self.min_length,
            max_length=self.max_length,
            max_duration=self.max_duration,
        )
        moved = sum(
            (a.start != b.start) + (a.end != b.end)
            for a, b in zip(segments, selection.segments, strict=True)
        )
        note = f"--snap moved {moved} of {2 * len(segments)} cuts to quiet moments."
        return replace(selection, segments=segments, notes=[*selection.notes, note])

    def _render(self, selection: Selection, chunks: tuple[Chunk, ...], scores: Any) -> None:
        from tqdm import tqdm

        from experiments.highlights.render import render_reel

        with tqdm(total=100, desc=self.out.name, unit="%", leave=False) as bar:

            def advance(share: float) -> None:
                bar.update(round(100 * share, 1) - bar.n)

            render_reel(
                [chunk.path for chunk in chunks],
                [(one.start, one.end) for one in selection.segments],
                self.out,
                crossfade=self.crossfade,
                scores=scores if self.overlay else None,
                on_progress=advance,
                on_notice=bar.write,
                overwrite=self.overwrite,
            )


def _media(chunk: Chunk) -> Media:
    return Media(
        *(chunk.path, chunk.duration, chunk.rate, chunk.width, chunk.height),
        has_sound=chunk.sound is not None,
    )


def main(args: list[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    command = tyro.cli(
        _commands(), prog="python -m experiments.highlights", description=__doc__, args=args
    )
    runtime.stop_on_termination()
    try:
        return command.run()
    except (PreprocessError, ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("\nStopped; nothing half-made is left.", file=sys.stderr)
        return EXIT_INTERRUPTED


def _commands() -> Any:
    """The sub-commands, for tyro."""
    commands = [
        Annotated[command, subcommand(command.__name__.lower())] for command in (Labels, Reel)
    ]
    return Union[(*commands,)]
