"""Classify every frame of videos: its most probable classes, one CSV a video.

    python -m experiments.classify -d videos/
    python -m experiments.classify -d videos/ -w weights/bvlc_alexnet.npy

The command follows dyelax/NVIDIA_Challenge, whose flags and columns still work. The model is
EfficientNet-Lite0 (Tan, Le, ICML 2019), whose weights are installed with this suite; with -w FILE
that of the original, AlexNet (Krizhevsky, Sutskever, Hinton, NIPS 2012) as Caffe's bvlc_alexnet; or
any other image model. The original read 19 and classified 28 frames/s on a laptop's CPU; our
figures, by `python -m experiments.bench_classify`, are in docs/log.md.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from common.command_line import parse_arguments
from common.errors import InputError, WriteError
from common.files import not_written
from experiments.clips import Format
from experiments.clips.classification.results import (
    Outcome,
    conclude,
    is_unreadable,
    read_finished,
    result_settings,
    write_one_table,
)
from experiments.media.ffmpeg import require_encoders
from experiments.media.videos import ANNOTATED, Video, find_videos
from experiments.models.image_models import (
    SEED_TOP,
    ModelOptions,
    check_num_classes,
    check_options,
    lines_of,
    model_settings,
)
from experiments.process import runtime
from experiments.runs.run import require_writable
from preprocess.system.command import run_command

EXIT_FAILED_VIDEOS = 1
_RESUME_HINT = "The rows so far are kept: the same command{} goes on from there."
_EXPORT_RESUME_HINT = "Nothing is kept; the same command exports anew."


@dataclass(frozen=True)
class Arguments(ModelOptions):
    """Classify every frame of videos; one CSV a video."""

    paths: Positional[tuple[Path, ...]] = ()
    """Videos, folders of videos, and patterns such as 'videos/*.mp4'."""
    data_dir: Annotated[Path | None, arg(aliases=["-d"])] = None
    """Folder of videos, as the original has it."""
    range: Annotated[str | None, arg(aliases=["-r"])] = None
    """"START END": of the sorted videos called *.mp4 those from number START, counted from 0, to
    before END, as in the original."""
    recursive: bool = False
    """Videos in folders below it as well."""
    out: Path = Path("save")
    """Folder of results."""
    top: int | None = None
    """Classes a frame; by default 5, or as many as the model has."""
    every: int = 1
    """Classify every N-th frame."""
    columns: Literal["all", "seed"] = "all"
    """all: frame, time, labels, probabilities; seed: the ten columns of the original."""
    one_csv: bool = False
    """Write all_videos.csv too: the rows of all videos, with a column video in front."""
    formats: tuple[Format, ...] = ()
    """Write predictions.parquet, .coco.json or .label-studio.json, too, of all videos; see
    docs/exchange.md."""
    timeline: bool = True
    """Write NAME.png, the probabilities over time; a tenth of a second a video."""
    annotate: bool = False
    """Write NAME.annotated.mp4 too, with the classes drawn into the picture."""
    overwrite: bool = False
    """Classify anew what is there already, and try again what could not be read."""
    batch_size: int = 64
    """Frames the model sees at once."""
    threads: str = "auto"
    """Thread pools: auto, or INTRA,INTER; INTER batches are computed at once, each by INTRA
    threads. auto: what python -m experiments.threads has found best, else the cores dealt out."""
    jobs: int | None = None
    """Videos decoded at the same time, each by a process of its own; by default what was measured
    with --threads auto, else 2. On a cluster one."""
    scheduler: str | None = None
    """tcp://HOST:8786 of a Dask cluster whose workers classify instead; see docs/cluster.md."""
    export: Path | None = None
    """Write the model to this .onnx file, compare it with ONNX Runtime, and stop."""


