"""The command `python -m preprocess`: videos to shards, and the built-in videos."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Union

import tyro
from tyro.conf import subcommand

from common.command_line import parse_arguments
from preprocess.extraction.commands import Demo, Extract, Import, Windows, this_command
from preprocess.sources.catalog import DATASETS
from preprocess.system.command import run_command


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
    others = [
        Annotated[Windows, subcommand("windows")],
        Annotated[Import, subcommand("import")],
        Annotated[Demo, subcommand("demo")],
    ]
    return Union[(*commands, *others)]


def main() -> None:
    """Parse the command line, do it, and exit."""
    command = parse_arguments(_commands(), prog="python -m preprocess", description=__doc__)

    # Put together when it is needed: a signal may come at any time.
    def resume_hint() -> str:
        return f"{command.kept} Resume: {this_command()}"

    sys.exit(run_command(command.run, resume_hint=resume_hint))


if __name__ == "__main__":
    main()
