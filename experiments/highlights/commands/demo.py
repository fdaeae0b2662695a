"""`demo`: runs all steps on a rendered stream, and measures how good its reel is."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from common.errors import InputError
from experiments.highlights.commands.arguments import Demo
from experiments.highlights.demo.quality import read_cuts, read_truth, reel_quality
from experiments.highlights.demo.synthetic_stream import (
    LABELS_NAME,
    RECORDING_NAME,
    TRUTH_NAME,
    render_stream,
)
from experiments.media.chunk_files import recording_chunks
from experiments.media.recording import read_recording, recording_duration

_WANTED = 0.9  # precision and recall in seconds below which the exit code is EXIT_MISSED
EXIT_MISSED = 1


def run(options: Demo) -> int:
    """Run all steps. Returns the exit code, which says whether the reel has the highlights."""
    _check_folders(options)
    print(
        "The demo's stream is rendered, with its face and its voice: its scores say nothing "
        "about real streams."
    )
    render_stream(options.data, seed=options.seed, jobs=options.jobs)
    labels, shards = options.data / LABELS_NAME, options.data / "shards"
    recording, reel = options.data / RECORDING_NAME, options.out / "reel.mp4"
    # `--resume` and kept shards make a second demo quick; the reel is always made anew.
    steps = [
        ["extract", labels, shards, "--side", 64],
        ["train", labels, shards, "--out", options.out, "--seed", options.seed, "--resume"],
        ["run", recording, "--model", options.out, "-o", reel, "--overwrite"],
    ]
    for args in steps:
        code = _run([str(arg) for arg in args])
        if code:
            return code
    return _judge(options, recording, reel)


def _check_folders(options: Demo) -> None:
    """Check the two directories, before minutes of rendering and training."""
    if options.jobs is not None and options.jobs < 1:
        raise InputError(f"jobs must be at least 1. Received {options.jobs}.")
    for name, path in (("out", options.out), ("data", options.data)):
        # The nearest folder that exists decides whether the others can be made in it.
        there = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
        if not there.is_dir():
            raise InputError(f"--{name} {path} must be a directory; {there} is a file.")
        if not os.access(there, os.W_OK | os.X_OK):
            raise InputError(f"--{name} {path}: {there} may not be written. Name another.")


def _judge(options: Demo, recording: Path, reel: Path) -> int:
    duration = recording_duration(read_recording(recording_chunks(recording)))
    quality = reel_quality(read_cuts(reel), read_truth(options.data / TRUTH_NAME), duration)
    precision, recall = quality.precision or 0.0, quality.recall or 0.0
    print(
        f"\n{reel}: {precision:.3f} of its seconds are highlights, and it holds {recall:.3f} "
        f"of the highlights' seconds ({quality.num_touched} of {quality.num_highlights} "
        f"highlights).\nReport: {options.out / 'report.html'}"
    )
    return 0 if min(precision, recall) >= _WANTED else EXIT_MISSED


def _run(args: list[str]) -> int:
    """Run one command in a process of its own, as a user would. Returns its exit code."""
    command = ["-m", "experiments.highlights", *args]
    print(f"\n$ {shlex.join(['python', *command])}", flush=True)
    return subprocess.run([sys.executable, *command], check=False).returncode
