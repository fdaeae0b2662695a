"""What a row says of its machine, its memory and its commit."""

import shutil
import subprocess
import sys
from pathlib import Path

import av
import cv2
import h5py
import numpy as np
import pytest

from experiments.process import environment
from experiments.runs.records import flatten

ROOT = Path(__file__).parents[3]


def test_the_environment_is_described_in_the_fields_that_rows_have():
    found = flatten(environment.describe_environment())
    assert found["versions.opencv"].startswith(cv2.__version__)
    assert found["versions.av"] == av.__version__
    assert found["versions.h5py"] == h5py.__version__
    assert found["versions.numpy"] == np.__version__
    assert found["versions.python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["machine.cores"] >= 1
    assert found["machine.memory_bytes"] > 1e8
    assert found["machine.cpu"]


def test_peak_memory_is_in_bytes_and_this_processs_own():
    code = (
        "from experiments.process.environment import peak_rss_bytes\n"
        "held = bytearray(b'1') * 200_000_000; del held\n"
        "print(peak_rss_bytes())"
    )
    ours = np.ones(400_000_000, np.uint8)  # a parent's memory is not its child's
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert 200e6 < int(done.stdout) < 300e6 < ours.nbytes


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git on this machine")
def test_commit_is_none_outside_a_checkout_and_says_when_code_differs(tmp_path, monkeypatch):
    assert environment.git_commit(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert environment.git_commit(tmp_path) is None  # no commit yet
    (tmp_path / "experiments").mkdir()
    (tmp_path / "docs").mkdir()
    written = ("experiments/results.csv", "docs/results.md", "README.md")
    for name in ("code.py", *written):
        (tmp_path / name).write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "x")
    clean = environment.git_commit(tmp_path)
    assert clean
    assert "dirty" not in clean
    for name in written:  # recording a result changes no code
        (tmp_path / name).write_text("2")
    assert environment.git_commit(tmp_path) == clean
    (tmp_path / "code.py").write_text("2")
    assert environment.git_commit(tmp_path) == f"{clean}+dirty"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.git_commit(tmp_path) is None  # no git
