"""How commands end: exit codes, and what is said last."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from common.errors import InputError
from common.files import remove_partials, replacing, write_atomically
from experiments.media.ffmpeg import RenderError
from preprocess.errors import PreprocessError
from preprocess.system import stopping
from preprocess.system.command import run_command
from tests import processes
from weights.errors import WeightsError


@pytest.fixture(autouse=True)
def signals_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "answer_signals", lambda resume_hint: None)


def ends(error: BaseException) -> int:
    def run() -> int:
        raise error

    return run_command(run, resume_hint=lambda: "Go on so.")


def test_its_own_exit_code() -> None:
    assert run_command(lambda: 7, resume_hint=lambda: "") == 7


def test_a_full_disk_is_told_with_place_room_and_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red when the file, the room that is left or the way on is not told."""
    path = tmp_path / "none yet" / "x.csv"
    assert ends(OSError(errno.ENOSPC, "No space left on device", str(path))) == 2
    expected = capsys.readouterr().err
    assert expected.startswith(f"error: Cannot write to {path}: No space left on device (")
    assert expected.endswith("MiB free there). Make room, then go on. Go on so.\n")


@pytest.mark.parametrize("args", [["list"], ["--help"]])
def test_a_reader_that_ends_early_ends_the_command_without_a_word(args: list[str]) -> None:
    """Red when `python -m weights list | head` ends in a traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    ended = processes.run(["-m", "weights", *args], stdout=writer)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")


def test_a_broken_pipe_to_another_process_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(BrokenPipeError(errno.EPIPE, "Broken pipe")) == 2
    assert capsys.readouterr().err == "error: [Errno 32] Broken pipe\n"


def test_a_missing_library_is_told_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red when a light installation gets a traceback, or the wrong command."""
    monkeypatch.setitem(sys.modules, "nicegui", None)  # as if it were not installed

    def run() -> int:
        from nicegui import ui

        return bool(ui)

    assert run_command(run, resume_hint=lambda: "Go on so.") == 2
    expected = "error: This needs nicegui, which is not installed here: pip install 'ttrnn[review]'"
    assert capsys.readouterr().err.startswith(expected)


def test_a_defect_of_an_import_keeps_its_traceback() -> None:
    """Red when a name that a library lacks is told as a library that is missing."""
    with pytest.raises(ImportError, match="cannot import name 'unknown'"):
        ends(ImportError("cannot import name 'unknown' from 'cv2'", name="cv2"))


def test_hdf5s_message_is_cut_to_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    text = "Can't write (file write failed: errno = 28, error message = 'No space left', buf = 0)"
    assert ends(OSError(errno.ENOSPC, text)) == 2
    expected = "error: Cannot write: No space left. Make room, then go on. Go on so.\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (InputError("--x must be 1."), 2, "error: --x must be 1.\n"),
        (PreprocessError("a video's"), 2, "error: a video's\n"),
        (WeightsError("a file's"), 2, "error: a file's\n"),
        (RenderError("a reel's"), 2, "error: a reel's\n"),
        (
            PermissionError(errno.EACCES, "Permission denied", "x"),
            2,
            "error: x: Permission denied. Name a path that you may read and write.\n",
        ),
        (KeyboardInterrupt(), 130, "\nInterrupted. Go on so.\n"),
    ],
)
def test_what_is_said(
    error: BaseException, code: int, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends(error) == code
    assert capsys.readouterr().err == expected


def test_what_comes_of_a_stop_is_a_stop(capsys: pytest.CaptureFixture[str]) -> None:
    """Red when a lock that an interruption left in a mess is told of instead."""

    def run() -> int:
        try:
            raise KeyboardInterrupt
        finally:
            threading.Lock().release()

    assert run_command(run, resume_hint=lambda: "Go on so.") == 130
    assert capsys.readouterr().err == "\nInterrupted. Go on so.\n"


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("NumPy's"), RuntimeError("Keras's")])
def test_a_mistake_of_ours_is_not_hidden(error: Exception) -> None:
    """Red when an error of NumPy or Keras, or of our own making, is printed as the user's."""
    with pytest.raises(type(error)):
        ends(error)


def test_a_file_that_could_not_be_written_is_named_and_stays(tmp_path: Path) -> None:
    """Red when the error names the temporary file, or that is left."""
    path = tmp_path / "x.csv"
    write_atomically(path, b"before")

    def fail() -> None:
        with replacing(path) as partial:
            partial.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match=r"'.*/x\.csv'"):
        fail()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_the_killed_have_left_is_removed(tmp_path: Path) -> None:
    """Red when a living process's file is removed, or a dead one's stays."""
    gone = os.fork()
    if not gone:
        os._exit(0)
    os.waitpid(gone, 0)
    for name in (f".partial-{gone}-x.keras", f".partial-{os.getpid()}-x.keras", "x.keras"):
        (tmp_path / name).touch()
    remove_partials(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f".partial-{os.getpid()}-x.keras", "x.keras"}
