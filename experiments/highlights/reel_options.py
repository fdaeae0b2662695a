"""The options of a reel, and what is done with them: select, snap, render, list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from experiments.highlights.cut_lists.cut_lists import SUFFIXES, Kind, Media
from experiments.highlights.selection.segments import SelectionOptions

if TYPE_CHECKING:
    from experiments.highlights.rendering.recording import Chunk
    from experiments.highlights.selection.scores import Floats
    from experiments.highlights.selection.segments import Selection

Scores = tuple["Floats", "Floats"]


@dataclass(frozen=True)
class ReelOptions(SelectionOptions):
    """What becomes of the scores of a recording: which highlights, rendered how, listed where."""

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
    overwrite: bool = False
    """Replace what exists."""

    def make(self, chunks: tuple[Chunk, ...], scores: Scores) -> int:
        """Select, render and list; the exit code.

        Args:
            chunks: the recording.
            scores: times (N,), in seconds of the recording, and probabilities (N,).
        """
        from experiments.highlights.cut_lists.cut_lists import csv_text
        from experiments.highlights.rendering.recording import recording_duration
        from experiments.run_directory import write_atomically

        selection = self._select(*scores, chunks, recording_duration(chunks))
        for note in selection.notes:
            print(note)
        media = [Media.of(chunk) for chunk in chunks]
        if self.dry_run or not selection.segments:
            print(csv_text(selection.segments, media), end="")
            return 0
        lists = self._cut_lists(selection, media)
        self._render(selection, chunks, scores)
        for path, text in lists.items():
            write_atomically(path, text.encode())
        number = len(selection.segments)
        written = ", ".join(map(str, (self.out, *lists)))
        print(f"{number} highlight{'s' * (number != 1)} in {written}")
        return 0

    def _cut_lists(self, selection: Selection, media: list[Media]) -> dict[Path, str]:
        """Their texts, by the files that they are for."""
        from experiments.highlights.cut_lists.cut_lists import cut_list

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

        from experiments.highlights.selection.original import select_original
        from experiments.highlights.selection.quiet import quiet_near
        from experiments.highlights.selection.scores import ScoreTrack
        from experiments.highlights.selection.selection import limited, select
        from experiments.highlights.selection.shots import shots_near
        from experiments.highlights.selection.snapping import snap_cuts, snap_note

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
                [chunk.path for chunk in chunks],
                [(one.start, one.end) for one in selection.segments],
                self.out,
                crossfade=self.crossfade,
                scores=scores if self.overlay else None,
                threshold=None if self.percentile else self.threshold,
                on_progress=advance,
                on_notice=bar.write,
                overwrite=self.overwrite,
            )
