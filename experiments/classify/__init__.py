"""Every frame of every video in a folder to its most probable classes, one CSV a video.

    python -m experiments.classify -d videos/ -w weights/bvlc_alexnet.npy

After dyelax/NVIDIA_Challenge, whose flags and columns still work, with AlexNet (Krizhevsky,
Sutskever, Hinton, NIPS 2012) as Caffe's bvlc_alexnet, or any other image model. Its speed, 19
frames/s read and 28 classified on a laptop's CPU; ours: docs/classify.md, from `python -m
experiments.bench_classify`.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from experiments import runtime
from experiments.classify.models import (
    ModelOptions,
    check_options,
    load_model,
    require_classes,
)
from experiments.classify.tables import SEED_TOP
from experiments.endings import run_command
from experiments.videos import Video, find_videos
from preprocess.errors import PreprocessError, WriteError
from preprocess.files import not_written

if TYPE_CHECKING:
    from experiments.classify.job import JobOptions

EXIT_FAILED_VIDEOS = 1
DEFAULT_JOBS = 2
_GOING_ON = "The rows so far are kept: the same command goes on from there."
_EXPORT_GOING_ON = "Nothing is kept; the same command exports anew."


@dataclass(frozen=True)
class Arguments(ModelOptions):
    """Classify every frame of every video in a folder; one CSV a video."""

    data_dir: Annotated[Path | None, arg(aliases=["-d"])] = None
    """Folder of videos."""
    range: Annotated[str | None, arg(aliases=["-r"])] = None
    """"START END": of the sorted videos those from number START, counted from 0, to before END."""
    recursive: bool = False
    """Videos in folders below it as well."""
    out: Path = Path("save")
    """Folder of results."""
    top: int = 5
    """Classes a frame."""
    every: int = 1
    """Classify every N-th frame."""
    columns: Literal["all", "seed"] = "all"
    """all: frame, time, labels, probabilities; seed: the ten columns of the original."""
    timeline: bool = True
    """Write NAME.png, the probabilities over time; a tenth of a second a video."""
    annotate: bool = False
    """Write NAME.annotated.mp4 too, with the classes drawn into the picture."""
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
    """The command line. Returns the exit code."""
    import tyro

    arguments = tyro.cli(Arguments, prog="python -m experiments.classify", args=args)
    export = arguments.export
    if export is not None:
        return run_command(lambda: _export(arguments, export), going_on=lambda: _EXPORT_GOING_ON)
    return run_command(lambda: run(arguments), going_on=lambda: _GOING_ON)


def run(arguments: Arguments) -> int:
    """Classify the videos that are not done yet. Returns the exit code.

    Raises:
        PreprocessError, WeightsError, ValueError, OSError: if folder, model, weights or a flag are
            not what they should be; the message says what to do.
    """
    videos = _check(arguments)
    try:
        classify = _classify_here if arguments.scheduler is None else _classify_on_cluster
        failures = classify(arguments, videos)
    except WriteError as error:
        told = not_written(arguments.out, error)
        raise WriteError(f"{told} Make room, then go on. {_GOING_ON}") from error
    if failures:
        print(
            f"{len(failures)} of {len(videos)} videos failed or are incomplete; see "
            f"{arguments.out / 'failures.csv'}",
            file=sys.stderr,
        )
    return EXIT_FAILED_VIDEOS if failures else 0


def _classify_here(arguments: Arguments, videos: list[Video]) -> dict[str, str]:
    """With the model in this process; returns why videos failed."""
    from experiments.classify.folder import classify_folder

    threads = runtime.choose_threads(arguments.threads, workload="classify")
    runtime.configure(threads, seed=0)
    model = load_model(arguments, batch_size=arguments.batch_size, threads_a_batch=threads.intra_op)
    require_classes(model, arguments.top)
    jobs = arguments.jobs or threads.jobs or DEFAULT_JOBS
    print(f"{model.name}: {threads}; {jobs} decoder{'s' * (jobs > 1)}")
    options = replace(_options(arguments), jobs=jobs, threads=threads)
    return classify_folder(model, videos, arguments.out, options)


def _classify_on_cluster(arguments: Arguments, videos: list[Video]) -> dict[str, str]:
    """With a model on each worker; returns why videos failed."""
    from experiments.classify.cluster import classify_on_cluster

    assert arguments.scheduler is not None
    assert arguments.data_dir is not None
    return classify_on_cluster(
        *(arguments.scheduler, arguments, videos, arguments.out, _options(arguments)),
        data_dir=arguments.data_dir,
        threads=arguments.threads,
    )


def _options(arguments: Arguments) -> JobOptions:
    """What is written of a video."""
    from experiments.classify.job import JobOptions

    names = ("top", "every", "columns", "timeline", "annotate", "batch_size")
    return JobOptions(**{name: getattr(arguments, name) for name in names})


def _check(arguments: Arguments) -> list[Video]:
    """See to all that can be seen to before TensorFlow is imported; returns the videos."""
    if arguments.data_dir is None:
        raise ValueError("--data-dir, or -d, must name a folder of videos.")
    for name in ("top", "every", "batch_size", "jobs"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1. Received {value}.")
    if arguments.columns == "seed" and arguments.top != SEED_TOP:
        raise ValueError(f"--columns seed means {SEED_TOP} classes; leave out --top.")
    runtime.choose_threads(arguments.threads)
    found = find_videos([arguments.data_dir], arguments.out, recursive=arguments.recursive)
    videos = found.videos
    if arguments.range is not None:
        videos = select_range(videos, arguments.range)
    check_options(arguments)
    _require_writable(arguments.out)
    for notice in found.notices:
        print(notice)
    return videos


def select_range(videos: Sequence[Video], text: str) -> list[Video]:
    """The videos from number `start` to before number `end`, counted from 0 as sorted.

    Args:
        videos: all of them.
        text: "start end".

    Raises:
        ValueError: if the text is not two such numbers, or no video is in the range.
    """
    match = re.fullmatch(r"\s*(\d+)[\s,]+(\d+)\s*", text)
    rule = '--range must be "START END" with START below END, such as "0 10".'
    if match is None:
        raise ValueError(f"{rule} Received {text!r}.")
    start, end = int(match[1]), int(match[2])
    if start >= end:
        raise ValueError(f"{rule} Received {text!r}.")
    if start >= len(videos):
        raise ValueError(
            f"--range begins at video {start}, but there are {len(videos)}, counted from 0."
        )
    return list(videos[start:end])


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PreprocessError(f"Cannot write to {folder}: {error.strerror}.") from error


def _export(arguments: Arguments, path: Path) -> int:
    """Write the model as ONNX. Returns the exit code."""
    if path.suffix != ".onnx":
        raise ValueError(f"--export must name a file that ends in .onnx. Received {path}.")
    if path.exists():
        raise ValueError(f"{path} is there already; name another file, or remove it.")
    _require_writable(path.parent)
    if arguments.model.endswith(".onnx"):
        raise ValueError(f"{arguments.model} is an ONNX file already.")
    check_options(arguments)
    from experiments.classify.onnx_models import ExportError, export_onnx

    runtime.configure(runtime.choose_threads(arguments.threads), seed=0)
    model = load_model(arguments, batch_size=arguments.batch_size, fused=False)
    try:
        difference = export_onnx(model, path, batch_size=arguments.batch_size)
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"{path}: {model.name}, {path.stat().st_size / 1e6:.1f} MB; probabilities within "
        f"{difference:.1e} of Keras's.\n"
        f"Use it with: python -m experiments.classify -d VIDEOS --model {path}"
    )
    return 0
