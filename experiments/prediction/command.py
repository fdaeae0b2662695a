"""The command `predict` of the jobs that train a model of clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from tyro.conf import Positional

from experiments import runtime
from experiments.endings import run_command
from experiments.run_directory import CLIP_MODEL
from experiments.runs import require_positive, require_writable

if TYPE_CHECKING:
    from experiments.prediction.model import WindowModel
    from preprocess.views import Views


@dataclass(frozen=True)
class PredictArguments:
    """Say what videos show, with the model of a finished run.

    Of each video NAME.csv has a row a window, NAME.json the classes of all, and
    NAME.annotated.mp4 shows both in the picture; predictions.csv has a row a video.
    """

    paths: Positional[tuple[Path, ...]]
    """Videos, folders of videos, and patterns such as 'videos/*.mp4'; a file whose name begins with
    a dash as ./-x.mp4."""
    run: Path
    """Directory of a finished run, as runs/NAME; or what its export has written, NAME.onnx."""
    out: Path | None = None
    """Folder of results; by default predictions in the run's directory, or NAME.predictions."""
    hop: int | None = None
    """Frames, of those that the model sees, from one window to the next; by default half a
    window."""
    rolling: int = 5
    """Over how many windows, up to the one at hand, the shown probabilities are averaged."""
    views: str = "1x1"
    """How often each window is looked at: places in time x crops, such as 1x3."""
    annotate: bool = True
    """Write the annotated videos, which takes the most time."""
    threads: str = "auto"
    """TensorFlow's thread pools: INTRA,INTER, or auto: what python -m experiments.threads has found
    best on this machine, else a default for its cores."""
    allow_failures: bool = False
    """End with exit code 0 though some videos cannot be read."""


def main(prog: str, args: Sequence[str]) -> int:
    """The command line. Returns the exit code.

    Args:
        prog: what is typed before the arguments, such as `python -m experiments.ucf101 predict`.
        args: the arguments.
    """
    arguments = tyro.cli(PredictArguments, prog=prog, args=list(args))

    going_on = "The videos that were told of are done; the same command does all again."
    return run_command(lambda: _predict(arguments), going_on=lambda: going_on)


def _predict(arguments: PredictArguments) -> int:
    from experiments.videos import find_videos
    from preprocess.views import Views

    require_positive(arguments, ("hop", "rolling"))
    views = Views.parse(arguments.views)
    threads = runtime.choose_threads(arguments.threads)
    run = arguments.run
    is_onnx = run.suffix == ".onnx" and run.is_file()
    if not run.is_dir() and not is_onnx:
        raise ValueError(
            f"--run must be the directory of a finished run, or an .onnx file. Received {run}."
        )
    usual = run.with_suffix(".predictions") if is_onnx else run / "predictions"
    out = arguments.out or usual
    if not arguments.paths:
        raise ValueError("A video or a folder of videos must be named.")
    find_videos(arguments.paths, out)
    if run.is_dir() and not (run / CLIP_MODEL).is_file():
        raise ValueError(
            f"A finished run's directory is needed, which holds {CLIP_MODEL}. {run} does not; name "
            "another, or train one."
        )
    require_writable(out)
    if arguments.annotate:
        from experiments.annotation import require_encoders

        require_encoders()
    model = _load(run, views, threads)

    from experiments.prediction.job import predict_paths

    print(f"{len(model.class_names)} classes, from {run}; {threads}")
    code = predict_paths(
        *(model, arguments.paths, out),
        hop=arguments.hop,
        rolling=arguments.rolling,
        annotate=arguments.annotate,
        allow_failures=arguments.allow_failures,
        settings={"run": str(run), "views": str(views)},
    )
    print(f"Results: {out}")
    return code


def _load(run: Path, views: Views, threads: runtime.Threads) -> WindowModel:
    """A run's model; TensorFlow is only started for one that is no ONNX file."""
    if run.is_file():
        from experiments.export.onnx_clip_model import OnnxClipModel

        return OnnxClipModel(run, views=views, num_threads=threads.intra_op)
    runtime.configure(threads, seed=0)

    from experiments.clip_model import load_clip_model

    return load_clip_model(run, views=views)
