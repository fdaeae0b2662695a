"""`labels` and `extract`: label files, and shards of the pictures of labelled clips."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tyro.conf import Positional

from common.errors import InputError, WriteError
from common.files import not_written
from experiments.clips.images import ImageSettings, Interpolation, Part
from preprocess.shards.settings import Compression

if TYPE_CHECKING:
    from preprocess.extraction.extract import ExtractionSummary


@dataclass(frozen=True)
class Labels:
    """Write labels, the original's data.csv or ours, as a plain CSV."""

    source: Positional[Path]
    """What to read."""
    target: Positional[Path]
    """What to write: path,x1,y1,x2,y2,start,end,label,group."""

    resume_hint: ClassVar[str] = "Nothing half-made is left; the same command begins anew."

    def run(self) -> int:
        """Convert the labels. Returns the exit code."""
        from experiments.highlights.labels import convert_labels

        # Labels are work by hand, so there is no flag that replaces them.
        if self.target.exists():
            raise InputError(f"{self.target} exists; give another name, or remove it.")
        try:
            num_clips = convert_labels(self.source, self.target)
        except WriteError as error:
            raise WriteError(
                f"{not_written(self.target, error)} Name another place, or make room there."
            ) from error
        print(f"{self.target}: {num_clips} clips.")
        return 0


EXIT_FAILED_CLIPS = 1


@dataclass(frozen=True)
class Extract:
    """Make the pictures that a model is trained on. A second run does only what is missing."""

    labels: Positional[Path]
    """The original's data.csv, or ours: path,x1,y1,x2,y2,start,end,label,group."""
    shards: Positional[Path]
    """Directory to write to."""
    parts: tuple[Part, ...] = ("box", "sound")
    """One above the other: the labelled box, all of the frame, the spectrogram of the sound."""
    side: int = 112
    """Width and height of each part, in pixels."""
    fps: float | None = None
    """Pictures a second, by the video's own timestamps; 2 if --every is not given either."""
    every: int | None = None
    """Every how many frames a picture is taken, in place of --fps."""
    audio_cutoff: float = 8000.0
    """Highest frequency of the spectrogram, in Hz."""
    window_seconds: float = 5.0
    """How much sound a picture shows."""
    sound_track: int = 0
    """Of several sound tracks, the one whose spectrogram is taken, from 0."""
    compression: Compression = "lz4"
    """Of the shards: none is the fastest to write, zstd the smallest."""
    interpolation: Interpolation = "smooth"
    """How box and frame are scaled: pillow-bicubic is the original's way."""
    jobs: int | None = None
    """Worker processes; one a processor if not given."""
    scheduler: str | None = None
    """tcp://HOST:8786 of a Dask cluster whose workers decode instead; see docs/cluster.md."""
    allow_failures: bool = False
    """Exit with 0 though some clips could not be read; failures.csv names them."""
    overwrite: bool = False
    """Remove what the directory holds, and start anew."""

    resume_hint: ClassVar[str] = "Finished shards are kept; the same command goes on from there."

    def run(self) -> int:
        """Extract and print what was done. Returns the exit code."""
        from experiments.highlights.labels import read_labels
        from experiments.highlights.scoring.extraction import extract_images
        from preprocess.system.progress import TerminalProgress

        # Wrong settings and labels are reported before any video is opened.
        settings = self.settings()
        clips = read_labels(self.labels)
        if "sound" in self.parts:
            self._tell_tracks([clip.path for clip in clips])
        with TerminalProgress() as progress:
            summary = extract_images(
                clips,
                self.shards,
                settings,
                labels_folder=self.labels.parent,
                # Messages of the shards name this command as the way to make what is missing.
                command=f"python -m experiments.highlights extract {self.labels} {self.shards}",
                jobs=self.jobs,
                scheduler=self.scheduler,
                overwrite=self.overwrite,
                progress=progress,
            )
        return self._report(summary)

    def settings(self) -> ImageSettings:
        """Settings of the pictures that the flags ask for."""
        return ImageSettings(
            parts=self.parts,
            side=self.side,
            fps=2.0 if self.fps is None and self.every is None else self.fps,
            every=self.every,
            audio_cutoff=self.audio_cutoff,
            window_seconds=self.window_seconds,
            compression=self.compression,
            interpolation=self.interpolation,
            sound_track=self.sound_track,
        )

    def _tell_tracks(self, videos: Sequence[Path]) -> None:
        """Print which sound track is taken if there is a choice."""
        from experiments.media.recording import describe_tracks
        from preprocess.errors import DecodeError
        from preprocess.video.video_file import audio_tracks

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
                f"{several[0]}. Track {self.sound_track} is taken; --sound-track takes another."
            )

    def _report(self, summary: ExtractionSummary) -> int:
        print(
            f"{self.shards}: {summary.num_extracted} clips extracted, {summary.num_kept} were "
            f"there already; {summary.num_frames:,} pictures."
        )
        # On standard error, apart from the result.
        for source, notice in summary.notices.items():
            print(f"{source}: {notice}", file=sys.stderr)
        if not summary.failures:
            return 0
        print(
            f"{len(summary.failures)} of {summary.num_clips} clips failed; see "
            f"{self.shards / 'failures.csv'}",
            file=sys.stderr,
        )
        return 0 if self.allow_failures else EXIT_FAILED_CLIPS
