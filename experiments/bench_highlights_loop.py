"""Measure the teacher's loop of the highlights by a simulated editor.

    python -m experiments.bench_highlights_loop

An editor labels five clips of the built-in stream, then reviews a recording of the same streamer
part by part, as on the page: of what the scorer proposes, what overlaps a true highlight is moved
to its edges and kept, all else is rejected, what was missed is added, and the rest was looked
through. Each round adds a part to the labels, extracts and trains again, with the commands
themselves. After each, the scorer is measured on parts that the editor never sees: precision of a
reel as long as their highlights, and average precision, of smoothed scores against the truth; and
how much of the reel is right that `run` makes without another word.

With --clips the stream is composed of real clips with sound:

    python -m experiments.bench_highlights_loop --rounds 0 --clips ucf101 \\
        --sounds talk.mp4 music.mp4 --highlight-sounds crowd.mp4
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
    """How many parts of the recording the editor reviews, one after the other; at most 6. 0 is the
    way of a new user: five labelled clips and no review."""
    clips: Path | None = None
    """Folder of real clips, in folders by class, of which the stream is composed; by default it is
    rendered."""
    highlight: str = "BoxingPunchingBag"
    """Class of the clips that are highlights."""
    sounds: tuple[Path, ...] = ()
    """Videos whose sound the other moments have."""
    highlight_sounds: tuple[Path, ...] = ()
    """Videos whose sound the highlights have."""
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
    if not 0 <= arguments.rounds <= NUM_CHUNKS - 2:
        raise InputError(f"--rounds must be 0 to {NUM_CHUNKS - 2}. Received {arguments.rounds}.")
    # By its name, so that --help loads nothing of it.
    import_module("experiments.bench_highlights_loop_systems").run(arguments)


def main() -> int:
    """Run the command, and return the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.bench_highlights_loop")
    return carry_out(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
