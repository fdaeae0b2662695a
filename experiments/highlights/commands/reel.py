"""`reel`: makes a reel from existing scores; `run` shares its steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.errors import InputError
from common.extras import import_extra
from common.files import write_atomically
from common.formatting import plural
from experiments.highlights.commands.arguments import Reel, ReelOptions
from experiments.highlights.cut_lists.cut_lists import SUFFIXES, csv_text, cut_list
from experiments.highlights.cut_lists.cuts import Media
from experiments.highlights.cut_lists.formats import check_edl
from experiments.highlights.rendering.opening import opened_recording
from experiments.highlights.rendering.render import check_output, check_writable, render_reel
from experiments.highlights.scoring.kept_moments import KeptMoments, kept_beside
from experiments.highlights.selection.original import select_original
from experiments.highlights.selection.scores import Floats, ScoreTrack, read_scores
from experiments.highlights.selection.selection import (
    Selection,
    doubts_about,
    limited,
    select,
)
from experiments.highlights.selection.snapping import snap_cuts, snap_note
from experiments.media.chunk_files import recording_files
from experiments.media.recording import Chunk, recording_duration

_PATIENCE_SECONDS = 2.0
Scores = tuple[Floats, Floats]
"""Times (N,), in seconds of the recording, and probabilities (N,)."""


def run(arguments: Reel) -> int:
    """Select and render. Returns the exit code."""
    read_scores(arguments.scores)  # errors of the file alone come before those of the recording
    files = recording_files(arguments.recording, print)
    check_outputs(arguments, files, kept=[arguments.scores])
    track = arguments.sound_track or 0
    with opened_recording(files, beside=arguments.out, sound_track=track) as chunks:
        check_recording(arguments, chunks)
        scores = read_scores(arguments.scores, duration=recording_duration(chunks))
        with closing(kept_beside(arguments.scores, chunks)) as moments:
            return make_reel(arguments, chunks, scores, moments)


def check_outputs(options: ReelOptions, files: Sequence[Path], kept: Sequence[Path] = ()) -> None:
    """Check that the reel and its lists can be written.

    Raises:
        RenderError, UserError: if one cannot.
    """
    if options.dry_run:
        return
    if "otio" in options.cut_lists:
        import_extra("opentimelineio")
    check_output(options.out, files, options.overwrite)
    for kind in options.cut_lists:
        path = options.out.with_suffix(SUFFIXES[kind])
        # `reel.csv` beside `reel.mp4` may be the very file of scores that is read.
        if any(path.absolute() == other.absolute() for other in (*files, *kept)):
            raise InputError(f"{path} would be replaced by a cut list; give another --out.")
        if path.exists() and not options.overwrite:
            raise InputError(f"{path} exists; give another --out, or --overwrite.")
        check_writable(path, options.overwrite)


def check_recording(options: ReelOptions, chunks: Sequence[Chunk]) -> None:
    """Check that a recording has the frame rates that the options need.

    Raises:
        InputError: if it has not.
    """
    if "edl" in options.cut_lists:
        check_edl([Media.of(chunk) for chunk in chunks])
    first = chunks[0]
    if options.shortest * first.rate < 1:
        image = float(1 / first.rate)
        name = "bin-size" if options.select_by == "original" else "min-length"
        raise InputError(
            f"{first.path} has a frame rate of {float(first.rate):g} per second. A picture "
            f"lasts {image:g} seconds, and a segment must last as long. Received "
            f"--{name} {options.shortest:g}; give --{name} {math.ceil(image)}."
        )


def make_reel(
    options: ReelOptions,
    chunks: tuple[Chunk, ...],
    scores: Scores,
    moments: KeptMoments,
) -> int:
    """Select, render and write cut lists. Returns the exit code.

    Args:
        chunks: the recording.
        scores: times (N,), in seconds of the recording, and probabilities (N,).
        moments: what is kept of its sound and shots.
    """
    selection = _select(options, *scores, recording_duration(chunks), moments)
    track = ScoreTrack(*scores, recording_duration(chunks), reach=options.bin_size / 2)
    doubts = doubts_about(track, track.smoothed(options.bin_size), selection)
    for line in (*selection.notes, *doubts):
        print(line)
    media = [Media.of(chunk) for chunk in chunks]
    if options.dry_run or not selection.segments:
        print(csv_text(selection.segments, media), end="")
        return 0
    # The texts before the rendering, the files after it: a list that cannot be made costs no
    # time, and none names cuts of a reel that was not written.
    lists = _cut_lists(options, selection, media)
    render_selection(options, selection, chunks, scores)
    for path, text in lists.items():
        write_atomically(path, text.encode())
    written = ", ".join(map(str, (options.out, *lists)))
    print(f"{plural(len(selection.segments), 'highlight')} in {written}")
    return 0


def _select(
    options: ReelOptions,
    times: Any,
    probabilities: Any,
    duration: float,
    moments: KeptMoments,
) -> Selection:
    """Choose the segments by the rule asked for, and snap their cuts to quiet moments."""
    if options.select_by == "original":
        track = ScoreTrack(times, probabilities, duration, reach=options.bin_size / 2)
        selection = select_original(
            times,
            probabilities,
            duration,
            threshold=options.threshold,
            bin_size=int(options.bin_size),
        )
        # These two limits apply to segments of any rule.
        return limited(selection, track, top=options.top, max_duration=options.max_duration)
    selection = select(times, probabilities, duration, options)
    if not options.snap or not selection.segments:
        return selection
    # Shown once it takes longer than people wait without a sign.
    with tqdm(total=100, desc="snapping", unit="%", leave=False, delay=_PATIENCE_SECONDS) as bar:

        def advance(share: float) -> None:
            bar.update(round(100 * share, 1) - bar.n)

        quiet, shots = moments.near(selection.segments, on_progress=advance)
    segments = snap_cuts(
        selection.segments,
        duration=duration,
        quiet=quiet,
        shots=shots,
        min_length=options.min_length,
        max_length=options.max_length,
        max_duration=options.max_duration,
    )
    note = snap_note(selection.segments, segments, shots)
    return replace(selection, segments=segments, notes=[*selection.notes, note])


def _cut_lists(options: ReelOptions, selection: Selection, media: list[Media]) -> dict[Path, str]:
    """Make the texts of the cut lists, by the files that they are for."""
    same: dict[str, Any] = {
        "title": options.out.stem,
        "url": options.url,
        "crossfade": options.crossfade,
    }
    return {
        options.out.with_suffix(SUFFIXES[kind]): cut_list(kind, selection.segments, media, **same)
        for kind in options.cut_lists
    }


def render_selection(
    options: ReelOptions, selection: Selection, chunks: tuple[Chunk, ...], scores: Scores
) -> None:
    """Render the selected segments to `options.out`, with a progress bar."""
    with tqdm(total=100, desc=options.out.name, unit="%", leave=False) as bar:

        def advance(share: float) -> None:
            bar.update(round(100 * share, 1) - bar.n)

        render_reel(
            chunks,
            [(one.start, one.end) for one in selection.segments],
            options.out,
            crossfade=options.crossfade,
            scores=scores if options.overlay else None,
            # Where it follows from the scores, that of the options is not the one that was used.
            threshold=None if options.has_goal else options.threshold,
            on_progress=advance,
            on_notice=bar.write,
            overwrite=options.overwrite,
        )
