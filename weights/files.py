"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weights.errors import WeightsError


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
    except OSError as error:
        raise WeightsError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _give_usual_permissions(path: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
