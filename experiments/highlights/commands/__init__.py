"""The command `python -m experiments.highlights`: from a few labelled clips to a reel."""

from __future__ import annotations

from typing import Annotated, Any, Union

from tyro.conf import subcommand

from common.command_line import parse_arguments
from experiments.highlights.commands.demo import Demo
from experiments.highlights.commands.labels import Extract, Labels
from experiments.highlights.commands.reel import Reel
from experiments.highlights.commands.review import Review
from experiments.highlights.commands.run import Run
from experiments.highlights.commands.train import Train
from experiments.process.command import run_command

COMMANDS = (Demo, Extract, Train, Run, Review, Reel, Labels)


def main(args: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    command = parse_arguments(
        _commands(), prog="python -m experiments.highlights", description=__doc__, args=args
    )
    return run_command(command.run, resume_hint=lambda: command.resume_hint)


def _commands() -> Any:
    """Type of the subcommands, for tyro."""
    commands = [Annotated[command, subcommand(command.__name__.lower())] for command in COMMANDS]
    return Union[(*commands,)]
