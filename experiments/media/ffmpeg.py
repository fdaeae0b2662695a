"""Run the ffmpeg program: a failure is an error, and no process and no folder is left behind."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from common.errors import InputError, UserError
from common.extras import OptionalModule
from preprocess.video.ffmpeg import in_plain_words

# Not needed before a video is written, so that commands print their help without it.
imageio_ffmpeg: Any = OptionalModule("imageio_ffmpeg")

# Encoders of annotated videos.
VIDEO_ENCODER = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p")
SOUND_ENCODER = ("-c:a", "aac")
# x264's lookahead in a thread of its own gives other bytes from one run to the next.
SAME_BYTES = ("-x264-params", "sync-lookahead=0")
# `[h264 @ 0x55d0] `, which may stand there several times.
_ADDRESS = re.compile(r"^(\[[^\]]* @ 0x[0-9a-f]+\] ?)+")
# Lines that follow any failure, or that come without one, and so hide the actual reason.
_BOILERPLATE = re.compile(
    r"Conversion failed!|Task finished with error|Terminating thread with|Nothing was written"
    r"|Error opening (input|output) files?\b|Error parsing options|Failed to set value"
    r"|To ignore this|frame= *\d"
    # Said of pictures before a cut where reading began amid them; none of those is shown.
    r"|co located POCs unavailable|mmco: unref short failure|non-existing PPS|no frame!"
    r"|decode_slice_header error"
    # Said of a header that Matroska's own writer has filled up; what it holds is read.
    r"|Element at 0x\w+ ending at 0x\w+ exceeds containing master"
)
# Pause between two attempts to free a thread that waits for a reader of its pipe.
_RELEASE_SECONDS = 0.05
_NO_SPACE = "No space left on device"
_MAX_LINES = 5000  # a damaged file has a complaint for each of its frames; the last ones count


class RenderError(UserError):
    """Error of reading or rendering a video; its message is for the user."""


class DiskFullError(RenderError):
    """Error of a full disk while ffmpeg wrote; its message is the system's reason."""


def url(path: Path) -> str:
    """Return a path so that ffmpeg takes nothing in it for an option or another protocol."""
    return f"file:{path.absolute()}"


