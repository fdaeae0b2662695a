"""Recording in two files with its scores, and a review of it as a user starts it."""

import os
import re
import signal
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest

from tests import processes
from tests.experiments.highlights.counters import ffmpeg

PROGRAM = ("-m", "experiments.highlights")
COMMAND = (*PROGRAM, "review")
SECONDS = 60
CHUNK_SECONDS = 30
BUMPS = ((8, 16, 0.9), (27, 34, 0.8), (44, 50, 0.6))
"""Starts, ends and scores of highlights; the second runs over the border of the files."""


@pytest.fixture(scope="session")
def chunks(tmp_path_factory):
    """Folder with two files of 30 s each, in H.264 and AAC."""
    folder = tmp_path_factory.mktemp("recording") / "monday"
    folder.mkdir()
    for number in range(SECONDS // CHUNK_SECONDS):
        ffmpeg(
            *("-f", "lavfi", "-i", f"testsrc2=s=192x108:r=10:d={CHUNK_SECONDS}"),
            *("-f", "lavfi", "-i", f"sine=220:d={CHUNK_SECONDS}"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-pix_fmt", "yuv420p"),
            *("-c:a", "aac", str(folder / f"part{number}.mp4")),
        )
    return folder


@pytest.fixture
def scores(tmp_path):
    """File of the recording's scores."""
    return write_scores(tmp_path)


def write_scores(folder):
    """Write scores as CSV, two per second."""
    times = np.arange(0.25, SECONDS, 0.5)
    values = np.full(len(times), 0.1)
    for start, end, height in BUMPS:
        values[(times > start) & (times < end)] = height
    rows = [f"{time},{value}" for time, value in zip(times, values, strict=True)]
    path = folder / "scores.csv"
    path.write_text("\n".join(["time_seconds,probability", *rows]))
    return path


@contextmanager
def reviewing(folder, *args):
    """Run `review` in a folder, yield its address, and end it as Ctrl-C does."""
    with serving(folder, "review", *args) as address:
        yield address


@contextmanager
def serving(folder, name, *args, last=""):
    """Run a command that serves a page, yield its address, and end it as Ctrl-C does.

    `last` is what it must say then.
    """
    server = processes.start(
        [*PROGRAM, name, *args, "--no-open"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(processes.REPOSITORY)},
        stderr=subprocess.STDOUT,
    )
    try:
        lines, found = [" "], None
        while lines[-1] and not found:  # others say what is remembered
            lines.append(server.stdout.readline())
            found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", lines[-1])
        assert found, lines
        yield found[0]
        server.send_signal(signal.SIGINT)
        output = server.communicate(timeout=processes.PATIENCE_SECONDS)[0]
        assert server.returncode == 0, output
        assert "Traceback" not in output
        assert last in output
        assert output.count("\n") <= 4, output
    finally:
        server.kill()
        server.communicate()


@pytest.fixture
def start(tmp_path, chunks, scores):
    """Function that starts a review of the recording, with more flags."""

    def started(*args):
        return reviewing(tmp_path, chunks, "--scores", scores, "--bin-size", 0, *args)

    return started
