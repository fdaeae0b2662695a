"""`run`: makes a reel from a recording and a trained scorer."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from common import formatting
from common.errors import InputError
from experiments.clips.images import parse_box
from experiments.clips.scorer import require_scorer, trained_sound_track
from experiments.highlights.commands.arguments import Run, check_recording_given, next_step
from experiments.highlights.commands.reel import (
    Scores,
    check_outputs,
    check_recording,
    make_reel,
    render_selection,
)
from experiments.highlights.commands.remembered import remember
from experiments.highlights.rendering.opening import opened_recording
from experiments.highlights.rendering.render import check_output, check_writable
from experiments.highlights.scoring.kept_moments import KeptMoments, KeptShots
from experiments.highlights.scoring.kept_scores import KeptScores
from experiments.highlights.scoring.scoring_job import ScoringOptions, score_into
from experiments.highlights.selection.scores import ScoreTrack
from experiments.highlights.selection.selection import (
    DEFAULT_SHARE,
    MOST,
    ROUNDING,
    Segment,
    Selection,
    select,
    starting_threshold,
)
from experiments.highlights.training.recipes import describe_score
from experiments.media.chunk_files import recording_files
from experiments.media.recording import Chunk, recording_duration
from experiments.process import runtime
from preprocess.video.time_ranges import check_sampling

if TYPE_CHECKING:
    from experiments.clips.scorer_model import Scorer

_PART_SECONDS = 60.0  # length of the pieces in which --annotate renders a whole recording


def run(options: Run) -> int:
    """Score, select and render. Returns the exit code."""
    check_recording_given(options.recording)
    scoring = _scoring(options)
    typed = options
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
        fingerprint = scoring.fingerprint(chunks)
        with closing(KeptMoments(options.out, fingerprint, chunks)) as moments:
            snaps = options.snap and options.select_by == "ours"
            if snaps:
                moments.loudness.begin()  # while the scorer is at work
            with KeptScores(options.out, fingerprint) as kept:
                shots = moments.shots if snaps else None
                scorer = _score(options, chunks, kept, scoring, shots)
                scores = kept.read()
            options = _with_threshold(options, scorer, scores, recording_duration(chunks))
            code = make_reel(options, chunks, scores, moments)
        if not options.dry_run:
            _draw(options, chunks, scores)
            assert options.threshold is not None
            remember(typed, cut=options.with_threshold(options.threshold))
            print(next_step("To go through them", "review", "--scores", kept.path))
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
    track = trained_sound_track(options.scorer)
    if track:
        print(
            f"{options.scorer} was trained on sound track {track}, so that one is taken; "
            "--sound-track 0 takes the first."
        )
    return replace(options, sound_track=track)


def _scoring(options: Run) -> ScoringOptions:
    require_scorer(options.scorer)
    if options.fps is not None or options.every is not None:
        check_sampling(options.fps, options.every)
    return ScoringOptions(
        model=options.scorer,
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
    options: Run,
    chunks: tuple[Chunk, ...],
    kept: KeptScores,
    scoring: ScoringOptions,
    shots: KeptShots | None,
) -> Scorer | None:
    """Make the scores that are missing. Returns the scorer, or None if nothing needs it."""
    is_there = kept.is_complete() and not options.overwrite_scores
    is_given = options.threshold is not None or options.has_goal
    if is_there:
        print(f"The scores in {kept.path} are used; --overwrite-scores predicts anew.")
        return None if is_given else scoring.load()
    scorer = scoring.load()
    if not is_given:
        replace(options, threshold=max(scorer.threshold, ROUNDING))  # checks --low-threshold
    difference = "" if options.overwrite_scores else kept.difference()
    if difference:
        print(f"{kept.path} is of another {difference}; the scores are made anew.")
    score_into(kept, chunks, scorer, scoring, shots)
    return scorer


def _with_threshold(options: Run, scorer: Scorer | None, scores: Scores, duration: float) -> Run:
    """Return the options with the threshold that makes the reel, and print where it is from."""
    if line := _model_score(options.scorer):
        print(line)
    if options.threshold is not None:
        return options
    track = ScoreTrack(*scores, duration, reach=options.bin_size / 2)
    if not len(track):
        return replace(options, threshold=1.0)  # there is nothing to choose from
    smoothed = track.smoothed(options.bin_size)
    if not options.has_goal:
        assert scorer is not None
        suggested = replace(options, threshold=max(scorer.threshold, ROUNDING))
        reason = _distrusted(suggested, scorer, scores, duration)
        if not reason:
            print(f"The threshold is {scorer.threshold:.2f}, as {options.scorer} suggests.")
            return suggested
        print(
            f"Warning: the threshold {scorer.threshold:.2f} of {options.scorer} is not taken, "
            f"because {reason}. The reel takes the best {DEFAULT_SHARE:.0%} of the recording; "
            "--share, --length or --threshold take another part."
        )
        options = replace(options, share=DEFAULT_SHARE)
    threshold, _ = starting_threshold(track, smoothed, options)
    low = options.low_threshold
    return replace(
        options, threshold=threshold, low_threshold=None if low is None else min(low, threshold)
    )


def _distrusted(options: Run, scorer: Scorer, scores: Scores, duration: float) -> str:
    """Reason not to take the model's threshold, or nothing if it can be trusted."""
    if options.select_by == "original":
        return ""  # its rule knows no other threshold
    if scorer.doubts:
        return " and ".join(scorer.doubts)
    seconds = sum(one.length for one in select(*scores, duration, options).segments)
    if seconds > MOST * duration:
        return f"the reel would hold {seconds:.0f} of the recording's {duration:.0f} s"
    return ""


def _model_score(model: Path) -> str:
    """Sentence on the model's validation score; empty for models from before it was kept."""
    try:
        return describe_score(json.loads((model / "result.json").read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return ""


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


def _left_out(error: Exception) -> None:
    print(f"Left out, as if it had never been: {error}", file=sys.stderr)
