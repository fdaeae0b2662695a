"""The command `python -m experiments.highlights`: from a few labelled clips to a reel."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated, Any, Union

from tyro.conf import subcommand

from common.command_line import parse_arguments
from common.extras import import_extra
from experiments.highlights.commands.arguments import (
    Demo,
    Extract,
    Label,
    Labels,
    Reel,
    Review,
    Run,
    Train,
)
from experiments.highlights.commands.remembered import extracted, remembered
from preprocess.system.command import run_command

_PROG = "python -m experiments.highlights"
COMMANDS = (Demo, Label, Extract, Train, Run, Review, Reel, Labels)


def main(args: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    args = sys.argv[1:] if args is None else list(args)
    command = parse_arguments(_commands(), prog=_PROG, description=__doc__, args=args)
    return run_command(
        lambda: _run(_with_remembered(command, args)), resume_hint=lambda: command.resume_hint
    )


def _with_remembered(command: Any, args: list[str]) -> Any:
    """Return a command with what its folder remembers, wherever its line says nothing else.

    Of several files of scores to review, each has a command of its own.
    """
    if isinstance(command, Review) and len(command.scores) > 1 and not command.recording:
        return [
            replace(_with_remembered(replace(command, scores=(scores,)), args), scores=(scores,))
            for scores in command.scores
        ]
    defaults: Any
    if isinstance(command, Run | Review):
        defaults, names = remembered(command)
    elif isinstance(command, Extract) and not command.overwrite:
        defaults, names = extracted(command)
    else:
        return command
    if names:
        print(f"Taken from the last time where nothing else is said: {', '.join(names)}.")
        # Parsed again, so that what was typed wins over what is remembered.
        command = parse_arguments(
            type(command), prog=f"{_PROG} {args[0]}", args=args[1:], default=defaults
        )
    return command


def _run(command: Any) -> int:
    """Run the job of a command. Returns the exit code."""
    # Imported here, because --help needs none of them. Those of `run` are the same libraries; the
    # page has a web server besides.
    if isinstance(command, Review | Label | list):
        import_extra("nicegui")  # first: where it is missing, its extra brings all that is needed
        from experiments.highlights.commands import review

        match command:
            case Label():
                return review.run_labelling(command)
            case Review():
                return review.run([command])
        return review.run(command)
    from experiments.highlights.commands import demo, labels, reel, run, train

    match command:
        case Demo():
            return demo.run(command)
        case Labels() | Extract():
            return labels.run(command)
        case Train():
            return train.run(command)
        case Run():
            return run.run(command)
        case Reel():
            return reel.run(command)
    raise TypeError(command)


def _commands() -> Any:
    """Type of the subcommands, for tyro."""
    commands = [Annotated[command, subcommand(command.__name__.lower())] for command in COMMANDS]
    return Union[(*commands,)]
