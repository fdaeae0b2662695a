"""The command `python -m experiments.threads`."""

from __future__ import annotations

import sys

from common.command_line import parse_arguments
from experiments.threads import Arguments
from preprocess.system.command import run_command


def main(args: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.threads", args=args)
    return run_command(
        lambda: _run(arguments),
        resume_hint=lambda: (
            "Nothing is kept of the work that was being measured; the same command begins anew."
        ),
    )


def _run(arguments: Arguments) -> int:
    from experiments.threads.job import run, show

    return show() if arguments.show else run(arguments)


if __name__ == "__main__":
    sys.exit(main())
