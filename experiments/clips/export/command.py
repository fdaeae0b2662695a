"""The command `export` of the jobs, and `python -m experiments.export`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from common.command_line import parse_arguments
from common.errors import InputError
from experiments.process import runtime
from experiments.runs.run import SCORER, require_model
from preprocess.system.command import run_command

_SUFFIX = ".onnx"


@dataclass(frozen=True)
class ExportArguments:
    """Write a trained model as ONNX, softmax inside, for batches of any size.

    The file appears only if Keras and ONNX Runtime agree to 1e-4 on real frames. It holds the
    class names and what the model saw in training: predict --run MODEL.onnx needs nothing else.
    """

    model: Positional[Path]
    """Directory of a finished run, or a .keras file of a model of pictures."""
    out: Positional[Path]
    """The file to write, NAME.onnx."""
    int8: bool = False
    """Write NAME.int8.onnx too, and tell its size, accuracy and speed."""
    frames: Path | None = None
    """A video on which both are compared; by default the run's own clips, else rendered ones."""
    overwrite: bool = False
    """Replace files that are there."""
    threads: str = "auto"
    """TensorFlow's thread pools: INTRA,INTER, or auto: what python -m experiments.threads has found
    best on this machine, else a default for its cores."""


def main(prog: str, args: Sequence[str]) -> int:
    """Run the command line; returns 1 if the models differ, 2 for a wrong command.

    Args:
        prog: words before the arguments, such as `python -m experiments.export`.
        args: the arguments.
    """
    arguments = parse_arguments(ExportArguments, prog=prog, args=list(args))

    return run_command(
        lambda: _export(arguments),
        resume_hint=lambda: "Nothing half-made is left; the same command exports anew.",
    )


def _export(arguments: ExportArguments) -> int:
    path = arguments.out
    small = path.with_suffix(".int8.onnx")
    _check_arguments(arguments, [path, small] if arguments.int8 else [path])
    threads = runtime.choose_threads(arguments.threads)
    runtime.configure(threads, seed=0)
    # It imports TensorFlow, whose threads are set above.
    from experiments.clips.export.write import export_model

    return export_model(arguments.model, path, small, int8=arguments.int8, video=arguments.frames)


def _check_arguments(arguments: ExportArguments, files: Sequence[Path]) -> None:
    """Raise InputError for wrong arguments, before TensorFlow is loaded."""
    model, out, video = arguments.model, arguments.out, arguments.frames
    if not model.exists():
        raise InputError(f"A finished run's directory, or a .keras file, is needed. No {model}.")
    if model.is_dir() and not (model / SCORER).is_file():
        require_model(model)
    if model.is_file() and model.suffix != ".keras":
        raise InputError(
            f"A finished run's directory, or a .keras file, is needed. Received {model}."
        )
    if out.suffix != _SUFFIX:
        raise InputError(f"The file to write must be called NAME{_SUFFIX}. Received {out}.")
    if video is not None and not video.exists():
        raise InputError(f"--frames must be a video. There is no {video}.")
    for file in files:
        if file.is_dir():
            raise InputError(f"{file} is a directory; name a file.")
        if file.exists() and not arguments.overwrite:
            raise InputError(f"{file} is there already; name another, or say --overwrite.")
    # Folders that are missing are made later, in the nearest one that exists.
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"{out} cannot be written: {parent} is no folder that may be written to.")
