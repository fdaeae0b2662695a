"""The command `python -m experiments.ucf101`."""

from __future__ import annotations

import sys
from typing import Any

from experiments.clips.prediction.command import main as predict
from experiments.clips.recipe import outcome
from experiments.process.command import command
from experiments.ucf101.recipes import MODULE, Ucf101Arguments

_HELP = """Train and evaluate a model on UCF101's videos, or any others.

`python -m experiments.ucf101 predict runs/NAME VIDEO` says what videos show; --help after predict
tells more.
"""


def main() -> int:
    """Run the command line; returns the exit code."""
    if sys.argv[1:2] == ["predict"]:
        return predict(f"python -m {MODULE} predict", sys.argv[2:])
    return command(
        Ucf101Arguments,
        _run,
        module=MODULE,
        outcome=outcome,
        description=_HELP,
        commands=["predict"],
    )


def _run(arguments: Ucf101Arguments) -> dict[str, Any] | None:
    from experiments.ucf101.job import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
