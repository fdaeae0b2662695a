"""The command `python -m weights`: list, fetch, verify and convert other people's weights."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union

from tyro.conf import Positional, subcommand

from common.command_line import parse_arguments
from experiments.process.command import run_command
from experiments.weights_convert import Convert
from weights.errors import WeightsError

FOLDER = Path("weights")


@dataclass(frozen=True)
class List:
    """Show the files that are known, and which are here."""

    folder: Path = FOLDER
    """Where to look for them."""

    def run(self) -> int:
        """Print the table; the exit code."""
        from weights.registry import ENTRIES

        header = ("name", "file", "parameters", "about MB", "checksum", "here", "licence")
        rows = [header]
        for entry in ENTRIES.values():
            rows.append(
                (
                    entry.name,
                    entry.file_name,
                    f"{entry.num_parameters:,}",
                    f"{4 * entry.num_parameters / 1e6:.0f}",
                    entry.checksum.partition(":")[0] if entry.checksum else "-",
                    "yes" if (self.folder / entry.file_name).is_file() else "no",
                    entry.licence,
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(map(str.ljust, row, widths)).rstrip())
        return 0


@dataclass(frozen=True)
class Fetch:
    """Download a file and verify it. A second run goes on where the first one stopped."""

    name: Positional[str]
    """As `list` shows it."""
    folder: Path = FOLDER
    """Where to put it."""
    url: str | None = None
    """To get it from, in place of the known address."""

    def run(self) -> int:
        """Fetch; the exit code."""
        from weights.fetch import fetch
        from weights.registry import find_entry

        path = fetch(find_entry(self.name), self.folder, url=self.url)
        print(f"{path} is there and verified.")
        return 0


@dataclass(frozen=True)
class Verify:
    """Check that a file is what its name says."""

    file: Positional[Path]
    """The file."""
    name: str | None = None
    """What it must be, as `list` shows it; by default what its file name says."""

    def run(self) -> int:
        """Verify; the exit code."""
        from weights.registry import find_entry
        from weights.verify import verify

        try:
            entry = find_entry(self.name or self.file.name)
        except WeightsError as error:
            raise WeightsError(f"{error} Say with --name which of them it is.") from None
        verify(self.file, entry)
        print(f"{self.file} is {entry.name}, {entry.num_parameters:,} parameters.")
        return 0


def main() -> int:
    """The command line. Returns the exit code."""

    command = parse_arguments(_commands(), prog="python -m weights", description=__doc__)
    words = shlex.join(["python", "-m", "weights", *sys.argv[1:]])
    return run_command(command.run, going_on=lambda: f"What came is kept; go on with: {words}")


def _commands() -> Any:
    """The sub-commands, for tyro."""
    commands = [
        Annotated[command, subcommand(command.__name__.lower())]
        for command in (List, Fetch, Verify, Convert)
    ]
    return Union[(*commands,)]