def run(
    args: Sequence[str],
    folder: Path | None = None,
    on_line: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Run ffmpeg, wait for it, and return the lines of its standard error.

    Args:
        args: arguments after the program's name.
        folder: working directory; names without a folder in `args` lie there.
        on_line: called with each line of its standard output. If it raises, or the user presses
            Ctrl-C, ffmpeg is killed.

    Raises:
        DiskFullError: if the disk is full.
        RenderError: if it cannot be started or fails, with its own last complaint.
    """
    output: deque[str] = deque(maxlen=_MAX_LINES)
    child = _start(args, folder)
    assert child.stdout is not None
    # Both outputs must be read at once: ffmpeg would wait for ever on a full pipe that nobody
    # reads.
    listener = threading.Thread(target=_listen, args=(child, output), daemon=True)
    try:
        listener.start()
        for line in child.stdout:
            on_line(line.decode(errors="replace").rstrip("\n"))
        code = child.wait()
    finally:
        # After a regular end this does nothing; after an exception ffmpeg must not go on.
        child.kill()
        child.wait()
        child.stdout.close()
        listener.join()
    if code != 0:
        if any(_NO_SPACE in line for line in output):
            raise DiskFullError(_NO_SPACE)
        raise RenderError(_failure(code, output))
    return list(output)


def require_encoders() -> None:
    """Check that ffmpeg can be started and can write H.264 and AAC.

    Raises:
        InputError: if it cannot.
    """
    sources = ["-f", "lavfi", "-i", "color=s=16x16:d=0.1", "-f", "lavfi", "-i", "anullsrc"]
    # A tenth of a second of black and silence, really encoded: a build may list an encoder that
    # does not start.
    args = [
        "-loglevel",
        "error",
        *sources,
        *VIDEO_ENCODER,
        *SOUND_ENCODER,
        "-t",
        "0.1",
        "-f",
        "null",
        "-",
    ]
    try:
        run(args)
    except RenderError as error:
        raise InputError(
            f"Annotated videos need an ffmpeg that writes H.264 and AAC. {error} Install "
            "imageio-ffmpeg, name another by IMAGEIO_FFMPEG_EXE, or leave them out."
        ) from error


def complaints(output: Iterable[str]) -> list[str]:
    """Lines of ffmpeg's standard error that tell a reason, without memory addresses.

    ffmpeg writes `[h264 @ 0x55d0] Invalid NAL unit size`, and `Conversion failed!` last.
    """
    lines = [_ADDRESS.sub("", line).strip() for line in output]
    return [line for line in lines if line and not _BOILERPLATE.match(line)]


def _start(args: Sequence[str], folder: Path | None) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            # Without `-nostdin` ffmpeg would take keys from the user's terminal as commands.
            [_program(), "-hide_banner", "-nostdin", "-y", *args],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise RenderError(f"ffmpeg cannot be started: {error.strerror or error}.") from error


def _program() -> str:
    """Absolute path of imageio-ffmpeg's program, or of the one in IMAGEIO_FFMPEG_EXE."""
    try:
        name = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise RenderError(f"There is no ffmpeg: {error}") from error
    found = shutil.which(name)
    if found is None:
        raise RenderError(f"ffmpeg is not at {name}; install imageio-ffmpeg again.")
    return os.path.abspath(found)


def _listen(child: subprocess.Popen[bytes], output: deque[str]) -> None:
    assert child.stderr is not None
    with child.stderr:
        output.extend(line.decode(errors="replace").rstrip("\n") for line in child.stderr)


def _failure(code: int, output: Iterable[str]) -> str:
    lines = complaints(output)
    # A complaint of which a plain wording is known tells more than the last one.
    refusal = next((line for line in lines if in_plain_words(line) != line), None)
    if not lines:
        reason = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"ffmpeg failed without a word ({reason})."
    return f"ffmpeg failed: {in_plain_words(refusal or lines[-1])}"


@contextmanager
def fed_pipe(path: Path, write: Callable[[BinaryIO], None]) -> Iterator[None]:
    """Write to a named pipe in a thread while ffmpeg reads it, so that nothing is stored on disk.

    Raises:
        Exception: on leaving, whatever the writing thread raised.
    """
    raised: list[Exception] = []

    def feed() -> None:
        try:
            with path.open("wb") as pipe:
                write(pipe)
        except BrokenPipeError:  # ffmpeg has seen enough, or is gone
            pass
        except Exception as error:  # raised again by the thread that waits
            raised.append(error)

    os.mkfifo(path)
    # Opening a pipe for writing blocks until it has a reader, so that must happen in a thread.
    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        yield
    finally:
        _release(path, feeder)
    if raised:
        raise raised[0]


def _release(path: Path, feeder: threading.Thread) -> None:
    """End a thread that may wait for a reader of its pipe, although none will come any more."""
    while feeder.is_alive():
        # A reader that comes and goes ends the thread's `open`; its next write is a broken pipe.
        # Repeated, since the thread may not have reached its `open` yet.
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        feeder.join(_RELEASE_SECONDS)


@contextmanager
def private_folder(parent: Path, *, prefix: str) -> Iterator[Path]:
    """Make a temporary folder that is removed on leaving, whatever happens.

    Folders of the same prefix that killed runs have left are removed as well.

    Args:
        parent: folder in which it is made.
        prefix: beginning of its name.

    Raises:
        OSError: if it cannot be made.
    """
    for left_over in sorted(parent.glob(f"{prefix}*")):
        _remove_if_left(left_over)
    folder, lock = _new_locked(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _new_locked(parent: Path, prefix: str) -> tuple[Path, int]:
    """Make a folder and lock it. Returns the folder and the descriptor that holds the lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = os.open(folder, os.O_RDONLY)
        # The system drops the lock with the process, so a folder without one was left by a killed
        # run.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)  # another run took it for a left one before it was locked


def _remove_if_left(folder: Path) -> None:
    """Remove a folder unless a running process, or another user, owns it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)
