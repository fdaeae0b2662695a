"""Downloads that go on where they broke off, and get their name only when they are verified."""

from __future__ import annotations

import os
import re
import shlex
import time
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from weights.errors import WeightsError
from weights.files import not_written
from weights.partial import Broken, Partial
from weights.registry import Entry
from weights.verify import verify

__all__ = ["fetch", "verify"]

TIMEOUTS_SECONDS = (10, 60)  # to connect; between two pieces
RETRY_SECONDS = 1.0
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)  # answers that another attempt may better
_BREAKS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


def fetch(
    entry: Entry,
    folder: str | os.PathLike[str],
    *,
    url: str | None = None,
    progress: bool = True,
    attempts: int = 3,
) -> Path:
    """Download a file of weights and verify it; one that is there already is only verified.

    What comes is kept in `folder/.<file>.part`, so that another call, or another attempt of this
    one, asks for the rest alone. It gets its name when `verify` has accepted it.

    Args:
        entry: what to fetch.
        folder: where to put it; made if it is not there.
        url: to get it from, in place of the entry's.
        progress: show a bar with the time left, on standard error.
        attempts: connections in a row that may bring nothing new.

    Returns:
        The file's path.

    Raises:
        WeightsError: if the connection would not be encrypted, the server does not give it, gives
            another file or more than it may have, the disk does not take it, or a file of its
            name is there that is not it.
    """
    folder, url = Path(folder), url or entry.url
    _check_address(url, entry)
    final = folder / entry.file_name
    if final.exists():
        verify(final, entry)
        return final
    try:
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
    except OSError as error:  # requests' own are caught where they occur
        raise WeightsError(not_written(final, error)) from error
    return final


def _check_address(url: str, entry: Entry) -> None:
    """Without a checksum, only an encrypted connection says whose file it is."""
    parts = urlsplit(url)
    is_ours = parts.scheme == "http" and (entry.checksum or parts.hostname in _THIS_MACHINE)
    if parts.scheme != "https" and not is_ours:
        raise WeightsError(
            "An address must begin with https://, or with http:// where a checksum of the file is "
            f"known. Received {url}; give another with --url."
        )


def _stay_encrypted(response: requests.Response, **_: Any) -> None:
    """Called with each answer: a redirect may not lead from https to what others can change."""
    target = urljoin(response.url, response.headers.get("Location", ""))
    was_encrypted, is_encrypted = (url.startswith("https:") for url in (response.url, target))
    if response.is_redirect and was_encrypted and not is_encrypted:
        raise WeightsError(f"{response.url} leads to {target}, which is not encrypted.")


def _download(partial: Partial, entry: Entry, *, progress: bool, attempts: int) -> None:
    most, left = partial.size, attempts
    while not partial.is_complete:
        try:
            return _attempt(partial, progress=progress)
        except (Broken, *_BREAKS) as error:
            left = attempts if partial.size > most else left - 1
            most = max(most, partial.size)
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
    """The innermost cause that requests gives, without the names of its classes."""
    cause = error.args[0] if error.args else error
    return re.sub(r"^\w+\(.*?\): ", "", str(getattr(cause, "reason", cause)))


def _by_hand(final: Path, entry: Entry) -> str:
    """How a machine without a network gets the file, and how the file is known there."""
    algorithm, _, digest = (entry.checksum or "").partition(":")
    known = f"by its {algorithm} checksum, {digest}" if digest else "by its size and content"
    return (
        f"download it elsewhere and put it at {final}, where it is known {known} "
        f"(python -m weights verify {shlex.quote(str(final))})"
    )


def _attempt(partial: Partial, *, progress: bool) -> None:
    """One connection, to the end of the file or to where it breaks off.

    Raises:
        Broken, requests.RequestException: if another attempt may do better.
        WeightsError: if none will.
    """
    headers = {"Accept-Encoding": "identity", **partial.request_headers()}
    with requests.get(
        partial.url,
        headers=headers,
        stream=True,
        timeout=TIMEOUTS_SECONDS,
        hooks={"response": _stay_encrypted},
    ) as response:
        status = response.status_code
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
