"""The command `python -m experiments.ucf101`."""

from __future__ import annotations

import sys

from common.command_line import parse_arguments

_HELP = """Train and evaluate a model on UCF101's videos, or any others.

`python -m experiments.ucf101 predict runs/NAME VIDEO` says what videos show; --help after predict
tells more.
"""


def main() -> int:
    """The command line. Returns the exit code."""
    from experiments.clips.command import carry_out
    from experiments.ucf101.arguments import Arguments
    from experiments.ucf101.job import MODULE, run

    prog = f"python -m {MODULE}"
    if sys.argv[1:2] == ["predict"]:
        from experiments.clips.prediction.command import main as predict

        return predict(f"{prog} predict", sys.argv[2:])
    arguments = parse_arguments(Arguments, prog=prog, description=_HELP, commands=["predict"])
    return carry_out(lambda: run(arguments), MODULE)


if __name__ == "__main__":
    sys.exit(main())
