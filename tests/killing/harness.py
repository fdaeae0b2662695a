"""Kill a command repeatedly, let it resume, and compare with an undisturbed run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.killing.whole_files import broken_files, leftovers
from tests.processes import start, wait_until_gone

_IN_A_ROW = 6  # largest number of kills before a run is left to end


class Subject(Protocol):
    """Command that can be resumed."""

    @property
    def name(self) -> str:
        """Name in one word."""

    def prepare(self, folder: Path) -> None:
        """Make the input that `args` names."""

    def args(self, folder: Path, out: Path, *, resume: bool) -> list[object]:
        """Arguments of python, for a folder of inputs and one of results."""

    def has_begun(self, out: Path) -> bool:
        """Return whether there is something to resume from."""

    def result(self, out: Path) -> Mapping[str, Any]:
        """Results that must be equal to those of an undisturbed run, by their names."""


@dataclass
class Killed:
    """Counts and findings of many kills."""

    kills: int = 0
    """Kills that ended a command; those that came too late do not count."""
    runs: int = 0
    """Runs of the command, killed or not."""
    resumed: int = 0
    """Runs that had something to resume from."""
    ends: int = 0
    """Runs that ended by themselves, whose results were compared."""
    differences: list[str] = field(default_factory=list)
    """Sentences on everything that was wrong."""
    seconds: float = 0.0
    """Duration of an undisturbed run."""

    def figures(self) -> dict[str, int | float | str]:
        """Figures as a table row."""
        return {
            "kills": self.kills,
            "runs": self.runs,
            "of these resumed": self.resumed,
            "results compared": self.ends,
            "differences": len(self.differences),
            "an undisturbed run": f"{self.seconds:.1f} s",
        }


def kill_often(
    subject: Subject,
    folder: Path,
    *,
    kills: int,
    seed: int = 0,
    on_kill: Callable[[], object] = lambda: None,
) -> Killed:
    """Kill a command a number of times, at random moments over all of its duration.

    Each time it is started again to resume. After a few times it is left to end, its result is
    compared with that of an undisturbed run, and it starts over.

    Args:
        subject: the command.
        folder: empty folder to work in.
        kills: number of kills that must end a command.
        seed: seed of the moments.
        on_kill: called after each kill.
    """
    moments = random.Random(f"{seed} {subject.name}")
    (folder / "input").mkdir()
    subject.prepare(folder / "input")
    seen = Killed()
    begun = time.monotonic()
    _run_to_the_end(subject, folder, "alone")
    seen.seconds = time.monotonic() - begun
    expected = subject.result(folder / "alone")
    while seen.kills < kills:
        _one_result(subject, folder, expected, moments, seen, kills, on_kill)
    return seen


def _one_result(
    subject: Subject,
    folder: Path,
    expected: Mapping[str, Any],
    moments: random.Random,
    seen: Killed,
    kills: int,
    on_kill: Callable[[], object],
) -> None:
    """Kill and resume a command from an empty folder to its result."""
    out = folder / "killed"
    out.mkdir()
    code, output, max_kills = (
        -signal.SIGKILL,
        "",
        min(kills, seen.kills + moments.randint(1, _IN_A_ROW)),
    )
    while code == -signal.SIGKILL:
        moment = moments.uniform(0, seen.seconds) if seen.kills < max_kills else None
        resume = any(out.iterdir())
        seen.runs += 1
        seen.resumed += subject.has_begun(out)
        code, output = _run(subject.args(folder / "input", out, resume=resume), folder, moment)
        if code == -signal.SIGKILL:
            seen.kills += 1
            seen.differences += [f"after a kill, {broken}" for broken in broken_files(out)]
            on_kill()
    seen.ends += 1
    if code:
        seen.differences.append(f"exit code {code}: {output.strip()[-1000:]}")
    else:
        seen.differences += broken_files(out) or _differences(expected, subject.result(out))
        seen.differences += [f"{path} is left" for path in leftovers(out)]
    shutil.rmtree(out)


def _run_to_the_end(subject: Subject, folder: Path, name: str) -> None:
    out = folder / name
    out.mkdir()
    code, output = _run(subject.args(folder / "input", out, resume=False), folder, None)
    assert code == 0, output


def _run(args: list[object], folder: Path, moment: float | None) -> tuple[int, str]:
    """Run a command, kill it after `moment` seconds, and return its exit code and output."""
    log = folder / "log.txt"
    with log.open("w") as file:
        process = start(args, stdout=file, stderr=subprocess.STDOUT)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    wait_until_gone(process.pid)
    return process.returncode, log.read_text(errors="replace")


def _differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} is another"
        for name in sorted({*expected, *found})
        if expected.get(name) != found.get(name)
    ]
