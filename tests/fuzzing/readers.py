"""Give damaged files to their readers: they must return a possible value, or refuse clearly.

A reader works in a child process, which may die: `python -m tests.fuzzing.readers` is that child.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzzing.mutations import OF_BYTES
from tests.fuzzing.structures import damaged

SAME, REFUSED, OTHER = "same", "refused", "other"
FOLDER = "damaged"
FILE_SECONDS = 20
_LONGEST_MESSAGE = 2000
_TEXTS = (".json", ".csv", ".txt")
_BLIND = [mutation.__name__ for mutation in OF_BYTES]


@dataclass(frozen=True)
class Reader:
    """Reader of files.

    Args:
        name: name for the table.
        make: function that writes undamaged files into an empty folder.
        read: function that reads such a folder; `fingerprint` must be able to compare its values.
        refuses: errors by which it refuses damaged files.
        checksummed: whether it must notice all damage that ignores its format.
        wrong: function that says what is impossible about a value; empty for a possible one.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    refuses: tuple[type[BaseException], ...]
    checksummed: bool = False
    wrong: Callable[[Any], str] = lambda value: ""


@dataclass(frozen=True)
class Damage:
    """Damage to one file of a folder.

    Args:
        seed: seed that makes it again.
        file: name of the damaged file.
        mutation: name of the mutation.
        content: damaged content; None if the file was removed.
        is_blind: whether the mutation ignores the format, which is a binary one.
    """

    seed: int
    file: str
    mutation: str
    content: bytes | None
    is_blind: bool


@dataclass(frozen=True)
class Verdict:
    """Result of reading a damaged folder.

    Args:
        seed: seed of the damage.
        answer: SAME, REFUSED or OTHER.
        finding: what is wrong with the answer; empty if nothing is.
    """

    seed: int
    answer: str
    finding: str = ""


def contents(folder: Path) -> dict[str, bytes]:
    """Read the bytes of all files of a folder, by name."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a new folder; the inverse of `contents`."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def damage(files: Mapping[str, bytes], seed: int) -> Damage:
    """Draw the damage of a seed: one file in fifty is removed, the others are changed."""
    random = Random(seed)
    name = random.choice(sorted(files))
    if random.random() < 0.02:
        return Damage(seed, name, "removed", None, is_blind=False)
    mutation, content = damaged(random, name, files[name])
    is_blind = mutation in _BLIND and Path(name).suffix not in _TEXTS
    return Damage(seed, name, mutation, content, is_blind)


def attempt(reader: Reader, files: Mapping[str, bytes], done: Damage, expected: str) -> Verdict:
    """Let a reader read a damaged folder, and judge its answer."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / FOLDER
        changed = {**files, done.file: done.content}
        write(folder, {name: content for name, content in changed.items() if content is not None})
        try:
            value = reader.read(folder)
        except reader.refuses as error:
            return Verdict(done.seed, REFUSED, _unclear(error, done.file))
        except Exception as error:
            return Verdict(done.seed, REFUSED, f"{type(error).__name__} of Python's own: {error}")
        if fingerprint(value, folder) == expected:
            return Verdict(done.seed, SAME)
        finding = reader.wrong(value)
        if reader.checksummed and done.is_blind and not finding:
            finding = "other values were read without a word"
        return Verdict(done.seed, OTHER, finding)


def fingerprint(value: Any, folder: Path) -> str:
    """Hash of a value; the name of the folder from which it was read does not matter."""
    return hashlib.sha256(_describe(value).replace(str(folder), "").encode()).hexdigest()


def _describe(value: Any) -> str:
    """Describe dicts, lists, arrays, dataclasses and plain values completely."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return f"{{{' '.join(f'{key!r}: {_describe(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(_describe, value))}]"
    return repr(value)


def _unclear(error: BaseException, file: str) -> str:
    """Say what is wrong with a refusal, which must be a few lines that name file or folder."""
    text = str(error)
    if not text.strip():
        return f"{type(error).__name__} without a word"
    if len(text) > _LONGEST_MESSAGE:
        return f"a message of {len(text)} characters: {text[:200]}"
    if "Traceback" in text or len(text.strip().splitlines()) > 3:
        return f"a message of many lines: {text[:500]}"
    if Path(file).name not in text and f"{os.sep}{FOLDER}" not in text:
        return f"{type(error).__name__} does not name the file: {text}"
    return ""


def undisturbed(reader: Reader) -> tuple[dict[str, bytes], str]:
    """Make undamaged files. Returns them, and the fingerprint of their value."""
    with tempfile.TemporaryDirectory() as scratch:
        made, folder = Path(scratch) / "made", Path(scratch) / FOLDER
        made.mkdir()
        reader.make(made)
        files = contents(made)
        write(folder, files)
        return files, fingerprint(reader.read(folder), folder)


def main(name: str, first_seed: int, num_tries: int) -> None:
    """Run the child process, which writes a line of JSON before and after each seed."""
    from preprocess.workers.child_process import limit_memory
    from tests.fuzzing.reader_targets import READERS

    limit_memory()
    reader = next(one for one in READERS if one.name == name)
    files, expected = undisturbed(reader)
    for seed in range(first_seed, first_seed + num_tries):
        _say({"begun": seed})
        signal.setitimer(signal.ITIMER_REAL, FILE_SECONDS)  # its handler is to die
        verdict = attempt(reader, files, damage(files, seed), expected)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _say(asdict(verdict))


def _say(fields: dict[str, Any]) -> None:
    sys.__stdout__.write(json.dumps(fields) + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
