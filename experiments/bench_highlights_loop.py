"""Measure the teacher's loop of the highlights by a simulated editor.

    python -m experiments.bench_highlights_loop

An editor labels five clips of the built-in stream, then reviews a recording of the same streamer
part by part, as on the page: of what the scorer proposes, what overlaps a true highlight is moved
to its edges and kept, all else is rejected, what was missed is added, and the rest was looked
through. Each round adds a part to the labels, extracts and trains again, with the commands
themselves. After each, the scorer is measured on parts that the editor never sees: precision of a
reel as long as their highlights, and average precision, of smoothed scores against the truth.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from common.command_line import parse_arguments
from common.errors import InputError
from experiments.benchmarks import carry_out

NUM_CHUNKS, CHUNK_SECONDS = 8, 60.0
"""Parts of the recording; those that are not reviewed are measured on."""


@dataclass(frozen=True)
class Arguments:
    """Precision of a scorer as an editor teaches it, round by round."""

    rounds: int = 4
    """How many parts of the recording the editor reviews, one after the other; at most 6."""
    seed: int = 0
    """Of the stream and of each training."""
    data: Path = Path("data/highlights-loop")
    """Where the stream is rendered."""
    out: Path = Path("runs/bench_highlights_loop")
    """Folder for the runs and table.md."""
    jobs: int | None = None
    """Worker processes; one a processor if not given."""


def run(arguments: Arguments) -> None:
    """Measure all rounds.

    Raises:
        InputError: for an impossible number of rounds.
    """
    if not 1 <= arguments.rounds <= NUM_CHUNKS - 2:
        raise InputError(f"--rounds must be 1 to {NUM_CHUNKS - 2}. Received {arguments.rounds}.")
    # By its name, so that --help loads nothing of it.
    import_module("experiments.bench_highlights_loop_systems").run(arguments)


def main() -> int:
    """Run the command, and return the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.bench_highlights_loop")
    return carry_out(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
