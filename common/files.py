"""Files that appear whole or not at all, what a disk says when it does not take them, and locks."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.errors import WriteError

_PARTIAL = ".partial-"  # then the writing process's number, and the name it is to have
TEMPORARY_GLOB = ".shard-*.tmp"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def new_temporary(folder: Path) -> Path:
    """An empty file of a name that nobody else has, with the usual permissions."""
    handle, name = tempfile.mkstemp(prefix=".shard-", suffix=".tmp", dir=folder)
    mask = os.umask(0)
    os.umask(mask)
    os.fchmod(handle, 0o666 & ~mask)
    os.close(handle)
    return Path(name)


def write_text(path: Path, text: str) -> None:
    """Replace a file's text in one step, so that a reader never sees half of it.

    Raises:
        WriteError: if the disk does not take it.
    """
    with write_errors():
        temporary = new_temporary(path.parent)
        try:
            temporary.write_text(text, encoding="utf-8", newline="")
            publish(SealedFile(temporary, path))
        finally:
            temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class SealedFile:
    """A file that is written, but not yet under its own name.

    Args:
        temporary: where it lies.
        path: where it belongs.
    """

    temporary: Path
    path: Path


def publish(sealed: SealedFile) -> None:
    """Make a sealed file durable and give it its name.

    Raises:
        WriteError: if the disk does not take it.
    """
    with write_errors():
        with sealed.temporary.open("rb") as file:
            os.fsync(file.fileno())
            _leave_page_cache(file.fileno())
        os.replace(sealed.temporary, sealed.path)


def _leave_page_cache(file: int) -> None:
    """Let the next shard have this one's memory.

    Data sets outgrow the memory anyway, and the first touch of a page is dear, most of all on
    a virtual machine: there, writing into memory that was just in use is ten times as fast.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)


def not_written(path: Path, reason: object) -> str:
    """Sentence that says what could not be written, why, and how much room is left."""
    place = path.absolute()
    there = next(folder for folder in (place, *place.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free / 2**20
    return f"Cannot write to {path}: {reason} ({free:.0f} MiB free there)."


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or what a `WriteError` came of, is that there is no more room."""
    cause = error.__cause__ if isinstance(error, WriteError) else error
    return isinstance(cause, OSError) and cause.errno in _NO_ROOM


@contextmanager
def write_errors() -> Iterator[None]:
    """HDF5's long error messages as one reason."""
    try:
        yield
    except WriteError:
        raise
    except (OSError, RuntimeError) as error:
        found = re.search(r"error message = '([^']*)'", str(error))
        strerror = error.strerror if isinstance(error, OSError) else None
        raise WriteError(found[1] if found else strerror or str(error)) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside `path` and rename, so that a reader never meets half a file.

    Raises:
        OSError: if the disk does not take it; it names `path`.
    """
    with replacing(path) as partial:
        partial.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path`, whose name it takes when the block ends well.

    It ends like `path`, for those who write by suffix.

    Raises:
        OSError: if the disk does not take it; it names `path`. There is then no file, or the one
            of before.
    """
    partial = path.with_name(f"{_PARTIAL}{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def remove_partials(folder: Path) -> None:
    """Remove what processes that were killed have left half written in a folder."""
    for path in folder.glob(f"{_PARTIAL}*-*"):
        process = path.name.removeprefix(_PARTIAL).partition("-")[0]
        if process.isdecimal() and not _is_alive(int(process)):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another person's
        return True
    return True


@contextmanager
def exclusive(folder: Path, *, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it when the process ends, however it ends.

    Args:
        folder: the directory of shards.
        on_wait: called once if another process holds the lock, before waiting for it.
    """
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
