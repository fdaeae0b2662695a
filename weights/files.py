"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weights.errors import WeightsError

_FULL = os.strerror(errno.ENOSPC)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its name when the block ends well.

    Its name ends like `path`'s, for those who write by suffix (Keras: `.weights.h5`).

    Raises:
        WeightsError: if the disk does not take it. There is then no file, or the one of before.
    """
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=".weights-", suffix=f".{path.name}", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _give_usual_permissions(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except Exception as error:  # some libraries tell of a full disk by errors of their own
        if not isinstance(error, OSError) and _FULL not in str(error):
            raise
        raise WeightsError(not_written(path, error)) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def not_written(path: Path, error: Exception) -> str:
    """What could not be written, why, how much room is left there, and what to do."""
    place = path.absolute()
    there = next(folder for folder in (place, *place.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free / 2**20
    reason = _FULL if _FULL in str(error) else getattr(error, "strerror", None) or error
    return (
        f"{path} cannot be written: {reason} ({free:.0f} MiB free there). Make room or name "
        "another, then run the same command again."
    )


def _give_usual_permissions(path: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
