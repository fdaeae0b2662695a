"""Check that memory and open files stay constant over an hour of the suite's own work.

python -m tests.endurance --subject classification
python -m tests.endurance --subject training --minutes 60 --record

The real command runs on data made on the spot. The exit code is 1 where memory or open files grow
beyond the limits and the noise, or the command does not end by Ctrl-C as it should.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.files import write_atomically
from experiments.process import runtime
from preprocess.system.command import run_command
from preprocess.system.stopping import EXIT_INTERRUPTED
from tests.endurance.report import Trends, figures, image, samples_csv, trends
from tests.endurance.subjects import SUBJECTS
from tests.endurance.watch import Watched, watch
from tests.robustness import record

DEFAULT_OUT = Path("runs/endurance")


@dataclass(frozen=True)
class Arguments:
    """Watch memory and open files of a long run."""

    subject: Literal["classification", "training"] = "classification"
    """classification: a folder of many videos; training: epochs without end."""
    minutes: float = 60.0
    """To watch, from the first result."""
    every: float = 5.0
    """Seconds between samples."""
    limit: float = 20.0
    """MiB/hour that memory may grow."""
    files_limit: float = 2.0
    """Open files an hour that may come on top."""
    out: Path = DEFAULT_OUT
    """Folder for SUBJECT.csv, SUBJECT.png and SUBJECT.log."""
    record: bool = False
    """Append the figures to docs/robustness.csv."""


def main(args: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    import tyro

    arguments = tyro.cli(Arguments, prog="python -m tests.endurance", args=args)
    if not 0 < arguments.every <= 6 * arguments.minutes:
        print("error: --minutes must be worth 10 samples of --every seconds.", file=sys.stderr)
        return 2
    return run_command(
        lambda: _run(arguments),
        resume_hint=lambda: "Nothing is recorded; the same command watches anew.",
    )


def _run(arguments: Arguments) -> int:
    runtime.configure(runtime.choose_threads("auto"), seed=0)  # the small model is made here
    seconds = 60 * arguments.minutes
    files = {kind: arguments.out / f"{arguments.subject}.{kind}" for kind in ("csv", "png", "log")}
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="endurance-") as folder:
        subject = SUBJECTS[arguments.subject](Path(folder), seconds)
        watched = watch(
            subject.command,
            lambda: subject.done() > 0,
            seconds=seconds,
            interval_seconds=arguments.every,
            log=files["log"],
        )
        done = f"{subject.done():,} {subject.unit}"
    write_atomically(files["csv"], samples_csv(watched.samples))
    write_atomically(files["png"], image(watched.samples, arguments.subject))
    found = trends(watched.samples)
    row = figures(watched, found, done)
    for name, value in row.items():
        print(f"{name:>18}: {value}")
    if arguments.record:
        command = f"python -m tests.endurance --subject {arguments.subject}"
        command += f" --minutes {arguments.minutes:g}"
        watched_seconds = watched.samples[-1].seconds
        record("endurance", arguments.subject, row, command=command, seconds=watched_seconds)
    faults = _faults(watched, found, arguments)
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _faults(watched: Watched, found: Trends, arguments: Arguments) -> list[str]:
    """Sentences on what is wrong with a run; none if all is well."""
    wrong = {
        f"Memory grows by more than {arguments.limit:g} MiB an hour.": found.memory.exceeds(
            arguments.limit
        ),
        f"Open files grow by more than {arguments.files_limit:g} an hour.": found.files.exceeds(
            arguments.files_limit
        ),
        "The command ended before its time; see its log.": watched.ended_by_itself,
        f"Ctrl-C ended it with {watched.exit_code} instead of {EXIT_INTERRUPTED}.": (
            not watched.ended_by_itself and watched.exit_code != EXIT_INTERRUPTED
        ),
        f"{watched.left_behind} of its processes outlived it.": watched.left_behind > 0,
    }
    return [text for text, is_wrong in wrong.items() if is_wrong]


if __name__ == "__main__":
    sys.exit(main())
