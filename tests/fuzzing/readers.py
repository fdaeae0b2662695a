"""Damaged files given to what reads them: the same value, another that can be, or a clear refusal.

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
    """Something that reads files.

    Args:
        name: for the table.
        make: writes files that are in order into an empty folder.
        read: what such a folder says; whatever it is, `fingerprint` must be able to tell it apart.
        refuses: by what errors it says that files are not in order.
        checksummed: whether it must notice all damage that does not know its format.
        wrong: what is impossible about a value read; empty for what can be.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    refuses: tuple[type[BaseException], ...]
    checksummed: bool = False
    wrong: Callable[[Any], str] = lambda value: ""


@dataclass(frozen=True)
class Damage:
    """A folder with one damaged file.

    Args:
        seed: that makes it again.
        file: the damaged one.
        mutation: what was done to it.
        content: what is in it now; None where it is gone.
        is_blind: whether it was done without knowing the format, to a file of a binary one.
    """

    seed: int
    file: str
    mutation: str
    content: bytes | None
    is_blind: bool


@dataclass(frozen=True)
class Verdict:
    """What came of a damaged folder.

    Args:
        seed: of the damage.
        answer: SAME, REFUSED or OTHER.
        finding: what is wrong with that; empty if nothing.
    """

    seed: int
    answer: str
    finding: str = ""


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all files, by name."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """The inverse of `contents`; the folder must not be there."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def damage(files: Mapping[str, bytes], seed: int) -> Damage:
    """That of a seed: one file in fifty is removed, the others are changed."""
    random = Random(seed)
    name = random.choice(sorted(files))
    if random.random() < 0.02:
        return Damage(seed, name, "removed", None, is_blind=False)
    mutation, content = damaged(random, name, files[name])
    is_blind = mutation in _BLIND and Path(name).suffix not in _TEXTS
    return Damage(seed, name, mutation, content, is_blind)


def attempt(reader: Reader, files: Mapping[str, bytes], done: Damage, expected: str) -> Verdict:
    """Read a damaged folder."""
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
    """Equal for equal values, whatever the folder they were read from is called."""
    return hashlib.sha256(_words(value).replace(str(folder), "").encode()).hexdigest()


def _words(value: Any) -> str:
    """Of dicts, lists, arrays, dataclasses and plain values, all that they are."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return f"{{{' '.join(f'{key!r}: {_words(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(_words, value))}]"
    return repr(value)


def _unclear(error: BaseException, file: str) -> str:
    """What is wrong with a refusal: it must be a few lines that name the file, or its folder."""
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
    """Files that are in order, and the fingerprint of what they say."""
    with tempfile.TemporaryDirectory() as scratch:
        made, folder = Path(scratch) / "made", Path(scratch) / FOLDER
        made.mkdir()
        reader.make(made)
        files = contents(made)
        write(folder, files)
        return files, fingerprint(reader.read(folder), folder)


def main(name: str, first_seed: int, num_tries: int) -> None:
    """The child: a line of JSON for each seed, before it is tried and after."""
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


def _say(words: dict[str, Any]) -> None:
    sys.__stdout__.write(json.dumps(words) + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
