"""The command `python -m experiments.highlights`: from a few labelled clips to a reel."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Union

import tyro
from tyro.conf import subcommand

from experiments import runtime
from experiments.highlights.commands.demo import Demo
from experiments.highlights.commands.extract import Extract
from experiments.highlights.commands.labels import Labels
from experiments.highlights.commands.reel import Reel
from experiments.highlights.commands.review import Review
from experiments.highlights.commands.run import Run
from experiments.highlights.commands.train import Train
from preprocess.errors import PreprocessError

COMMANDS = (Demo, Extract, Train, Run, Review, Reel, Labels)
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


def main(args: list[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    command = tyro.cli(
        _commands(), prog="python -m experiments.highlights", description=__doc__, args=args
    )
    runtime.stop_on_termination()
    try:
        return command.run()
    except (PreprocessError, ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("\nStopped; nothing half-made is left.", file=sys.stderr)
        return EXIT_INTERRUPTED


def _commands() -> Any:
    """The sub-commands, for tyro."""
    commands = [Annotated[command, subcommand(command.__name__.lower())] for command in COMMANDS]
    return Union[(*commands,)]
