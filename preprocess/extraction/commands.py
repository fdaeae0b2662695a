"""Subcommands of `python -m preprocess`: extract videos, list windows of them, render some.

A light file: it imports the work inside `run`, so that `--help` does not wait for OpenCV and HDF5.
"""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import Positional, Suppress
from tyro.constructors import PrimitiveConstructorSpec

from preprocess.shards.settings import Compression, FrameSettings, Interpolation
from preprocess.sources.exchange import LIST, import_clips
from preprocess.system.progress import TerminalProgress

EXIT_FAILED_CLIPS = 1  # the shards are usable, but some clips are missing; 2 stands for an error


def _parse_size(args: list[str]) -> tuple[int, int]:
    """Parse WIDTHxHEIGHT; tyro reports the ValueError of anything else."""
    width, _, height = args[0].lower().partition("x")
    return int(width), int(height)


# tyro would take a pair as two words, `--size 160 120`.
Size = Annotated[
    tuple[int, int],
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="WIDTHxHEIGHT",
        instance_from_str=_parse_size,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda size: [f"{size[0]}x{size[1]}"],
    ),
]


@dataclass(frozen=True)
class Extract:
    """Decode videos into shards. A second run does only what is missing."""

    videos: Positional[Path]
    """Folder of videos: class/v_name_NN/v_name_NN_MM.mpg (UCF11), class/clip.mp4 or
    v_Class_gNN_cNN.avi (UCF101); a folder of frame000001.jpg and on counts as a video. Or Epic
    Kitchens' folder of train_action_classes.csv and val_action_classes.csv. Or LIST.csv with the
    columns video,label[,start,stop][,start_frame,stop_frame][,group][,part]."""
    shards: Positional[Path]
    """Directory to write to."""
    size: Size = (160, 120)
    """Width and height of the stored frames, in pixels."""
    stride: int = 1
    """Keep every N-th frame."""
    max_frames: int | None = None
    """Keep at most this many frames of a clip."""
    compression: Compression = "lz4"
    """Compression of the shards: none is the fastest to write, zstd the smallest."""
    interpolation: Interpolation = "linear"
    """How pictures are scaled: linear is OpenCV's; pillow is Pillow's and torchvision's, which is
    antialiased."""
    grey: bool = False
    """Make pictures grey before they are scaled."""
    classes: tuple[str, ...] | None = None
    """Extract only these classes."""
    jobs: int | None = None
    """Decoding processes; one a processor if not given."""
    scheduler: str | None = None
    """tcp://HOST:8786 of a Dask cluster whose workers decode instead; see docs/cluster.md."""
    opencv_threads: int = 1
    """Threads of each worker that decode a video and scale its frames; more helps where there are
    fewer videos than processors."""
    allow_failures: bool = False
    """Exit with 0 though some clips could not be read; failures.csv names them."""
    overwrite: bool = False
    """Remove what the directory holds, and start anew."""
    # Not for users: `__main__` fills in the data set that a subcommand stands for, and other
    # commands the command that repeats their call.
    dataset: Suppress[str | None] = None
    command: Suppress[str | None] = None

    # Printed when the command is stopped.
    kept: ClassVar[str] = "Finished shards are kept."

    def run(self) -> int:
        """Extract, write the statistics, and say what was done; the exit code."""
        from preprocess.extraction import extract, statistics

        settings = FrameSettings(
            self.size,
            self.stride,
            self.max_frames,
            self.compression,
            interpolation=self.interpolation,
            grey=self.grey,
        )
        started = time.monotonic()
        with TerminalProgress() as progress:
            summary = extract.extract(
                self.videos,
                self.shards,
                settings,
                jobs=self.jobs,
                scheduler=self.scheduler,
                opencv_threads=self.opencv_threads,
                dataset=self.dataset,
                classes=self.classes,
                overwrite=self.overwrite,
                command=self.command or this_command(),
                progress=progress,
            )
        seconds = time.monotonic() - started
        # Also after a run that was killed between the last shard and its statistics.
        if summary.num_stored and (summary.num_extracted or not self._reported()):
            statistics.report_lengths(self.shards)
        if summary.num_extracted:
            print(
                f"\n{summary.dataset}: {summary.num_extracted} clips extracted, "
                f"{summary.num_kept} were there already; {summary.num_frames:,} frames in "
                f"{seconds:.1f} s ({summary.num_frames / seconds:,.0f} frames/s)."
            )
        elif summary.num_kept:
            print(f"{summary.dataset}: all of {summary.num_kept} clips were there already.")
        for source, notice in summary.notices.items():
            print(f"{source}: {notice}", file=sys.stderr)
        return self._exit_code(summary.num_clips, len(summary.failures))

    def as_typed(self) -> str:
        """Command line that repeats this extraction."""
        # Options that change which frames are stored; those that only change the speed are left
        # out.
        width, height = self.size
        args = ["folder", str(self.videos), str(self.shards), "--size", f"{width}x{height}"]
        args += ["--stride", str(self.stride)]
        if self.max_frames is not None:
            args += ["--max-frames", str(self.max_frames)]
        if self.interpolation != "linear":
            args += ["--interpolation", self.interpolation]
        if self.grey:
            args.append("--grey")
        if self.classes is not None:
            args += ["--classes", *self.classes]
        return f"python -m preprocess {shlex.join(args)}"

    def _reported(self) -> bool:
        """Return True if the statistics have been written."""
        return (self.shards / "statistics.json").exists()

    def _exit_code(self, num_clips: int, num_failed: int) -> int:
        """Report failed clips on standard error and return the exit code."""
        if not num_failed:
            return 0
        print(
            f"{num_failed} of {num_clips} clips failed; see {self.shards / 'failures.csv'}",
            file=sys.stderr,
        )
        return 0 if self.allow_failures else EXIT_FAILED_CLIPS


