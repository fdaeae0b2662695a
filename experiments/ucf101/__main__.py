"""The command `python -m experiments.ucf101`."""

from __future__ import annotations

import sys

_HELP = """Train and evaluate a model on UCF101's videos, or any others.

`python -m experiments.ucf101 predict runs/NAME VIDEO` says what videos show; --help after predict
tells more.
"""


def main() -> int:
    """Run the command line; returns the exit code."""
    # Imported here, so that each command loads only what it needs for --help.
    from experiments.clips.command import outcome
    from experiments.process.command import command
    from experiments.ucf101.arguments import Ucf101Arguments
    from experiments.ucf101.job import MODULE, run

    if sys.argv[1:2] == ["predict"]:
        from experiments.clips.prediction.command import main as predict

        return predict(f"python -m {MODULE} predict", sys.argv[2:])
    return command(
        Ucf101Arguments,
        run,
        module=MODULE,
        outcome=outcome,
        description=_HELP,
        commands=["predict"],
    )


if __name__ == "__main__":
    sys.exit(main())
