"""The command `predict` of the jobs that train a model of clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from common.command_line import parse_arguments
from common.errors import InputError, did_you_mean
from experiments.clips import Format
from experiments.media.videos import find_videos
from experiments.process import runtime
from experiments.runs.run import require_model, require_positive, require_writable
from preprocess.batches.views import Views
from preprocess.system.command import run_command


@dataclass(frozen=True)
class PredictArguments:
    """Say what videos show, with the model of a finished run of any job on clips.

    Of each video NAME.csv has a row a window, NAME.json the classes of all, and
    NAME.annotated.mp4 shows both in the picture; predictions.csv has a row a video.
    """

    paths: Positional[tuple[Path, ...]]
    """The run, unless --run names it, then videos, folders of videos, and patterns such as
    'videos/*.mp4'; a file whose name begins with a dash as ./-x.mp4."""
    run: Path | None = None
    """Directory of a finished run, as runs/NAME; or what its export has written, NAME.onnx."""
    out: Path | None = None
    """Folder of results; by default predictions in the run's directory, or NAME.predictions."""
    hop: int | None = None
    """Frames, of those that the model sees, from one window to the next; by default half a
    window."""
    rolling: int = 5
    """Over how many windows, up to the one at hand, the shown probabilities are averaged."""
    threshold: float = 0.5
    """Of a model of clips with several classes each: all classes at least this probable are
    named."""
    views: str = "1x1"
    """How often each window is looked at: places in time x crops, such as 1x3."""
    annotate: bool = True
    """Write the annotated videos, which takes the most time."""
    explain: bool = False
    """Write NAME.explained.png: which moments of the video, and which places of the picture, its
    class rests on."""
    formats: tuple[Format, ...] = ()
    """Write predictions.parquet, .coco.json or .label-studio.json, too, of the videos of this call;
    see docs/exchange.md."""
    threads: str = "auto"
    """TensorFlow's thread pools: INTRA,INTER, or auto: what python -m experiments.threads has found
    best on this machine, else a default for its cores."""
    allow_failures: bool = False
    """End with exit code 0 though some videos cannot be read."""


def main(prog: str, args: Sequence[str]) -> int:
    """Run the command line and return the exit code.

    Args:
        prog: words before the arguments, such as `python -m experiments.ucf101 predict`.
        args: the arguments.
    """
    arguments = parse_arguments(PredictArguments, prog=prog, args=list(args))

    resume_hint = "The results so far are kept; the same command predicts all videos again."
    return run_command(lambda: _predict(arguments), resume_hint=lambda: resume_hint)


def _predict(arguments: PredictArguments) -> int:
    require_positive(arguments, ("hop", "rolling"))
    if not 0 <= arguments.threshold <= 1:
        raise InputError(f"--threshold must be 0 to 1. Received {arguments.threshold}.")
    views = Views.parse(arguments.views)
    threads = runtime.choose_threads(arguments.threads)
    run, paths = _run_and_videos(arguments)
    usual = run / "predictions" if run.is_dir() else run.with_suffix(".predictions")
    out = arguments.out or usual
    # All that can be refused is refused before the model is loaded, which takes seconds.
    find_videos(paths, out)
    if run.is_dir():
        require_model(run)
    require_writable(out)

    from experiments.clips.prediction.job import predict_with_run

    code = predict_with_run(
        run,
        paths,
        out,
        views=views,
        threads=threads,
        hop=arguments.hop,
        rolling=arguments.rolling,
        threshold=arguments.threshold,
        annotate=arguments.annotate,
        explain=arguments.explain,
        formats=arguments.formats,
        allow_failures=arguments.allow_failures,
    )
    print(f"Results: {out}")
    return code


def _run_and_videos(arguments: PredictArguments) -> tuple[Path, tuple[Path, ...]]:
    """Find the run and the videos of the command line; the run by --run or before the videos.

    Raises:
        InputError: if either is missing.
    """
    run, paths = arguments.run, arguments.paths
    if run is None and paths:
        run, *rest = paths
        paths = tuple(rest)
    if run is None:
        raise InputError("A finished run must be named: RUN VIDEO..., as runs/NAME a.mp4.")
    if not run.exists() or (run.is_file() and run.suffix != ".onnx"):
        raise InputError(
            "--run must be the directory of a finished run, or an .onnx file; without --run it is "
            f"named before the videos. Received {run}.{_similar(run)}"
        )
    if not paths:
        raise InputError("A video or a folder of videos must be named, after the run.")
    return run, paths


def _similar(run: Path) -> str:
    """Suggest a directory with nearly the name of a missing one, as a sentence."""
    if run.exists() or not run.parent.is_dir():
        return ""
    meant = did_you_mean(run.name, [path.name for path in run.parent.iterdir()])
    return f" {meant}" if meant else ""
