"""A download that is not complete: its bytes, and what the server said of the whole."""

from __future__ import annotations

import fcntl
import json
import os
import re
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from weights.errors import WeightsError

if TYPE_CHECKING:
    import requests

CHUNK_BYTES = 2**16  # what a break may cost: requests drops a piece that is not whole


class Broken(Exception):
    """A connection that did not bring all; another may."""


class Partial:
    """`.<file>.part` beside the file to be, and `.<file>.part.json` with the server's words.

    To be used as a context, by one process at a time.

    Args:
        final: the file to be.
        url: where it comes from; bytes from elsewhere are dropped.
        max_bytes: more than this is refused.
    """

    def __init__(self, final: Path, url: str, max_bytes: int) -> None:
        self.final = final
        self.url = url
        self.max_bytes = max_bytes
        self.path = final.with_name(f".{final.name}.part")
        self._said_path = final.with_name(f".{final.name}.part.json")
        self._said: dict[str, Any] = {}  # url, validator (an ETag or a date) and length

    def __enter__(self) -> Partial:
        self.file = self.path.open("ab")
        try:
            self._lock()
        except BaseException:
            self.file.close()
            raise
        self._said = self._read_said()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.size:
            self.path.unlink(missing_ok=True)
        self.file.close()

    def _lock(self) -> None:
        """The system lets go of it when the process ends, however it ends."""
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(self.file.fileno()), self.path.stat()):
                return
        except (BlockingIOError, FileNotFoundError):  # at work there, or just done
            pass
        raise WeightsError(
            f"{self.path} is being written by another process. Wait for it, then run again."
        )

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.file.tell()

    @property
    def is_complete(self) -> bool:
        """Whether all that the server announced is there."""
        return self.size > 0 and self.size == self._said.get("length")

    def request_headers(self) -> dict[str, str]:
        """What asks for the rest alone, if it is still the same file there."""
        validator = self._said.get("validator")
        if not self.size or not validator:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": validator}

    def receive(self, response: requests.Response, *, progress: bool) -> None:
        """Append what a response brings, or begin anew with it where it brings the whole.

        Raises:
            Broken: if it ends early, or with another part than was asked for.
            WeightsError: if it is too long.
        """
        if response.status_code == 206:
            self._check_continues(response)
        else:
            self.restart()
            self._remember(response)
        length = self._said["length"]
        if length is not None and length > self.max_bytes:
            self._refuse(f"announces {length:,} bytes")
        try:
            self._write_chunks(response, progress=progress)
        finally:
            self.file.flush()
        if length is None:
            self._said["length"] = self.size  # the end of the stream was its end
        elif self.size != length:
            raise Broken(f"it announced {length:,} bytes, of which {self.size:,} came")

    def _write_chunks(self, response: requests.Response, *, progress: bool) -> None:
        from tqdm import tqdm

        with tqdm(
            desc=self.final.name,
            total=self._said["length"],
            initial=self.size,
            unit="B",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not progress,
        ) as bar:
            for chunk in response.iter_content(CHUNK_BYTES):
                if self.size + len(chunk) > self.max_bytes:
                    self._refuse("sends more")
                self.file.write(chunk)
                bar.update(len(chunk))

    def restart(self) -> None:
        """Drop the bytes that are there."""
        self.file.truncate(0)
        self.file.seek(0)
        self._said_path.unlink(missing_ok=True)
        self._said = {}

    def discard(self) -> None:
        """Remove what came."""
        self.restart()
        self.path.unlink(missing_ok=True)

    def publish(self) -> None:
        """Make the file durable and give it its name."""
        os.fsync(self.file.fileno())
        os.replace(self.path, self.final)
        self._said_path.unlink(missing_ok=True)

    def _refuse(self, what: str) -> None:
        self.discard()
        raise WeightsError(
            f"{self.final.name} has at most {self.max_bytes:,} bytes. {self.url} {what}; it is "
            "another file."
        )

    def _remember(self, response: requests.Response) -> None:
        length = response.headers.get("Content-Length", "")
        is_plain = response.headers.get("Content-Encoding", "identity") == "identity"
        self._said = {
            "url": self.url,
            "validator": _validator(response) if is_plain else None,
            "length": int(length) if is_plain and re.fullmatch(r"\d{1,18}", length) else None,
        }
        self._said_path.write_text(json.dumps(self._said), encoding="utf-8")

    def _read_said(self) -> dict[str, Any]:
        """What was said of the bytes that are there; without it they are of no use."""
        try:
            said = json.loads(self._said_path.read_text(encoding="utf-8"))
            known = {"url": str, "validator": str | None, "length": int | None}
            usable = all(isinstance(said[key], kind) for key, kind in known.items())
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return said if usable and said["url"] == self.url else {}

    def _check_continues(self, response: requests.Response) -> None:
        """Raise Broken, having dropped all, unless the response is the rest of the same file."""
        said = response.headers.get("Content-Range", "")
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", said)
        same = _validator(response) in (None, self._said.get("validator"))
        known = str(self._said.get("length"))
        if not same or not found or int(found[1]) != self.size or found[2] not in (known, "*"):
            self.restart()
            raise Broken(f"it gives another part than was asked for: {said!r}")


def _validator(response: requests.Response) -> str | None:
    """What tells this version of the file from others: a strong ETag, else the date."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")
