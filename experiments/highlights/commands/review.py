"""`review` and `label`: a page in the browser to go through highlights, or to mark them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path

from common.errors import InputError
from experiments.clips.images import parse_box
from experiments.highlights.commands.arguments import (
    Label,
    Review,
    check_recording_given,
    check_sound_track,
    next_step,
)
from experiments.highlights.commands.remembered import remember, remembered_model
from experiments.highlights.cut_lists.cut_lists import SUFFIXES
from experiments.highlights.rendering.opening import opened_recording
from experiments.highlights.rendering.render import check_output, check_writable
from experiments.highlights.review.decisions import review_file
from experiments.highlights.review.desk import Desk
from experiments.highlights.review.labelling import LabelFile, LabelSession
from experiments.highlights.review.media import PlayableCopies
from experiments.highlights.review.reel_job import ReelJob
from experiments.highlights.review.server import serve
from experiments.highlights.review.session import Session
from experiments.highlights.review.training_rows import clips_there
from experiments.highlights.scoring.kept_moments import kept_beside
from experiments.highlights.selection.scores import read_scores
from experiments.highlights.selection.selection import SelectionOptions
from experiments.media.chunk_files import recording_files
from experiments.media.recording import Chunk, recording_duration


def run(reviews: Sequence[Review]) -> int:
    """Serve the page until Ctrl-C. Returns the exit code."""
    first = reviews[0]
    with ExitStack() as stack:
        desks = []
        # All that can be wrong is found before any page is shown.
        for options in reviews:
            check_recording_given(options.recording)
            files = recording_files(options.recording, print)
            _check_files(options, files)
            track = options.sound_track or 0
            opened = opened_recording(files, beside=options.out, sound_track=track)
            desks.append(_desk(options, stack.enter_context(opened)))
        for options in reviews:
            remember(options)
        serve(desks, PlayableCopies(first.out), port=first.port, opens=first.open)
    return 0


def run_labelling(options: Label) -> int:
    """Serve the page on which videos are labelled, until Ctrl-C. Returns the exit code."""
    box = None if options.box is None else parse_box(options.box)
    check_sound_track(options.sound_track)
    check_writable(options.labels, overwrite=True)
    file = LabelFile(options.labels)
    with ExitStack() as stack:
        desks = []
        for video in options.videos:
            opened = opened_recording(
                [video], beside=options.labels, sound_track=options.sound_track
            )
            chunks = stack.enter_context(opened)
            group = options.group or recording_name(video)
            session = LabelSession(file, chunks[0], box=box, group=group)
            desks.append(
                Desk(
                    recording_name(video),
                    session,
                    chunks,
                    None,
                    labels=options.labels,
                    box=box,
                    group=group,
                    overwrite=False,
                )
            )
        serve(desks, PlayableCopies(options.labels), port=options.port, opens=options.open)
    if file.clips:
        shards = Path("data/shards") / options.labels.stem
        print(next_step("To make their pictures", "extract", options.labels, shards, "--side", 64))
    return 0


def _desk(options: Review, chunks: tuple[Chunk, ...]) -> Desk:
    box = None if options.box is None else parse_box(options.box)
    # The session replaces options, so it gets them alone, without the flags of the command.
    selecting = SelectionOptions(
        **{one.name: getattr(options, one.name) for one in fields(SelectionOptions)}
    )
    duration = recording_duration(chunks)
    scores = read_scores(options.scores_file, duration=duration)
    session = Session(*scores, duration, selecting, review_file(options.scores_file))
    kept = kept_beside(options.scores_file, chunks)
    job = ReelJob(
        chunks, kept, options.out, selecting, snap=options.snap, crossfade=options.crossfade
    )
    title = recording_name(options.recording[0])
    return Desk(
        title,
        session,
        chunks,
        job,
        labels=options.labels,
        box=box,
        group=options.group or title,
        overwrite=options.overwrite,
        model=remembered_model(options),
    )


def _check_files(options: Review, files: Sequence[Path]) -> None:
    """Check that files can be written, now rather than after an hour of review.

    The page asks before it replaces a reel that exists.
    """
    kept = [path for path in (options.scores_file, options.labels) if path is not None]
    for path in (options.out, options.out.with_suffix(SUFFIXES["csv"])):
        if any(path.resolve() == other.resolve() for other in kept):
            raise InputError(f"{path} would be replaced by the reel; give another --out.")
    # A reel that exists is no error here: the page asks before it replaces one.
    check_output(options.out, files, overwrite=True)
    for path in kept:  # the review is kept beside the scores
        check_writable(path, overwrite=True)
    if options.labels is not None:
        clips_there(options.labels)


def recording_name(recording: Path) -> str:
    """Name of a recording: a file's stem, a folder's name, or `folder/part` for a prefix."""
    # Resolved, since `.` and `..` have no names.
    path = recording.resolve()
    if path.is_file():
        return path.stem
    return path.name if path.is_dir() else f"{path.parent.name}/{path.name}"
