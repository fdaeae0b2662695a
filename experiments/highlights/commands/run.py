"""`run`: makes a reel from a recording and a trained scorer."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from common import formatting
from common.errors import InputError
from experiments.clips.images import parse_box
from experiments.clips.scorer import require_scorer, trained_sound_track
from experiments.highlights.commands.arguments import Run
from experiments.highlights.commands.reel import (
    Scores,
    check_outputs,
    check_recording,
    make_reel,
    render_selection,
)
from experiments.highlights.rendering.opening import opened_recording
from experiments.highlights.rendering.render import check_output, check_writable
from experiments.highlights.scoring.kept_scores import KeptScores
from experiments.highlights.scoring.scoring_job import ScoringOptions, score_into
from experiments.highlights.selection.selection import Segment, Selection
from experiments.media.chunk_files import recording_files
from experiments.media.recording import Chunk, recording_duration
from experiments.process import runtime
from preprocess.video.time_ranges import check_sampling

_PART_SECONDS = 60.0  # length of the pieces in which --annotate renders a whole recording


def run(options: Run) -> int:
    """Score, select and render. Returns the exit code."""
    scoring = _scoring(options)
    options = _with_sound_track(options)
    files = recording_files(options.recording, print)
    _check_outputs(options, files)
    with opened_recording(
        files,
        beside=options.out,
        sound_track=options.sound_track or 0,
        leave_out=_left_out if options.allow_failures else None,
    ) as chunks:
        check_recording(options, chunks)
        with KeptScores(options.out, scoring.fingerprint(chunks)) as kept:
            options = _score(options, chunks, kept, scoring)
            scores = kept.read()
        code = make_reel(options, chunks, scores)
        if not options.dry_run:
            _draw(options, chunks, scores)
            print(f"To go through them: {_review(options, kept.path)}")
        return code


def _check_outputs(options: Run, files: Sequence[Path]) -> None:
    """Check that everything the command writes can be written."""
    if options.annotate is not None and options.annotate.absolute() == options.out.absolute():
        raise InputError(f"--out and --annotate are both {options.out}; give another --annotate.")
    check_outputs(options, files)
    if options.annotate is not None and not options.dry_run:
        check_output(options.annotate, files, options.overwrite)
    check_writable(options.out.with_suffix(".scores.csv"), overwrite=True)  # of a dry run too


def _with_sound_track(options: Run) -> Run:
    """Return the options with the sound track of the model's training if none was given."""
    if options.sound_track is not None:
        return options
    track = trained_sound_track(options.model)
    if track:
        print(
            f"{options.model} was trained on sound track {track}, so that one is taken; "
            "--sound-track 0 takes the first."
        )
    return replace(options, sound_track=track)


def _scoring(options: Run) -> ScoringOptions:
    require_scorer(options.model)
    if options.fps is not None or options.every is not None:
        check_sampling(options.fps, options.every)
    return ScoringOptions(
        model=options.model,
        box=None if options.box is None else parse_box(options.box),
        fps=options.fps,
        stride=options.every,
        batch_size=options.batch_size,
        threads=runtime.choose_threads(options.threads, workload="resnet"),
        allow_failures=options.allow_failures,
        scheduler=options.scheduler,
        worker_threads=options.threads,
    )


def _score(
    options: Run, chunks: tuple[Chunk, ...], kept: KeptScores, scoring: ScoringOptions
) -> Run:
    """Make the scores that are missing. Returns the options with their threshold."""
    is_there = kept.is_complete() and not options.overwrite_scores
    if is_there and options.threshold is not None:
        print(_used(kept))
        return options
    scorer = scoring.load()
    if options.threshold is None:
        options = replace(options, threshold=scorer.threshold)
        print(f"The threshold is {scorer.threshold:.2f}, as {options.model} suggests.")
    if is_there:
        print(_used(kept))
        return options
    difference = "" if options.overwrite_scores else kept.difference()
    if difference:
        print(f"{kept.path} is of another {difference}; the scores are made anew.")
    score_into(kept, chunks, scorer, scoring)
    return options


def _draw(options: Run, chunks: tuple[Chunk, ...], scores: Scores) -> None:
    """Draw the score into the whole recording if --annotate asks for that."""
    if options.annotate is None:
        return
    duration = recording_duration(chunks)
    print(
        f"Drawing all of its {formatting.duration(duration)} into {options.annotate}; the "
        "picture is encoded anew, which is what takes the time."
    )
    # In pieces: the raw images of the strip lie on the disk for one piece at a time.
    number = max(round(duration / _PART_SECONDS), 1)
    edges = [duration * place / number for place in range(number)] + [duration]
    parts = [Segment(a, b, 0.0, a) for a, b in pairwise(edges)]
    whole = replace(options, out=options.annotate, overlay=True, crossfade=0.0)
    render_selection(whole, Selection(parts), chunks, scores)
    print(options.annotate)


def _review(options: Run, scores: Path) -> str:
    args = ["review", *map(str, options.recording), "--scores", str(scores)]
    args += ["--threshold", f"{options.threshold:g}"]
    if options.sound_track:
        args += ["--sound-track", str(options.sound_track)]
    return f"python -m experiments.highlights {shlex.join(args)}"


def _left_out(error: Exception) -> None:
    print(f"Left out, as if it had never been: {error}", file=sys.stderr)


def _used(kept: KeptScores) -> str:
    return f"The scores in {kept.path} are used; --overwrite-scores predicts anew."
