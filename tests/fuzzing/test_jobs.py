"""The watch sees what it is to see."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .jobs import Ended, Limits, watch

LIMITS = Limits(file_seconds=3.0, job_seconds=5.0, num_bytes=200 * 2**20)


def run(folder: Path, program: str) -> Ended:
    return watch([sys.executable, "-c", program, str(folder / "file")], folder, LIMITS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("x")
    return tmp_path


def test_a_good_job_has_no_faults(folder: Path) -> None:
    ended = run(folder, "import sys, time; f = open(sys.argv[1]); time.sleep(1); print('done')")
    assert (ended.code, ended.faults, ended.said) == (0, [], "done\n")
    assert 0.2 < ended.file_seconds[folder / "file"] < 3
    assert 2**20 < ended.peak_bytes < 100 * 2**20


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        ("1 / 0", "traceback"),
        ("import sys, time; f = open(sys.argv[1]); time.sleep(30)", "file was open for 3 s"),
        ("import time; time.sleep(30)", "did not end"),
        ("import time; b = b'x' * 2**28; time.sleep(30)", "a process took"),
        ("import tempfile; tempfile.mkstemp()", "in TMPDIR"),
    ],
)
def test_a_fault_is_seen_and_the_job_ended(folder: Path, program: str, fault: str) -> None:
    """Red when what it is there to find goes unseen."""
    (said,) = run(folder, program).faults
    assert fault in said


def test_a_process_that_outlives_the_job_is_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when it is not seen, or still runs afterwards."""
    from . import jobs

    monkeypatch.setattr(jobs, "_ENDING_SECONDS", 0.3)
    program = "import subprocess as s; print(s.Popen(['sleep', '60']).pid)"
    ended = run(folder, program)
    assert ended.faults == ["1 of its processes outlived it"]
    assert not Path(f"/proc/{int(ended.said)}").exists() or "Z" in state_of(int(ended.said))


def state_of(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
