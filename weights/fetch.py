"""Download of weights with resumption; a file gets its name once it is verified."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
from tqdm import tqdm

from weights.arrays import write_errors
from weights.errors import WeightsError
from weights.registry import Entry, require_installed, verify

__all__ = ["fetch", "verify"]

TIMEOUTS_SECONDS = (10, 60)  # to connect; between two pieces
RETRY_SECONDS = 1.0
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)  # answers after which another attempt may succeed
# Errors of a connection that breaks off, as opposed to those of a wrong address.
_BREAKS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)
if TYPE_CHECKING:
    import requests

CHUNK_BYTES = 2**16  # what a break may cost, for requests drops an incomplete piece


def fetch(
    entry: Entry,
    folder: str | os.PathLike[str],
    *,
    url: str | None = None,
    progress: bool = True,
    attempts: int = 3,
) -> Path:
    """Download a file of weights and verify it; an existing file is only verified.

    Received bytes are kept in `folder/.<file>.part`, so that another call, or another attempt of
    this one, asks for the rest alone. The file gets its name when `verify` has accepted it.

    Args:
        entry: the file to fetch.
        folder: folder of the file; made if it does not exist.
        url: address to use instead of the entry's, or of the package that holds the file.
        progress: show a bar with the time left, on standard error.
        attempts: number of connections in a row that may bring nothing new.

    Returns:
        The file's path.

    Raises:
        WeightsError: if the connection would not be encrypted, the server does not have the file or
            sends another or a longer one, the file cannot be written, or a different file of its
            name exists.
    """
    folder, url = Path(folder), url or entry.url
    if url is None:
        return require_installed(entry)
    _check_address(url, entry)
    final = folder / entry.file_name
    if final.exists():
        verify(final, entry)
        return final
    with write_errors(final):  # errors of requests are caught where they occur
        folder.mkdir(parents=True, exist_ok=True)
        with Partial(final, url, entry.max_bytes) as partial:
            _download(partial, entry, progress=progress, attempts=attempts)
            try:
                verify(partial.path, entry)
            except WeightsError as error:
                partial.discard()
                raise WeightsError(
                    f"{url} does not give {entry.file_name}, and what came is removed. {error}"
                ) from error
            partial.publish()
    return final


def _check_address(url: str, entry: Entry) -> None:
    """Refuse an unencrypted address, unless a checksum is known."""
    # Without a checksum, only an encrypted connection proves whose file it is.
    parts = urlsplit(url)
    is_ours = parts.scheme == "http" and (entry.checksum or parts.hostname in _THIS_MACHINE)
    if parts.scheme != "https" and not is_ours:
        raise WeightsError(
            "An address must begin with https://, or with http:// where a checksum of the file is "
            f"known. Received {url}; give another with --url."
        )


def _stay_encrypted(response: requests.Response, **_: Any) -> None:
    """Refuse redirects from https to http; a hook that requests calls with each answer."""
    target = urljoin(response.url, response.headers.get("Location", ""))
    was_encrypted, is_encrypted = (url.startswith("https:") for url in (response.url, target))
    if response.is_redirect and was_encrypted and not is_encrypted:
        raise WeightsError(f"{response.url} leads to {target}, which is not encrypted.")


def _download(partial: Partial, entry: Entry, *, progress: bool, attempts: int) -> None:
    """Connect until the file is complete or nothing new comes."""
    # Attempts count from the start again whenever a connection brought new bytes: a file of 500 MB
    # over a bad line may take many.
    max_size, left = partial.size, attempts
    while not partial.is_complete:
        try:
            return _attempt(partial, progress=progress)
        except (Broken, *_BREAKS) as error:
            left = attempts if partial.size > max_size else left - 1
            max_size = max(max_size, partial.size)
            if left <= 0:
                again = f"Run again to go on from byte {partial.size:,}" if partial.size else ""
                raise WeightsError(
                    f"{partial.url} gave nothing new in {attempts} attempts: {_reason(error)}. "
                    f"{again or 'Check the connection and run again'}, give another address with "
                    f"--url, or {_by_hand(partial.final, entry)}."
                ) from error
            time.sleep(RETRY_SECONDS)
        except requests.RequestException as error:
            raise WeightsError(
                f"{partial.url} cannot be fetched: {error}. Check it, or give another with --url."
            ) from error


def _reason(error: Exception) -> str:
    """Innermost cause in an error of requests, without the names of its classes."""
    cause = error.args[0] if error.args else error
    return re.sub(r"^\w+\(.*?\): ", "", str(getattr(cause, "reason", cause)))


def _by_hand(final: Path, entry: Entry) -> str:
    """Advice for a machine without a network: where to put the file, and how it is recognised."""
    algorithm, _, digest = (entry.checksum or "").partition(":")
    known = f"by its {algorithm} checksum, {digest}" if digest else "by its size and content"
    return (
        f"download it elsewhere and put it at {final}, where it is known {known} "
        f"(python -m weights verify {shlex.quote(str(final))})"
    )


def _attempt(partial: Partial, *, progress: bool) -> None:
    """Receive what one connection brings.

    Raises:
        Broken, requests.RequestException: if another attempt may succeed.
        WeightsError: if none will.
    """
    # Without compression, so that byte positions and lengths are those of the file.
    headers = {"Accept-Encoding": "identity", **partial.request_headers()}
    with requests.get(
        partial.url,
        headers=headers,
        stream=True,
        timeout=TIMEOUTS_SECONDS,
        hooks={"response": _stay_encrypted},
    ) as response:
        status = response.status_code
        # The file on the server is now shorter than what was kept: begin again.
        if status == requests.codes.range_not_satisfiable:
            partial.restart()
            raise Broken("it does not know the part that is asked for")
        if status in TRANSIENT:
            raise Broken(f"it answers {status} {response.reason}")
        if status not in (requests.codes.ok, requests.codes.partial_content):
            raise WeightsError(
                f"{partial.url} answers {status} {response.reason}. Check it, or give another with "
                "--url."
            )
        partial.receive(response, progress=progress)


class Broken(Exception):
    """Error of a connection that did not bring the whole file; another may."""


class Partial:
    """Partial download `.<file>.part`, with the server's headers in `.<file>.part.json`.

    It is a context manager, for one process at a time.

    Args:
        final: path of the complete file.
        url: address of the file; bytes from another address are dropped.
        max_bytes: largest size; more is refused.
    """

    def __init__(self, final: Path, url: str, max_bytes: int) -> None:
        self.final = final
        self.url = url
        self.max_bytes = max_bytes
        self.path = final.with_name(f".{final.name}.part")
        self._metadata_path = final.with_name(f".{final.name}.part.json")
        # url, validator (an ETag or a date) and length, as sent
        self._metadata: dict[str, Any] = {}

    def __enter__(self) -> Partial:
        self.file = self.path.open("ab")
        try:
            self._lock()
        except BaseException:
            self.file.close()
            raise
        self._metadata = self._read_metadata()
        return self

    def __exit__(self, *_: object) -> None:
        if not self.size:
            self.path.unlink(missing_ok=True)
        self.file.close()

    def _lock(self) -> None:
        """Lock the partial file against other processes, or raise WeightsError."""
        try:
            # flock: the system releases it when the process ends, however it ends.
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have renamed or removed the file before the lock was taken.
            if os.path.samestat(os.fstat(self.file.fileno()), self.path.stat()):
                return
        except (BlockingIOError, FileNotFoundError):  # another process is at work, or just done
            pass
        raise WeightsError(
            f"{self.path} is being written by another process. Wait for it, then run again."
        )

    @property
    def size(self) -> int:
        """Number of bytes received so far."""
        return self.file.tell()

    @property
    def is_complete(self) -> bool:
        """True if all bytes that the server announced have been received."""
        return self.size > 0 and self.size == self._metadata.get("length")

    def request_headers(self) -> dict[str, str]:
        """Headers that ask for the rest of the file, or of a changed file for the whole."""
        # Without a validator the rest might be that of another version: then all is fetched again.
        validator = self._metadata.get("validator")
        if not self.size or not validator:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": validator}

    def receive(self, response: requests.Response, *, progress: bool) -> None:
        """Append a response's bytes, or start again with them if it brings the whole file.

        Raises:
            Broken: if it ends early, or brings another part than was asked for.
            WeightsError: if it is too long.
        """
        if response.status_code == 206:
            self._check_continues(response)
        else:
            self.restart()
            self._remember(response)
        length = self._metadata["length"]
        if length is not None and length > self.max_bytes:
            self._refuse(f"announces {length:,} bytes")
        try:
            self._write_chunks(response, progress=progress)
        finally:
            self.file.flush()
        if length is None:
            self._metadata["length"] = (
                self.size
            )  # without a length, the end of the stream is the end
        elif self.size != length:
            raise Broken(f"it announced {length:,} bytes, of which {self.size:,} came")

    def _write_chunks(self, response: requests.Response, *, progress: bool) -> None:
        """Write a response's bytes piece by piece, under a progress bar."""
        with tqdm(
            desc=self.final.name,
            total=self._metadata["length"],
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
        """Drop all bytes received so far."""
        self.file.truncate(0)
        self.file.seek(0)
        self._metadata_path.unlink(missing_ok=True)
        self._metadata = {}

    def discard(self) -> None:
        """Remove the partial file."""
        self.restart()
        self.path.unlink(missing_ok=True)

    def publish(self) -> None:
        """Make the file durable and give it its final name."""
        os.fsync(self.file.fileno())
        os.replace(self.path, self.final)
        self._metadata_path.unlink(missing_ok=True)

    def _refuse(self, what: str) -> None:
        """Remove the partial file and raise WeightsError for one that is too long."""
        self.discard()
        raise WeightsError(
            f"{self.final.name} has at most {self.max_bytes:,} bytes. {self.url} {what}; it is "
            "another file."
        )

    def _remember(self, response: requests.Response) -> None:
        """Keep validator and length of a response beside the bytes."""
        # Of a compressed transfer neither says anything about the bytes that are kept.
        length = response.headers.get("Content-Length", "")
        is_plain = response.headers.get("Content-Encoding", "identity") == "identity"
        self._metadata = {
            "url": self.url,
            "validator": _validator(response) if is_plain else None,
            "length": int(length) if is_plain and re.fullmatch(r"\d{1,18}", length) else None,
        }
        self._metadata_path.write_text(json.dumps(self._metadata), encoding="utf-8")

    def _read_metadata(self) -> dict[str, Any]:
        """Read what the server said about the bytes received; without it they are of no use."""
        try:
            metadata = json.loads(self._metadata_path.read_text(encoding="utf-8"))
            known = {"url": str, "validator": str | None, "length": int | None}
            usable = all(isinstance(metadata[key], kind) for key, kind in known.items())
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return metadata if usable and metadata["url"] == self.url else {}

    def _check_continues(self, response: requests.Response) -> None:
        """Raise Broken, having dropped all, unless the response is the rest of the same file."""
        metadata = response.headers.get("Content-Range", "")
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", metadata)
        same = _validator(response) in (None, self._metadata.get("validator"))
        known = str(self._metadata.get("length"))
        if not same or not found or int(found[1]) != self.size or found[2] not in (known, "*"):
            self.restart()
            raise Broken(f"it gives another part than was asked for: {metadata!r}")


def _validator(response: requests.Response) -> str | None:
    """Identifier of this version of the file: a strong ETag, or else the date."""
    # A weak ETag, W/"...", only promises equal meaning and not equal bytes.
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")