@dataclass(frozen=True)
class Demo:
    """Render the built-in data set as video files, in UCF11's layout."""

    videos: Positional[Path]
    """Folder to write to."""
    groups_per_class: int = 8
    """Scenes per class."""
    clips_per_group: int = 8
    """Clips per scene."""
    seed: int = 0
    """Seed of the rendering."""
    jobs: int | None = None
    """Worker processes; one a processor if not given."""

    kept: ClassVar[str] = "Finished clips are kept."

    def run(self) -> int:
        """Render; the exit code."""
        from preprocess.sources.synthetic import render_dataset

        render_dataset(
            self.videos,
            groups_per_class=self.groups_per_class,
            clips_per_group=self.clips_per_group,
            seed=self.seed,
            jobs=self.jobs,
        )
        print(f"Rendered into {self.videos}. Next: python -m preprocess ucf11 {self.videos} SHARDS")
        return 0


@dataclass(frozen=True)
class Windows:
    """Write a list of videos cut into windows of time, as `folder` takes it."""

    videos: Positional[Path]
    """Folder of videos; without class folders, each is labelled by its name."""
    list: Positional[Path]
    """CSV file to write to."""
    parts: int = 5
    """Windows of each video: the last one is for the test, the one before for the validation."""
    overwrite: bool = False
    """Replace another file of that name."""

    kept: ClassVar[str] = "Nothing is kept."

    def run(self) -> int:
        """Write the list and say what it is good for; the exit code."""
        from preprocess.extraction.windows import write_windows

        num_clips = write_windows(
            self.videos, self.list, num_windows=self.parts, overwrite=self.overwrite
        )
        print(
            f"{self.list}: {num_clips} videos in {self.parts} windows each. Training "
            "and test windows are of the same videos: a score on this split says little about new "
            f"ones. Next: python -m preprocess folder {self.list} SHARDS"
        )
        return 0


@dataclass(frozen=True)
class Import:
    """Turn another tool's clips and labels into a list, as `folder` takes it."""

    source: Positional[Path]
    """Folder that save_to_disk of Hugging Face's datasets wrote; a .tar of WebDataset, or a folder
    of such; FiftyOne's folder of temporal detections, with labels.json; or Label Studio's JSON."""
    out: Positional[Path]
    """Folder to write to: clips.csv, and in videos/ those that the source holds inside."""
    media: Path | None = None
    """Folder of the videos that the source only names; by default the source's own."""
    overwrite: bool = False
    """Replace another list there."""

    kept: ClassVar[str] = "Nothing was written."

    def run(self) -> int:
        """Write the list, and say what is left out; the exit code."""
        found = import_clips(self.source, self.out, media=self.media, overwrite=self.overwrite)
        for name, reason in found.left_out.items():
            print(f"Left out: {name}: {reason}.", file=sys.stderr)
        print(
            f"{self.out / LIST}: {found.num_clips} clips from {found.kind}, {len(found.left_out)} "
            f"left out. Next: python -m preprocess folder {self.out / LIST} SHARDS"
        )
        return 0


def this_command() -> str:
    """Command line of this process, without what a second run must not repeat."""
    # With --overwrite a repeated command would remove what the first run has finished.
    args = [arg for arg in sys.argv[1:] if arg != "--overwrite"]
    return f"python -m preprocess {shlex.join(args)}"
