"""`python -m preprocess` as a person types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from preprocess import open_shards
from tests.preprocess.conftest import REPOSITORY, Run


def test_help_names_the_commands(command: Run) -> None:
    done = command("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("ucf11", "folder", "demo"))


def test_nothing_heavy_is_imported_early() -> None:
    program = (
        "import sys, preprocess.extraction.extract\n"
        "print([name for name in ('tensorflow', 'sklearn', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_run_reports_what_it_did(videos: Path, tmp_path: Path, command: Run) -> None:
    done = command("ucf11", videos, tmp_path, "--size", "32x24", "--stride", 2, "--jobs", 1)
    assert done.returncode == 0, done.stderr
    assert "12 clips extracted, 0 were there already" in done.stdout
    assert "maxlen" in done.stdout
    assert "clips/s" in done.stderr
    assert "frames/s" in done.stderr
    assert "left" in done.stderr
    for name in ("dataset.json", "statistics.json", "lengths.png"):
        assert (tmp_path / name).is_file()
        assert name == "dataset.json" or str(tmp_path / name) in done.stdout
    with open_shards(tmp_path) as shards:
        assert shards.frame_size == (32, 24)
        assert shards.num_frames[0] == 5


def test_what_is_left_out_of_a_folder_is_said(videos: Path, tmp_path: Path, command: Run) -> None:
    """Red when files of a folder are passed over without a word."""
    root = tmp_path / "videos"
    (root / "jump").mkdir(parents=True)
    (root / "jump" / "whole.mpg").symlink_to(next(videos.rglob("*.mpg")))
    (root / "jump" / "other.mpg.part").touch()
    message = f"{root}: Left out: 1 file is no video by its name: 1 .mpg.part."
    for name in ("folder", "ucf101"):
        assert message in command(name, root, tmp_path / name, "--jobs", 1).stdout.splitlines()
    listed = command("windows", root, tmp_path / "list.csv", "--parts", 3)
    assert message in listed.stdout.splitlines()


@pytest.fixture
def with_a_broken_one(videos: Path, tmp_path: Path) -> Path:
    root = tmp_path / "videos"
    (root / "jump").mkdir(parents=True)
    (root / "jump" / "whole.mpg").symlink_to(next(videos.rglob("*.mpg")))
    (root / "jump" / "broken.mpg").write_bytes(b"no video")
    return root


def test_failed_clips_fail_the_command(with_a_broken_one: Path, command: Run) -> None:
    shards = with_a_broken_one.parent / "shards"
    done = command("folder", with_a_broken_one, shards, "--jobs", 1)
    assert done.returncode == 1
    assert f"1 of 2 clips failed; see {shards / 'failures.csv'}" in done.stderr
    assert command("folder", with_a_broken_one, shards, "--allow-failures").returncode == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere", "out"], "The videos folder nowhere does not exist"),
        (["nowhere", "out", "--stride", "0"], "stride must be a whole number of at least 1."),
    ],
)
def test_errors_are_one_line(tmp_path: Path, command: Run, args: list[str], message: str) -> None:
    """Red when an error lacks the prefix of the other commands', or fills the screen."""
    done = command("folder", *args, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert len(done.stderr.splitlines()) == 1
    assert len(done.stderr) < 160  # two lines of a terminal
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", ["160", "axb", "160x"])
def test_a_size_that_is_none(tmp_path: Path, command: Run, size: str) -> None:
    done = command("folder", tmp_path, tmp_path, "--size", size)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "WIDTHxHEIGHT" in done.stderr + done.stdout
