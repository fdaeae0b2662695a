"""Atomic writes, their errors, and locks on folders."""

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

_PARTIAL = ".partial-"  # followed by the writing process's number and the final name
TEMPORARY_GLOB = ".shard-*.tmp"
# A full disk, an exceeded quota, and a file that is larger than the file system allows.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def new_temporary(folder: Path) -> Path:
    """Create an empty file under a unique name, with the usual permissions."""
    handle, name = tempfile.mkstemp(prefix=".shard-", suffix=".tmp", dir=folder)
    os.close(handle)
    give_usual_permissions(Path(name))  # mkstemp makes files for their owner alone
    return Path(name)


def give_usual_permissions(path: Path) -> None:
    """Give a file that only its owner may read the permissions of a file that `open` creates."""
    # The mask can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


@dataclass(frozen=True)
class SealedFile:
    """Complete file under a temporary name, ready for `publish`.

    Args:
        temporary: its temporary path.
        path: its final path.
    """

    temporary: Path
    path: Path


def publish(sealed: SealedFile) -> None:
    """Make a sealed file durable and give it its final name.

    Raises:
        WriteError: if it cannot be written.
    """
    with write_errors():
        # Before the rename: after a power cut there must be no complete name with half a file.
        with sealed.temporary.open("rb") as file:
            os.fsync(file.fileno())
            _leave_page_cache(file.fileno())
        os.replace(sealed.temporary, sealed.path)


def _leave_page_cache(file: int) -> None:
    """Drop a file from the page cache, so that the next file can use its memory."""
    # Data sets outgrow the memory anyway, and the first touch of a page is dear, most of all on a
    # virtual machine: there, writing into memory that was just in use is ten times as fast.
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)


def not_written(path: Path, reason: object) -> str:
    """Sentence that names what could not be written, the reason, and the free space."""
    place = path.absolute()
    there = next(folder for folder in (place, *place.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free / 2**20
    return f"Cannot write to {path}: {reason} ({free:.0f} MiB free there)."


def is_disk_full(error: BaseException) -> bool:
    """Return True if an error, or the cause of a `WriteError`, is a lack of disk space."""
    cause = error.__cause__ if isinstance(error, WriteError) else error
    return isinstance(cause, OSError) and cause.errno in _NO_ROOM


@contextmanager
def write_errors() -> Iterator[None]:
    """Turn errors of the system and of HDF5 into a `WriteError` with a short reason."""
    try:
        yield
    except WriteError:
        raise
    except (OSError, RuntimeError) as error:
        # h5py's message is a long line that holds the system's reason in quotes.
        found = re.search(r"error message = '([^']*)'", str(error))
        strerror = error.strerror if isinstance(error, OSError) else None
        raise WriteError(found[1] if found else strerror or str(error)) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside `path` and rename, so that a reader never sees half a file.

    Raises:
        OSError: if it cannot be written; the error names `path`.
    """
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as `write_atomically` does.

    Raises:
        WriteError: if it cannot be written.
    """
    with write_errors():
        write_atomically(path, text.encode())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`, to which it is renamed when the block ends without an error.

    Raises:
        OSError: if it cannot be written; the error names `path`. There is then no file, or the
            previous one.
    """
    # The name ends like `path`, for libraries that choose the format by the suffix.
    partial = path.with_name(f"{_PARTIAL}{os.getpid()}-{path.name}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # as in `publish`
        partial.replace(path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def remove_partials(folder: Path) -> None:
    """Remove the partial files of processes that were killed from a folder and those below it."""
    for path in folder.rglob(f"{_PARTIAL}*-*"):
        process = path.name.removeprefix(_PARTIAL).partition("-")[0]
        if process.isdecimal() and not _is_alive(int(process)):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    """Return True if a process exists, whoever owns it."""
    try:
        os.kill(process, 0)  # sends no signal, but checks for the process
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    return True


@contextmanager
def exclusive(folder: Path, *, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a folder for the context.

    Args:
        folder: the folder to lock.
        on_wait: called once if another process holds the lock, before waiting for it.
    """
    # flock and not a file whose existence is the lock: the system releases it when the process
    # ends, however it ends.
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
