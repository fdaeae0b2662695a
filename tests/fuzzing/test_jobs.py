"""The watch sees what it is to see."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fuzzing import jobs
from tests.fuzzing.jobs import Ended, Limits, watch
from tests.processes import PATIENCE_SECONDS

LIMITS = Limits(PATIENCE_SECONDS, PATIENCE_SECONDS, num_bytes=200 * 2**20)


def run(folder: Path, program: str, limits: Limits = LIMITS) -> Ended:
    return watch([sys.executable, "-c", program, str(folder / "file")], folder, limits)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("x")
    return tmp_path


def test_a_good_job_has_no_faults(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job has its file open until that was seen three times."""
    looks, open_files = [], jobs._open_files

    def seen(process: Path, files: Path) -> list[Path]:
        looks.extend(open_files(process, files))
        if len(looks) == 3:
            (folder / "file").write_text("seen")
        return looks[-1:]

    monkeypatch.setattr(jobs, "_open_files", seen)
    program = "import sys, time; f = open(sys.argv[1])\nwhile f.read() != 'seen': f.seek(0)\n"
    ended = run(folder, program + "print('done')")
    assert (ended.code, ended.faults, ended.output) == (0, [], "done\n")
    assert 0.1 < ended.file_seconds[folder / "file"] <= ended.seconds
    assert 2**20 < ended.peak_bytes < 100 * 2**20


@pytest.mark.parametrize(
    ("program", "limits", "fault"),
    [
        ("1 / 0", {}, "traceback"),
        (
            "f = open(sys.argv[1]); signal.pause()",
            {"file_seconds": 0.6},
            "was open for \\d+ s",
        ),
        ("signal.pause()", {"job_seconds": 0.6}, "did not end"),
        ("b = b'x' * 2**28; signal.pause()", {}, "a process took"),
        ("import tempfile; tempfile.mkstemp()", {}, "in TMPDIR"),
    ],
)
def test_a_fault_is_seen_and_the_job_ended(
    folder: Path, program: str, limits: dict[str, float], fault: str
) -> None:
    """Red when what it is there to find goes unseen."""
    (message,) = run(folder, f"import signal, sys; {program}", replace(LIMITS, **limits)).faults
    assert re.search(fault, message)


def test_a_process_that_outlives_the_job_is_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when it is not seen, or still runs afterwards."""
    monkeypatch.setattr(jobs, "_ENDING_SECONDS", 0.3)
    program = "import subprocess as s; print(s.Popen(['sleep', '3600']).pid)"
    ended = run(folder, program)
    assert ended.faults == ["1 of its processes outlived it"]
    assert not Path(f"/proc/{int(ended.output)}").exists() or "Z" in state_of(int(ended.output))


def state_of(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
