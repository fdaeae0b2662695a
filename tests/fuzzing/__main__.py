"""Damaged files, thousands of them, given to all that reads files.

    python -m tests.fuzzing --minutes 20

`test_fuzz_*.py` are the quick run. `mutations`, `containers` and `structures` damage; `corpus` is
what they damage; `videos` and `readers` look at what comes of it, in `jobs` under watch.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro
from tqdm import tqdm

from common.formatting import markdown_table
from tests.fuzzing.campaign import FindingsWriter, Tally, total, try_reader, try_videos
from tests.fuzzing.corpus import CLIPS, Specimen, real, rendered
from tests.fuzzing.jobs import Limits
from tests.fuzzing.reader_targets import READERS
from tests.fuzzing.video_targets import TARGETS
from tests.robustness import record

_VIDEOS_A_JOB = 100
_TRIES_A_JOB = 300


@dataclass(frozen=True)
class Arguments:
    """Give thousands of damaged files to all that reads files; exits with 1 if one did harm."""

    minutes: float = 20.0
    """How long to go on."""
    files: int | None = None
    """In place of a time: how many files each target is given."""
    seed: int = 0
    """Of the first file; the same seed makes the same file."""
    clips: Path = CLIPS
    """Folder of real videos; those that are rendered here are damaged as well."""
    targets: tuple[str, ...] = ()
    """Names of some targets; all if not given."""
    keep: Path = Path("runs/fuzzing")
    """Folder for what repeats a finding."""
    record: bool = False
    """Append the figures to docs/robustness.csv."""


class Campaign:
    """Campaign over all targets in turn, as long as there is time."""

    def __init__(self, arguments: Arguments, scratch: Path, bar: tqdm) -> None:
        self._arguments = arguments
        self._bar = bar
        self._findings = FindingsWriter(arguments.keep, bar.write)
        made = rendered(scratch)
        self._corpora = [corpus for corpus in (made, real(arguments.clips)) if corpus]
        controls = {one.name: one for one in made}
        chosen = [controls["h264.mp4"], controls["mpeg1.mpg"]]
        self._videos = [
            target(chosen, scratch, Limits()) for target in TARGETS if self._wanted(target.name)
        ]
        self._readers = [reader for reader in READERS if self._wanted(reader.name)]

    def run(self) -> list[Tally]:
        """Run the campaign. Returns a tally for each target."""
        tallies: list[Tally] = []
        started = time.monotonic()
        for tally in self._rounds():
            tallies.append(tally)
            if self._arguments.files is not None:
                self._bar.update(tally.files)
            else:
                self._bar.update(min(time.monotonic() - started, self._bar.total) - self._bar.n)
                if time.monotonic() - started > 60 * self._arguments.minutes:
                    break
        return total(tallies)

    def _rounds(self) -> Iterator[Tally]:
        first, number = self._arguments.seed, 0
        wanted = self._arguments.files
        while wanted is None or first < self._arguments.seed + wanted:
            left = _TRIES_A_JOB if wanted is None else wanted - (first - self._arguments.seed)
            corpus = self._corpora[number % len(self._corpora)]
            yield from self._round(corpus, first, min(left, _TRIES_A_JOB))
            first, number = first + _TRIES_A_JOB, number + 1

    def _round(self, corpus: list[Specimen], first: int, num: int) -> Iterator[Tally]:
        for target in self._videos:
            for seed in range(first, first + num, _VIDEOS_A_JOB):
                self._bar.set_description(target.name)
                yield try_videos(
                    target, corpus, seed, min(_VIDEOS_A_JOB, first + num - seed), self._findings
                )
        for reader in self._readers:
            self._bar.set_description(reader.name)
            yield try_reader(reader, first, num, self._findings)

    def _wanted(self, name: str) -> bool:
        return not self._arguments.targets or name in self._arguments.targets


def main() -> int:
    """Run the command line. Returns the exit code."""
    arguments = tyro.cli(Arguments, prog="python -m tests.fuzzing", description=__doc__)
    names = [one.name for one in (*TARGETS, *READERS)]
    unknown = [name for name in arguments.targets if name not in names]
    if unknown:
        sys.exit(f"--targets must be of {', '.join(names)}. Received {unknown[0]}.")
    targets = len(arguments.targets or names)
    amount = 60 * arguments.minutes if arguments.files is None else arguments.files * targets
    unit = "s" if arguments.files is None else " files"
    with (
        tempfile.TemporaryDirectory() as scratch,
        tqdm(total=round(amount), unit=unit, dynamic_ncols=True) as bar,
    ):
        tallies = Campaign(arguments, Path(scratch), bar).run()
    figures = {one.name: one.figures() for one in tallies}
    heads = list(next(iter(figures.values())))
    rows = [[name, *map(str, found.values())] for name, found in figures.items()]
    print(markdown_table(["", *heads], rows))
    if arguments.record:
        args = shlex.join(sys.argv[1:])
        for one in tallies:
            command = f"python -m tests.fuzzing {args}".strip()
            record("fuzz", one.name, one.figures(), command=command, seconds=one.seconds)
    return int(any(one.findings for one in tallies))


if __name__ == "__main__":
    sys.exit(main())
