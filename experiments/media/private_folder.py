"""A folder for the files that a video is made of, which no one else uses and nobody must remove.

Who holds it has a lock on it, which ends with the process whatever ends that: a folder that is
not locked is what a killed run has left, and the next one takes it away.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
