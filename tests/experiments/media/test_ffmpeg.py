"""Folders that go with who made them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.media.ffmpeg import private_folder

HOLD = """
import signal, sys
from pathlib import Path
from experiments.media.ffmpeg import private_folder
with private_folder(Path(sys.argv[1]), prefix=".x-") as folder:
    (folder / "half.mov").write_text("half")
    print(folder, flush=True)
    signal.pause()
"""


def test_it_is_gone_afterwards(tmp_path: Path) -> None:
    def fail() -> None:
        with private_folder(tmp_path, prefix=".x-") as folder:
            (folder / "half.mov").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_next_one_removes_what_a_killed_run_has_left_and_nothing_else(tmp_path: Path) -> None:
    """Red when a folder in use is removed, or one that nobody uses stays."""
    (tmp_path / ".y-1").mkdir()
    (tmp_path / ".x-file").touch()
    args = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(args, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        theirs = Path(process.stdout.readline().strip())
        with private_folder(tmp_path, prefix=".x-"):
            assert (theirs / "half.mov").exists()
        process.kill()
    assert theirs.exists()
    with private_folder(tmp_path, prefix=".x-") as folder:
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {folder.name, ".y-1", ".x-file"}
