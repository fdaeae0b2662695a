"""Run the ffmpeg program: complaints become an error, no child and no folder is left behind."""

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

from common.errors import UserError
from preprocess.video.ffmpeg import in_plain_words

# x264's lookahead in a thread of its own gives other bytes from one run to the next.
SAME_BYTES = ("-x264-params", "sync-lookahead=0")
_ADDRESS = re.compile(r"^(\[[^\]]* @ 0x[0-9a-f]+\] ?)+")
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
_NO_SPACE = "No space left on device"
_MOST_LINES = 5000  # a damaged file has a complaint for each of its frames


class RenderError(UserError):
    """A reel cannot be made; the message is for a person."""


class DiskFullError(RenderError):
    """ffmpeg could not write on; the message is the system's reason."""


def url(path: Path) -> str:
    """A path as ffmpeg takes it, whatever its characters: nothing in it is an option or a URL."""
    return f"file:{path.absolute()}"


def run(
    args: Sequence[str],
    folder: Path | None = None,
    on_line: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Run ffmpeg and wait for it; returns the lines that it said on its standard error.

    Args:
        args: its arguments.
        folder: where it runs; names without a folder in `args` lie there.
        on_line: is given each line of its standard output. If it raises, or the person
            presses Ctrl-C, ffmpeg is killed.

    Raises:
        RenderError: if it cannot be started or fails, with its own last complaint.
    """
    said: deque[str] = deque(maxlen=_MOST_LINES)
    child = _start(args, folder)
    assert child.stdout is not None
    listener = threading.Thread(target=_listen, args=(child, said), daemon=True)
    try:
        listener.start()
        for line in child.stdout:
            on_line(line.decode(errors="replace").rstrip("\n"))
        code = child.wait()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        listener.join()
    if code != 0:
        if any(_NO_SPACE in line for line in said):
            raise DiskFullError(_NO_SPACE)
        raise RenderError(_failure(code, said))
    return list(said)


def complaints(said: Iterable[str]) -> list[str]:
    """What ffmpeg said, without its addresses and the lines that tell nothing.

    It writes `[h264 @ 0x55d0] Invalid NAL unit size`, and `Conversion failed!` after all.
    """
    lines = [_ADDRESS.sub("", line).strip() for line in said]
    return [line for line in lines if line and not _BOILERPLATE.match(line)]


def _start(args: Sequence[str], folder: Path | None) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [_program(), "-hide_banner", "-nostdin", "-y", *args],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise RenderError(f"ffmpeg cannot be started: {error.strerror or error}.") from error


def _program() -> str:
    """The ffmpeg of imageio-ffmpeg, or the one that IMAGEIO_FFMPEG_EXE names."""
    import imageio_ffmpeg

    try:
        name = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise RenderError(f"There is no ffmpeg: {error}") from error
    found = shutil.which(name)
    if found is None:
        raise RenderError(f"ffmpeg is not at {name}; install imageio-ffmpeg again.")
    return os.path.abspath(found)


def _listen(child: subprocess.Popen[bytes], said: deque[str]) -> None:
    assert child.stderr is not None
    with child.stderr:
        said.extend(line.decode(errors="replace").rstrip("\n") for line in child.stderr)


def _failure(code: int, said: Iterable[str]) -> str:
    lines = complaints(said)
    refusal = next((line for line in lines if in_plain_words(line) != line), None)
    if not lines:
        reason = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"ffmpeg failed without a word ({reason})."
    return f"ffmpeg failed: {in_plain_words(refusal or lines[-1])}"


@contextmanager
def private_folder(parent: Path, *, prefix: str) -> Iterator[Path]:
    """A new folder in a folder, gone afterwards whatever happens.

    Args:
        parent: where it is made.
        prefix: what its name begins with, and those of the same kind that killed runs have left.

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
    """A folder and the descriptor that locks it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)  # another run took it for a left one before it was locked


def _remove_if_left(folder: Path) -> None:
    """One that is in use, or another person's, stays."""
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
