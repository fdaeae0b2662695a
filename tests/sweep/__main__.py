"""Videos of many kinds, read by each command and by the ffmpeg program: is it the same?

    python -m tests.sweep

Some 90 videos are made, codec by container by interlaced, mirrored, turned, uneven, joined and of
changing size, each of whose pictures shows its number; real ones are added where they are at
hand. `test_sweep.py` is the quick part.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from tqdm import tqdm

from tests.preprocess.conftest import REPOSITORY
from tests.sweep.readings import (
    COMMANDS,
    CROPPING,
    PASSED_OVER,
    Reading,
    differences,
    ffmpegs,
    numbers_in,
)
from tests.sweep.specimens import Specimen, SpecimenMaker, names

CLIPS = REPOSITORY.parent / "shared" / "clips"
_SUFFIXES = {".avi", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm"}
# Clips of others whose timestamps begin again, and clips whose times go back or are doubled, which
# the ffmpeg program passes on and the suite evens out.
_RESTARTED, _UNEVEN = {"cat.ts"}, {"h264-png.mkv"}


@dataclass(frozen=True)
class Arguments:
    """Compare what each command reads with what ffmpeg reads; exits with 1 if anything differs."""

    clips: Path = CLIPS
    """Folder of real videos."""
    commands: tuple[str, ...] = tuple(COMMANDS)
    """Commands that read the videos."""
    only: str = ""
    """Only videos with this in their names."""


@dataclass(frozen=True)
class Finding:
    """Difference between a command and ffmpeg."""

    name: str
    command: str
    what: str


def sweep(specimens: Sequence[Specimen], commands: Sequence[str], scratch: Path) -> list[Finding]:
    """Find all differences between what commands and the ffmpeg program read.

    Args:
        specimens: the videos.
        commands: names in `COMMANDS`.
        scratch: empty folder.
    """
    expected: dict[tuple[bool, Path], Reading] = {}
    findings = []
    for specimen in tqdm(specimens, unit=" videos", desc="ffmpeg", disable=None):
        reading = ffmpegs(specimen.path)
        expected[False, specimen.path] = reading
        if CROPPING.intersection(commands):
            expected[True, specimen.path] = ffmpegs(specimen.path, crop=True)
        shown = numbers_in(reading.cells)
        if specimen.numbers and shown != specimen.numbers:  # then the comparison says nothing
            findings.append(Finding(specimen.path.name, "ffmpeg", f"shows {shown}"))
    for command in commands:
        folder = scratch / command
        folder.mkdir()
        print(f"{command} reads {len(specimens)} videos ...", file=sys.stderr)
        readings = COMMANDS[command](specimens, folder)
        for specimen in specimens:
            reading = expected[command in CROPPING, specimen.path]
            what = differences(specimen, reading, readings.get(specimen.path, PASSED_OVER))
            if what and not (specimen.path.name in _UNEVEN and what.endswith("s off")):
                findings.append(Finding(specimen.path.name, command, what))
    return findings


def _specimens(arguments: Arguments, folder: Path) -> Iterator[Specimen]:
    maker = SpecimenMaker(folder)
    chosen = [name for name in names() if arguments.only in name]
    for name in tqdm(chosen, unit=" videos", desc="make", disable=None):
        yield maker.make(name)
    for path in sorted(arguments.clips.rglob("*")):
        if path.suffix.lower() in _SUFFIXES and arguments.only in path.name:
            yield Specimen(path.resolve(), None, path.name in _RESTARTED)


def main() -> int:
    """Run the command line. Returns the exit code."""
    arguments = tyro.cli(Arguments, prog="python -m tests.sweep", description=__doc__)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "videos")
        made.mkdir()
        specimens = list(_specimens(arguments, made))
        findings = sweep(specimens, arguments.commands, Path(folder))
    for finding in findings:
        print(f"{finding.name}: {finding.command}: {finding.what}")
    print(f"{len(specimens)} videos, {len(arguments.commands)} commands: {len(findings)} findings.")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
