"""`labels` and `extract`: label files, and shards of the pictures of labelled clips."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import InputError, WriteError
from common.files import not_written
from experiments.clips.images import ImageSettings
from experiments.highlights.commands.arguments import Extract, Labels, next_step
from experiments.highlights.labels import convert_labels, read_labels
from experiments.highlights.training.examples import extract_images
from experiments.media.recording import describe_tracks
from preprocess.errors import DecodeError
from preprocess.extraction.extract import ExtractionSummary
from preprocess.system.progress import TerminalProgress
from preprocess.video.video_file import audio_tracks

EXIT_FAILED_CLIPS = 1


def run(options: Labels | Extract) -> int:
    """Run `labels` or `extract`. Returns the exit code."""
    return _convert(options) if isinstance(options, Labels) else _extract(options)


def _convert(options: Labels) -> int:
    """Convert the labels. Returns the exit code."""
    # Labels are work by hand, so there is no flag that replaces them.
    if options.target.exists():
        raise InputError(f"{options.target} exists; give another name, or remove it.")
    try:
        num_clips = convert_labels(options.source, options.target)
    except WriteError as error:
        raise WriteError(
            f"{not_written(options.target, error)} Name another place, or make room there."
        ) from error
    print(f"{options.target}: {num_clips} clips.")
    return 0


def _extract(options: Extract) -> int:
    """Extract and print what was done. Returns the exit code."""
    # Wrong settings and labels are reported before any video is opened.
    settings = _settings(options)
    clips = read_labels(options.labels)
    if "sound" in options.parts:
        _tell_tracks(options, [clip.path for clip in clips])
    with TerminalProgress() as progress:
        summary = extract_images(
            clips,
            options.shards,
            settings,
            labels_folder=options.labels.parent,
            # Messages of the shards name this command as the way to make what is missing.
            command=f"python -m experiments.highlights extract {options.labels} {options.shards}",
            jobs=options.jobs,
            scheduler=options.scheduler,
            overwrite=options.overwrite,
            progress=progress,
        )
    return _report(options, summary)


def _settings(options: Extract) -> ImageSettings:
    """Settings of the pictures that the flags ask for."""
    return ImageSettings(
        parts=options.parts,
        side=options.side,
        fps=2.0 if options.fps is None and options.every is None else options.fps,
        every=options.every,
        audio_cutoff=options.audio_cutoff,
        window_seconds=options.window_seconds,
        compression=options.compression,
        interpolation=options.interpolation,
        sound_track=options.sound_track,
    )


def _tell_tracks(options: Extract, videos: Sequence[Path]) -> None:
    """Print which sound track is taken if there is a choice."""
    several = []
    for video in videos:
        try:
            tracks = audio_tracks(video)
        except DecodeError:  # the extraction reports it
            continue
        if len(tracks) > 1:
            several.append(f"{video} with {describe_tracks(tracks)}")
    if several:
        print(
            f"{len(several)} of {len(videos)} clips have several sound tracks, such as "
            f"{several[0]}. Track {options.sound_track} is taken; --sound-track takes another."
        )


def _report(options: Extract, summary: ExtractionSummary) -> int:
    print(
        f"{options.shards}: {summary.num_extracted} clips extracted, {summary.num_kept} were "
        f"there already; {summary.num_frames:,} pictures."
    )
    # On standard error, apart from the result.
    for source, notice in summary.notices.items():
        print(f"{source}: {notice}", file=sys.stderr)
    if not summary.failures:
        print(next_step("To train on them", "train", options.labels, options.shards))
        return 0
    print(
        f"{len(summary.failures)} of {summary.num_clips} clips failed; see "
        f"{options.shards / 'failures.csv'}",
        file=sys.stderr,
    )
    return 0 if options.allow_failures else EXIT_FAILED_CLIPS
