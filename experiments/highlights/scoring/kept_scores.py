"""Scores of a recording, kept beside its reel, so that nothing is predicted twice.

Beside `NAME.scores.csv` lies `NAME.scores.json` with the fingerprint of the inputs. While a
recording is being scored the files are `.csv.part` and `.json.part`, from which a later run
continues.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError, WriteError
from common.files import write_errors, write_text
from experiments.highlights.selection.scores import COLUMNS, Floats, read_scores

_HEADER = f"{','.join(COLUMNS)}\n".encode()
_SYNC_SECONDS = 5.0  # a machine that fails loses the scores of so long at most


class KeptScores:
    """File of scores that is being written or is complete. Close it, or use it as a context.

    Args:
        out: the reel, beside which the file lies.
        fingerprint: all that the scores depend on, as plain values.
    """

    def __init__(self, out: Path, fingerprint: dict[str, Any]) -> None:
        self._stem = out.with_suffix("").name
        self._folder = out.parent
        # As it comes back from a file, where a tuple is a list, so that the two can be compared.
        self._fingerprint = json.loads(json.dumps(fingerprint))
        self._file: FileIO | None = None
        self._synced = time.monotonic()
        self.num_rows = 0
        self.last_time = -math.inf
        """Time of the last picture that has a score, in seconds of the recording."""

    @property
    def path(self) -> Path:
        """Path of the complete CSV, with the columns time_seconds and probability."""
        return self._path(".csv")

    def is_complete(self) -> bool:
        """Return whether all scores of these inputs exist."""
        return self.path.exists() and _content(self._path(".json")) == self._fingerprint

    def difference(self) -> str:
        """Name the inputs in which existing scores differ from these; empty without scores.

        Raises:
            InputError: if the file exists without its fingerprint.
        """
        before = _content(self._path(".json"))
        if not self.path.exists():
            return ""
        if before is None:
            raise InputError(
                f"{self.path} exists, and was not made here; give another --out, or "
                "--overwrite-scores."
            )
        names = {**before, **self._fingerprint}
        return ", ".join(name for name in names if before.get(name) != self._fingerprint.get(name))

    def read(self) -> tuple[Floats, Floats]:
        """Read the times in seconds of the recording and the probabilities, (N,) each."""
        return read_scores(self.path)

    def begin(self) -> None:
        """Open the file where an earlier run stopped, or start anew.

        Raises:
            WriteError: if the file cannot be written, or another run is writing it.
        """
        part = self._path(".csv.part")
        with self._write_errors():
            self._file = FileIO(part, "a")
            try:
                # The system drops the lock with the process, so a killed run leaves none behind.
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.close()
                raise WriteError("another run is at it") from None
            # Rows of other inputs are dropped; so is what follows the last whole row.
            num_bytes = 0
            if _content(self._path(".json.part")) == self._fingerprint:
                num_bytes = self._find_earlier_rows(part)
            else:
                write_text(self._path(".json.part"), json.dumps(self._fingerprint, indent=2) + "\n")
            if part.stat().st_size > num_bytes:
                self._file.truncate(num_bytes)
            if num_bytes == 0:
                self._write(_HEADER)
            self._sync()

    def append(self, times: Floats, probabilities: NDArray[np.float32]) -> None:
        """Add scores, (N,) each; the system has them when this returns.

        Raises:
            WriteError: if they cannot be written.
        """
        # Nine significant digits are enough to read the same float32 back.
        rows = [
            f"{when:.6f},{probability:.9g}\n"
            for when, probability in zip(times, probabilities, strict=True)
        ]
        with self._write_errors():
            self._write("".join(rows).encode())
            # Syncing each batch would make scoring wait for the disk.
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                self._sync()
        self.num_rows += len(times)

    def finish(self) -> None:
        """Give the files their final names: the CSV first, then its fingerprint.

        Raises:
            WriteError: if they cannot be written.
        """
        with self._write_errors():
            self._sync()
            os.replace(self._path(".csv.part"), self.path)
            # Last, since a CSV counts as complete only with the fingerprint beside it.
            os.replace(self._path(".json.part"), self._path(".json"))
        self.close()

    def close(self) -> None:
        """Close the file and keep its rows for a later run."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> KeptScores:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _path(self, suffix: str) -> Path:
        return self._folder / f"{self._stem}.scores{suffix}"

    def _find_earlier_rows(self, part: Path) -> int:
        """Count the valid rows of an earlier run, and return the byte at which they end."""
        with part.open("rb") as file:
            num_bytes = len(file.readline())
            if num_bytes != len(_HEADER):
                return 0
            for line in file:
                when = _time_in(line)
                if when is None or not when > self.last_time:
                    break
                self.num_rows, self.last_time = self.num_rows + 1, when
                num_bytes += len(line)
        return num_bytes

    def _write(self, content: bytes) -> None:
        """Write without a buffer, which would be written again on closing a full disk's file."""
        assert self._file is not None
        while content:
            content = content[self._file.write(content) :]

    def _sync(self) -> None:
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    @contextmanager
    def _write_errors(self) -> Iterator[None]:
        try:
            with write_errors():
                yield
        except WriteError as error:
            raise WriteError(f"The scores cannot be written to {self.path}: {error}.") from error


def _time_in(line: bytes) -> float | None:
    """Time of a row, or None if the row is cut off or invalid."""
    try:
        when, probability = map(float, line.split(b","))
    except ValueError:
        return None
    return when if line.endswith(b"\n") and 0 <= probability <= 1 else None


def _content(path: Path) -> dict[str, Any] | None:
    """Contents of a JSON file, or None if it is missing or not whole."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