def main(args: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.classify", args=args)
    export = arguments.export
    if export is not None:
        return run_command(
            lambda: _export(arguments, export), resume_hint=lambda: _EXPORT_RESUME_HINT
        )
    return run_command(lambda: run(arguments), resume_hint=lambda: _resume_hint(arguments))


def _resume_hint(arguments: Arguments) -> str:
    return _RESUME_HINT.format(", without --overwrite," if arguments.overwrite else "")


def run(arguments: Arguments) -> int:
    """Classify the videos that are not done yet, and return the exit code.

    Raises:
        PreprocessError, WeightsError, ValueError, OSError: if folder, model, weights or a flag are
            not what they should be; the message says what to do.
    """
    videos = _check_arguments(arguments)
    try:
        finished = _finished(arguments, videos)
        if finished is not None:
            # Nothing is left to do: answered without loading TensorFlow.
            failures = conclude(finished, videos, arguments.out)
        else:
            failures = _classify(arguments, videos)
        # From the files, so that videos of earlier runs are in it, too.
        if arguments.one_csv:
            results = ((video.source, video.results) for video in videos)
            print(f"All videos: {write_one_table(arguments.out, results)}")
        if arguments.formats:
            _write_exports(arguments, videos)
    except WriteError as error:
        message = not_written(arguments.out, error)
        raise WriteError(f"{message} Make room, then go on. {_resume_hint(arguments)}") from error
    if failures:
        print(
            f"{len(failures)} of {len(videos)} videos failed or are incomplete; see "
            f"{arguments.out / 'failures.csv'}",
            file=sys.stderr,
        )
    return EXIT_FAILED_VIDEOS if failures else 0


def _finished(arguments: Arguments, videos: list[Video]) -> Outcome | None:
    """Outcome of the videos if nothing is left to do, found without a model; else None."""
    results = [arguments.out / video.results for video in videos]
    if arguments.overwrite:
        return None
    if not all(path.with_name(f"{path.name}.json").exists() for path in results):
        # Before files of weights are read for nothing.
        return None
    model, outcome = model_settings(arguments), Outcome()
    for video, path in zip(videos, results, strict=True):
        settings = result_settings(
            video.path,
            model,
            top=arguments.top,
            stride=arguments.every,
            columns=arguments.columns,
        )
        summary = read_finished(path, settings)
        if summary is None:
            return None
        wants_copy = arguments.annotate and not is_unreadable(summary)
        if wants_copy and not path.with_name(path.name + ANNOTATED).exists():
            return None
        outcome.add_earlier(video, summary)
    return outcome


def _classify(arguments: Arguments, videos: list[Video]) -> dict[str, str]:
    """Classify here or on the workers of a cluster; returns the reasons of failures."""
    from experiments.classify import cluster

    options = cluster.JobOptions(
        top=arguments.top,
        stride=arguments.every,
        columns=arguments.columns,
        timeline=arguments.timeline,
        annotate=arguments.annotate,
        overwrite=arguments.overwrite,
        batch_size=arguments.batch_size,
    )
    return cluster.classify(
        arguments.scheduler,
        arguments,
        videos,
        arguments.out,
        options,
        threads=arguments.threads,
        jobs=arguments.jobs,
    )


def _write_exports(arguments: Arguments, videos: list[Video]) -> None:
    """Write the rows of all videos for other tools."""
    # Imported here: what is done already is answered without Arrow.
    from experiments.classify.exports import write_exports

    for path in write_exports(arguments.out, arguments.formats, videos, model=arguments.model):
        print(path)


def _check_arguments(arguments: Arguments) -> list[Video]:
    """Check all flags before TensorFlow is imported, and return the videos."""
    named = [*arguments.paths, *([arguments.data_dir] if arguments.data_dir else [])]
    if not named:
        raise InputError(
            "Name what to classify: videos, folders of videos, or a pattern such as 'videos/*.mp4'."
        )
    # tyro checks types only, not ranges.
    for name in ("top", "every", "batch_size", "jobs"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1. Received {value}.")
    if arguments.columns == "seed" and arguments.top not in (None, SEED_TOP):
        raise InputError(f"--columns seed means {SEED_TOP} classes; leave out --top.")
    if arguments.columns == "seed" and arguments.formats:
        raise InputError("--formats needs the times of --columns all. Received --columns seed.")
    runtime.choose_threads(arguments.threads)
    found = find_videos(named, arguments.out, recursive=arguments.recursive)
    videos, notices = found.videos, found.notices
    if arguments.range is not None:
        videos = select_range(videos, arguments.range)
        # The original's ranges count *.mp4 files only.
        others = sum(not _is_counted(video) for video in found.videos)
        if others:
            notices = [*notices, f"--range counts *.mp4 alone; {others} other videos are left out."]
    check_options(arguments)
    if arguments.labels is not None:
        num_classes = len(lines_of(arguments.labels))
        check_num_classes(num_classes, arguments.model, arguments.top, arguments.columns)
    require_writable(arguments.out)
    # On a cluster the workers draw, and may have other encoders.
    if arguments.annotate and arguments.scheduler is None:
        require_encoders()
    for notice in notices:
        print(notice)
    return videos


def select_range(videos: Sequence[Video], text: str) -> list[Video]:
    """Select the videos with numbers [start, end), counted from 0 in sorted order.

    Only files called *.mp4 are counted, as in the original.

    Args:
        videos: all videos, sorted.
        text: "start end".

    Raises:
        InputError: if the text is not two such numbers, or no video is in the range.
    """
    counted = [video for video in videos if _is_counted(video)]
    # Two numbers apart by blanks, as the original has them, or by a comma.
    match = re.fullmatch(r"\s*(\d+)[\s,]+(\d+)\s*", text)
    rule = '--range must be "START END" with START below END, such as "0 10".'
    if match is None:
        raise InputError(f"{rule} Received {text!r}.")
    start, end = int(match[1]), int(match[2])
    if start >= end:
        raise InputError(f"{rule} Received {text!r}.")
    if start >= len(counted):
        raise InputError(
            f"--range begins at video {start}, but there are {len(counted)} called *.mp4, counted "
            "from 0. To take others, name them, or a pattern, instead."
        )
    return counted[start:end]


def _is_counted(video: Video) -> bool:
    return video.path.suffix == ".mp4"


def _export(arguments: Arguments, path: Path) -> int:
    """Write the model as ONNX, and return the exit code."""
    if path.suffix != ".onnx":
        raise InputError(f"--export must name a file that ends in .onnx. Received {path}.")
    if path.exists():
        raise InputError(f"{path} is there already; name another file, or remove it.")
    # Checked before the model is built, which takes the longest.
    require_writable(path.parent)
    if arguments.model.endswith(".onnx"):
        raise InputError(f"{arguments.model} is an ONNX file already.")
    check_options(arguments)
    runtime.configure(runtime.choose_threads(arguments.threads), seed=0)

    # They import TensorFlow, whose threads are set above.
    from experiments.models import image_loading, onnx_export

    model = image_loading.load_model(arguments, batch_size=arguments.batch_size, fused=False)
    try:
        difference = onnx_export.export_onnx(model, path, batch_size=arguments.batch_size)
    except onnx_export.ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"{path}: {model.name}, {path.stat().st_size / 1e6:.1f} MB; probabilities within "
        f"{difference:.1e} of Keras's.\n"
        f"Use it with: python -m experiments.classify VIDEOS --model {path}"
    )
    return 0
