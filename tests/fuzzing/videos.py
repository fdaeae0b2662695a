"""Folders of damaged videos, and a few that are in order, given to a command in one job.

The job must end by itself, each file must be read or named, and what is made of the files that
are in order must be what is made of them alone.
"""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzzing.corpus import Mutant, Specimen
from tests.fuzzing.jobs import Ended, Limits, watch

FOLDER = "clip"  # a class, for extraction; a recording in chunks, for highlights


@dataclass(frozen=True)
class Results:
    """What a job left.

    Args:
        read: by file name, what was made of those that were read; equal if it is the same.
        named: by file name, why others were not, or not wholly.
        remains: files that should not be there.
    """

    read: Mapping[str, Any]
    named: Mapping[str, str]
    remains: Sequence[str] = ()


@dataclass
class Tried:
    """What came of a folder.

    Args:
        ended: how the job ended.
        results: what it left.
        faults: by file name what is wrong with its results; those of the job itself by "".
    """

    ended: Ended
    results: Results
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def num_contained(self) -> int:
        """Files that a decoder crashed or hung on, and that cost themselves alone."""
        return sum(map(died, self.results.named.values()))


class VideoTarget(ABC):
    """A command that reads videos.

    Args:
        controls: files that are in order; in each folder the first is the first, the others last.
        folder: for what is made once.
        limits: of each job.
    """

    name: str
    codes: tuple[int, ...] = (0, 1)

    def __init__(self, controls: Sequence[Specimen], folder: Path, limits: Limits) -> None:
        self._controls = controls
        self._limits = limits
        self.folder = folder / self.name
        self.folder.mkdir(parents=True)
        self._expected: list[Any] = []
        self._prepare()
        self._expected = self._alone()

    def _prepare(self) -> None:  # noqa: B027 - most need nothing
        """Make what the command needs besides videos."""

    def _alone(self) -> list[Any]:
        """What is made of each control, without damaged files beside it."""
        tried = self.attempt([], self.folder / "alone")
        assert not tried.faults, (tried.faults, tried.ended.said)
        return [tried.results.read[name] for name in sorted(tried.results.read)]

    @abstractmethod
    def command(self, files: Path, out: Path) -> list[str]:
        """That reads the files of a folder named `FOLDER`, and writes below another."""

    @abstractmethod
    def results(self, files: Path, out: Path, said: str) -> Results:
        """What it left."""

    def attempt(self, mutants: Sequence[Mutant], folder: Path) -> Tried:
        """Run the command over damaged files and the controls."""
        files, out = folder / "files" / FOLDER, folder / "out"
        names = self._write(mutants, files)
        ended = watch(self.command(files, out), files, self._limits)
        try:
            results = self.results(files, out, ended.said)
        except Exception as error:
            fault = f"its results cannot be read ({error!r}): {ended.said[-300:]}"
            return Tried(ended, Results({}, {}), {"": "; ".join([*ended.faults, fault])})
        tried = Tried(ended, results)
        unclear = [name for name in names if name not in {**results.read, **results.named}]
        tried.faults |= dict.fromkeys(unclear, "is neither read nor named")
        tried.faults |= self._changed(names, results)
        of_job = [*ended.faults, *(f"left {name}" for name in results.remains)]
        if ended.code not in self.codes and not ended.faults:
            of_job.append(f"exit code {ended.code}: {ended.said[-300:]}")
        tried.faults |= {"": "; ".join(of_job)} if of_job else {}
        return tried

    def _write(self, mutants: Sequence[Mutant], files: Path) -> list[str]:
        """Files named part0.mp4, part1.mpg, ...; returns the names."""
        files.mkdir(parents=True)
        first, *others = self._controls
        specimens = [(first.name, first.content), *((one.origin, one.content) for one in mutants)]
        specimens += [(one.name, one.content) for one in others]
        names = [f"part{n}{Path(origin).suffix}" for n, (origin, _) in enumerate(specimens)]
        for name, (_, content) in zip(names, specimens, strict=True):
            (files / name).write_bytes(content)
        return names

    def _changed(self, names: Sequence[str], results: Results) -> dict[str, str]:
        """The controls that were not read as they are alone."""
        num_last = len(self._controls) - 1
        controls = [names[0], *names[len(names) - num_last :]]
        return {
            name: "is in order, but was read otherwise than alone"
            for name, expected in zip(controls, self._expected, strict=False)
            if results.read.get(name) != expected
        }


def folder_names(mutants: Sequence[Mutant]) -> dict[str, Mutant]:
    """Damaged files by what they are called in their folder, where a control comes first."""
    return {f"part{n + 1}{mutant.suffix}": mutant for n, mutant in enumerate(mutants)}


def died(reason: str) -> bool:
    """Whether a decoder crashed or hung, of which a file need not be the cause."""
    return "crashed" in reason or "gave nothing" in reason


def reasons(path: Path, column: str) -> dict[str, str]:
    """failures.csv by file name."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {Path(row[column]).name: row["reason"] for row in csv.DictReader(file)}
