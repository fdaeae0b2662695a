"""The command `python -m experiments.highlights`: from a few labelled clips to a reel."""

from __future__ import annotations

from typing import Annotated, Any, Union

from tyro.conf import subcommand

from common.command_line import parse_arguments
from experiments.highlights.commands.arguments import (
    Demo,
    Extract,
    Labels,
    Reel,
    Review,
    Run,
    Train,
)
from experiments.process.command import run_command

COMMANDS = (Demo, Extract, Train, Run, Review, Reel, Labels)


def main(args: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    command = parse_arguments(
        _commands(), prog="python -m experiments.highlights", description=__doc__, args=args
    )
    return run_command(lambda: _run(command), resume_hint=lambda: command.resume_hint)


def _run(command: Any) -> int:
    """Run the job of a command. Returns the exit code."""
    # Only the job that is asked for is imported: each needs other libraries, and --help none.
    match command:
        case Demo():
            from experiments.highlights.commands import demo

            return demo.run(command)
        case Labels() | Extract():
            from experiments.highlights.commands import labels

            return labels.run(command)
        case Train():
            from experiments.highlights.training import job

            return job.run(command)
        case Run():
            from experiments.highlights.commands import run

            return run.run(command)
        case Review():
            from experiments.highlights.commands import review

            return review.run(command)
        case Reel():
            from experiments.highlights.commands import reel

            return reel.run(command)
    raise TypeError(command)


def _commands() -> Any:
    """Type of the subcommands, for tyro."""
    commands = [Annotated[command, subcommand(command.__name__.lower())] for command in COMMANDS]
    return Union[(*commands,)]
