"""`python -m tests.killing`: SIGKILL at random moments, many times; a table of what came of it."""

from __future__ import annotations

import shlex
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from tqdm import tqdm

from common.formatting import markdown_table, text
from tests.killing.harness import Killed, kill_often
from tests.killing.subjects import SUBJECTS
from tests.robustness import record


@dataclass(frozen=True)
class Arguments:
    """Kill commands at random moments; each resumes, and must end as if nothing had been."""

    kills: int = 50
    """That must land, of each subject."""
    subject: tuple[Literal["extraction", "training", "classification", "rendering"], ...] = (
        *("extraction", "training", "classification", "rendering"),
    )
    """Which commands."""
    seed: int = 0
    """Of the moments."""
    record: bool = False
    """Keep the figures in docs/robustness.csv."""


def main() -> int:
    """Run the command line. Returns 1 if anything differed."""
    arguments = tyro.cli(Arguments, prog="python -m tests.killing", description=__doc__)
    found = {name: _kill(name, arguments) for name in arguments.subject}
    rows = [[name, *map(text, killed.figures().values())] for name, killed in found.items()]
    print(markdown_table(["", *next(iter(found.values())).figures()], rows))
    return int(any(killed.differences for killed in found.values()))


def _kill(name: str, arguments: Arguments) -> Killed:
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="ttrnn-killing-") as folder,
        tqdm(total=arguments.kills, desc=name, unit="kill") as bar,
    ):
        killed = kill_often(
            *(SUBJECTS[name], Path(folder)),
            kills=arguments.kills,
            seed=arguments.seed,
            on_kill=bar.update,
        )
    for difference in killed.differences:
        print(f"{name}: {difference}", file=sys.stderr)
    if arguments.record:
        args = ["--subject", name, "--kills", str(arguments.kills), "--seed", str(arguments.seed)]
        command = shlex.join(["python", "-m", "tests.killing", *args])
        seconds = time.monotonic() - started
        record("kill", name, killed.figures(), command=command, seconds=seconds)
    return killed


if __name__ == "__main__":
    sys.exit(main())
