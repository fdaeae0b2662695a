"""The command `python -m preprocess`: videos to shards, and the built-in videos."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Union

import tyro
from tyro.conf import subcommand

from common.command_line import parse_arguments
from common.errors import UserError
from preprocess.extraction.commands import Demo, Extract, Windows, this_command
from preprocess.sources.catalog import DATASETS
from preprocess.system.stopping import answer_signals, is_stop, tell_stopped

EXIT_ERROR = 2


def _commands() -> Any:
    """Build the subcommands: one per data set, one for any folder, two that make data."""
    # A union that is put together at run time, since the data sets stand in the catalogue.
    unset: Any = tyro.MISSING
    extracts = [
        subcommand(
            name,
            default=Extract(unset, unset, dataset=dataset),
            description=f"Decode {title} into shards. A second run does only what is missing.",
        )
        for name, dataset, title in [
            *(
                (record.name, record.name, record.title)
                for record in DATASETS.values()
                if record.homepage
            ),
            ("folder", None, "any folder of videos, or a list of stretches of them,"),
        ]
    ]
    commands = [Annotated[Extract, extract] for extract in extracts]
    others = [Annotated[Windows, subcommand("windows")], Annotated[Demo, subcommand("demo")]]
    return Union[(*commands, *others)]


def main() -> None:
    """Parse the command line, do it, and exit."""
    command = parse_arguments(_commands(), prog="python -m preprocess", description=__doc__)

    # Put together when it is needed: a signal may come at any time.
    def resume_hint() -> str:
        return f"{command.kept} Resume: {this_command()}"

    answer_signals(resume_hint)
    try:
        code = command.run()
    except BaseException as error:
        # Stopped by a signal, or by what a signal made fail; then what a user can mend, in one
        # line; anything else keeps its traceback.
        if is_stop(error):
            sys.exit(tell_stopped(resume_hint))
        if not isinstance(error, UserError):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_ERROR)
    sys.exit(code)


if __name__ == "__main__":
    main()
