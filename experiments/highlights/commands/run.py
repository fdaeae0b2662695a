"""`run`: makes a reel from a recording and a trained scorer."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import tyro
from tyro.conf import Positional, arg

from common.errors import InputError
from experiments.highlights.commands.reel import ReelOptions

if TYPE_CHECKING:
    from experiments.highlights.scoring.kept_scores import KeptScores
    from experiments.highlights.scoring.scoring_job import ScoringOptions
    from experiments.highlights.selection.scores import Floats
    from experiments.media.recording import Chunk

_PART_SECONDS = 60.0  # length of the pieces in which --annotate renders a whole recording


@dataclass(frozen=True)
class Run(ReelOptions):
    """Score a recording with a trained scorer, choose its highlights, and render them.

    The scores are kept beside the reel: with another threshold nothing is predicted again, and
    after a stop the same command goes on where it was.
    """

    recording: Positional[tuple[Path, ...]] = tyro.MISSING
    """A video, or several in order; or a folder of part0.mp4 ... part10.mp4, or of what OBS or a
    GoPro has split; or what the names begin with."""
    model: Annotated[Path, arg(aliases=["-m"])] = tyro.MISSING
    """Directory of a run of `train`."""
    threshold: float | None = None  # type: ignore[assignment]
    """Smoothed probability that a segment has to reach; by default what `train` suggests."""
    box: str | None = None
    """x1,y1,x2,y2 of the excited face in fractions of the picture; by default the model's own."""
    fps: float | None = None
    """Pictures a second that are scored; by default as in training."""
    every: int | None = None
    """Every how many frames one is scored, in place of --fps."""
    batch_size: int = 32
    """Pictures the model sees at once."""
    threads: str = "auto"
    """TensorFlow's thread pools: INTRA,INTER such as 1,2; or auto."""
    scheduler: str | None = None
    """tcp://HOST:8786 of a Dask cluster whose workers score instead; see docs/cluster.md."""
    annotate: Path | None = None
    """Also write the whole recording with its score drawn into it, which takes long."""
    overwrite_scores: bool = False
    """Predict anew, though there are scores."""
    sound_track: int | None = None
    """Of several sound tracks, the one that the model hears and the reel has, from 0; by default
    that of training."""
    allow_failures: bool = False
    """Go on without chunks that cannot be read."""

    resume_hint: ClassVar[str] = "The scores so far are kept; the same command goes on after them."

    def __post_init__(self) -> None:
        if self.threshold is None:
            replace(self, threshold=1.0)  # checks all the rest
            return
        super().__post_init__()
        if self.batch_size < 1:
            raise InputError(f"batch_size must be 1 or more. Received {self.batch_size}.")

    def run(self) -> int:
        """Score, select and render. Returns the exit code."""
        from experiments.highlights.scoring.kept_scores import KeptScores
        from experiments.media.chunk_files import recording_files

        scoring = self._scoring()
        options = self._with_sound_track()
        with options.opened(recording_files(self.recording, print)) as chunks:
            with KeptScores(self.out, scoring.fingerprint(chunks)) as kept:
                options = options._score(chunks, kept, scoring)
                scores = kept.read()
            code = options.make(chunks, scores)
            if not self.dry_run:
                options._draw(chunks, scores)
                print(f"To go through them: {options._review(kept.path)}")
            return code

    def check_outputs(self, files: Sequence[Path], kept: Sequence[Path] = ()) -> None:
        """Check that everything the command writes can be written."""
        from experiments.highlights.rendering.render import check_output, check_writable

        if self.annotate is not None and self.annotate.absolute() == self.out.absolute():
            raise InputError(f"--out and --annotate are both {self.out}; give another --annotate.")
        super().check_outputs(files, kept)
        if self.annotate is not None and not self.dry_run:
            check_output(self.annotate, files, self.overwrite)
        check_writable(self.out.with_suffix(".scores.csv"), overwrite=True)  # of a dry run too

    def _leave_out(self) -> Callable[[Exception], None] | None:
        return _left_out if self.allow_failures else None

    def _with_sound_track(self) -> Run:
        """Return the options with the sound track of the model's training if none was given."""
        from experiments.clips.scorer import trained_sound_track

        if self.sound_track is not None:
            return self
        track = trained_sound_track(self.model)
        if track:
            print(
                f"{self.model} was trained on sound track {track}, so that one is taken; "
                "--sound-track 0 takes the first."
            )
        return replace(self, sound_track=track)

    def _scoring(self) -> ScoringOptions:
        from experiments.clips.images import parse_box
        from experiments.clips.scorer import require_scorer
        from experiments.highlights.scoring.scoring_job import ScoringOptions
        from experiments.process import runtime
        from preprocess.video.sampling import check_sampling

        require_scorer(self.model)
        if self.fps is not None or self.every is not None:
            check_sampling(self.fps, self.every)
        return ScoringOptions(
            model=self.model,
            box=None if self.box is None else parse_box(self.box),
            fps=self.fps,
            stride=self.every,
            batch_size=self.batch_size,
            threads=runtime.choose_threads(self.threads, workload="resnet"),
            allow_failures=self.allow_failures,
            scheduler=self.scheduler,
            worker_threads=self.threads,
        )

    def _score(self, chunks: tuple[Chunk, ...], kept: KeptScores, scoring: ScoringOptions) -> Run:
        """Make the scores that are missing. Returns the options with their threshold."""
        from experiments.highlights.scoring.scoring_job import score_into

        is_there = kept.is_complete() and not self.overwrite_scores
        if is_there and self.threshold is not None:
            print(_used(kept))
            return self
        scorer = scoring.load()
        options = self
        if self.threshold is None:
            options = replace(self, threshold=scorer.threshold)
            print(f"The threshold is {scorer.threshold:.2f}, as {self.model} suggests.")
        if is_there:
            print(_used(kept))
            return options
        difference = "" if self.overwrite_scores else kept.difference()
        if difference:
            print(f"{kept.path} is of another {difference}; the scores are made anew.")
        score_into(kept, chunks, scorer, scoring)
        return options

    def _draw(self, chunks: tuple[Chunk, ...], scores: tuple[Floats, Floats]) -> None:
        """Draw the score into the whole recording if --annotate asks for that."""
        from common import formatting
        from experiments.highlights.selection.segments import Segment, Selection
        from experiments.media.recording import recording_duration

        if self.annotate is None:
            return
        duration = recording_duration(chunks)
        print(
            f"Drawing all of its {formatting.duration(duration)} into {self.annotate}; the "
            "picture is encoded anew, which is what takes the time."
        )
        # In pieces: the raw images of the strip lie on the disk for one piece at a time.
        number = max(round(duration / _PART_SECONDS), 1)
        edges = [duration * place / number for place in range(number)] + [duration]
        parts = [Segment(a, b, 0.0, a) for a, b in pairwise(edges)]
        whole = replace(self, out=self.annotate, overlay=True, crossfade=0.0)
        whole._render(Selection(parts), chunks, scores)
        print(self.annotate)

    def _review(self, scores: Path) -> str:
        args = ["review", *map(str, self.recording), "--scores", str(scores)]
        args += ["--threshold", f"{self.threshold:g}"]
        if self.sound_track:
            args += ["--sound-track", str(self.sound_track)]
        return f"python -m experiments.highlights {shlex.join(args)}"


def _left_out(error: Exception) -> None:
    print(f"Left out, as if it had never been: {error}", file=sys.stderr)


def _used(kept: KeptScores) -> str:
    return f"The scores in {kept.path} are used; --overwrite-scores predicts anew."
