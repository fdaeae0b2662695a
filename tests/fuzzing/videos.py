"""Give folders of damaged videos, with a few undamaged ones, to a command in one job.

The job must end by itself, each file must be read or named, and the results of the undamaged
files must be the same as without the damaged ones.
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
    """Results that a job left.

    Args:
        read: results of the files that were read, by file name.
        named: reasons why files were not read, or not wholly, by file name.
        remains: files that should not exist.
    """

    read: Mapping[str, Any]
    named: Mapping[str, str]
    remains: Sequence[str] = ()


@dataclass
class Tried:
    """Outcome of a job over one folder.

    Args:
        ended: how the job ended.
        results: results that it left.
        faults: what is wrong with the results, by file name; faults of the job itself under "".
    """

    ended: Ended
    results: Results
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def num_contained(self) -> int:
        """Number of files on which a decoder crashed or hung without harm to others."""
        return sum(map(died, self.results.named.values()))


class VideoTarget(ABC):
    """Command that reads videos.

    Args:
        controls: undamaged files; in each folder the first comes first and the others last.
        folder: folder for what is made once.
        limits: limits of each job.
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
        """Results of the controls without damaged files beside them."""
        tried = self.attempt([], self.folder / "alone")
        assert not tried.faults, (tried.faults, tried.ended.output)
        return [tried.results.read[name] for name in sorted(tried.results.read)]

    @abstractmethod
    def command(self, files: Path, out: Path) -> list[str]:
        """Command that reads the files of a folder named `FOLDER`, and writes below another."""

    @abstractmethod
    def results(self, files: Path, out: Path, output: str) -> Results:
        """Results that the command left."""

    def attempt(self, mutants: Sequence[Mutant], folder: Path) -> Tried:
        """Run the command over damaged files and the controls."""
        files, out = folder / "files" / FOLDER, folder / "out"
        names = self._write(mutants, files)
        ended = watch(self.command(files, out), files, self._limits)
        try:
            results = self.results(files, out, ended.output)
        except Exception as error:
            fault = f"its results cannot be read ({error!r}): {ended.output[-300:]}"
            return Tried(ended, Results({}, {}), {"": "; ".join([*ended.faults, fault])})
        tried = Tried(ended, results)
        unclear = [name for name in names if name not in {**results.read, **results.named}]
        tried.faults |= dict.fromkeys(unclear, "is neither read nor named")
        tried.faults |= self._changed(names, results)
        of_job = [*ended.faults, *(f"left {name}" for name in results.remains)]
        if ended.code not in self.codes and not ended.faults:
            of_job.append(f"exit code {ended.code}: {ended.output[-300:]}")
        tried.faults |= {"": "; ".join(of_job)} if of_job else {}
        return tried

    def _write(self, mutants: Sequence[Mutant], files: Path) -> list[str]:
        """Write files named part0.mp4, part1.mpg, ... Returns the names."""
        files.mkdir(parents=True)
        first, *others = self._controls
        specimens = [(first.name, first.content), *((one.origin, one.content) for one in mutants)]
        specimens += [(one.name, one.content) for one in others]
        names = [f"part{n}{Path(origin).suffix}" for n, (origin, _) in enumerate(specimens)]
        for name, (_, content) in zip(names, specimens, strict=True):
            (files / name).write_bytes(content)
        return names

    def _changed(self, names: Sequence[str], results: Results) -> dict[str, str]:
        """Faults of controls whose results differ from those that they have alone."""
        num_last = len(self._controls) - 1
        controls = [names[0], *names[len(names) - num_last :]]
        return {
            name: "is in order, but was read otherwise than alone"
            for name, expected in zip(controls, self._expected, strict=False)
            if results.read.get(name) != expected
        }


def folder_names(mutants: Sequence[Mutant]) -> dict[str, Mutant]:
    """Damaged files by their names in the folder, where a control comes first."""
    return {f"part{n + 1}{mutant.suffix}": mutant for n, mutant in enumerate(mutants)}


def died(reason: str) -> bool:
    """Return whether a decoder crashed or hung, which need not be the file's fault."""
    return "crashed" in reason or "gave nothing" in reason


def reasons(path: Path, column: str) -> dict[str, str]:
    """Read the reasons in failures.csv, by file name."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {Path(row[column]).name: row["reason"] for row in csv.DictReader(file)}
