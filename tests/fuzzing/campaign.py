"""Long run over folders of damaged videos and damaged files for readers, with a tally."""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tests.fuzzing.corpus import Mutant, Specimen, mutants
from tests.fuzzing.jobs import Ended, Limits, watch
from tests.fuzzing.readers import OTHER, REFUSED, SAME, Reader, damage, undisturbed
from tests.fuzzing.videos import Tried, VideoTarget, folder_names

_READER_LIMITS = Limits(job_seconds=1200.0)
_READER_MODULE = "tests.fuzzing.readers"


@dataclass
class Tally:
    """Counts of all attempts on one target.

    Args:
        kind: "video" or "reader".
        name: name of the target.
        files: number of files tried.
        read: number of files read; a video may be read in part and be named as well.
        named: number of videos in the list of failures, or of refusals of a reader.
        contained: number of decoders that crashed or hung without harm to the job.
        slowest_seconds: longest time that one video was open.
        peak_mib: memory of the largest process.
        findings: number of findings.
        seconds: total time.
    """

    kind: str
    name: str
    files: int = 0
    read: int = 0
    named: int = 0
    contained: int = 0
    slowest_seconds: float = 0.0
    peak_mib: int = 0
    findings: int = 0
    seconds: float = 0.0

    def add(self, ended: Ended) -> None:
        """Add a job's time and memory."""
        self.seconds += ended.seconds
        self.slowest_seconds = max(self.slowest_seconds, ended.slowest_seconds)
        self.peak_mib = max(self.peak_mib, ended.peak_bytes // 2**20)

    def figures(self) -> dict[str, int | float | str]:
        """Figures as a table row."""
        slowest = f"{self.slowest_seconds:.1f}" if self.kind == "video" else ""
        return {
            **{"files": self.files, "read": self.read, "named or refused": self.named},
            **{"crashes contained": self.contained, "slowest file, s": slowest},
            **{"peak, MiB": self.peak_mib, "findings": self.findings},
        }


@dataclass
class FindingsWriter:
    """Writer of files that repeat a finding.

    Args:
        folder: folder for damaged files, and for `findings.csv`.
        say: called with a line about each finding.
    """

    folder: Path
    say: Callable[[str], None] = print

    def keep(self, target: str, seed: int, about: str, finding: str, *, name: str, content: bytes):
        """Write a file's bytes, and a row about its origin and the finding."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name.replace("/", "_")).write_bytes(content)
        with (self.folder / "findings.csv").open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow([target, seed, about, finding, name])
        self.say(f"{target}, seed {seed}: {about}: {finding[:300]}")


def try_videos(
    target: VideoTarget,
    corpus: Sequence[Specimen],
    first_seed: int,
    num_files: int,
    findings: FindingsWriter,
) -> Tally:
    """Run one job over damaged videos, and narrow a fault of the job down to a file."""
    batch = list(islice(mutants(corpus, first_seed), num_files))
    tried = _attempt(target, batch)
    tally = Tally("video", target.name, files=num_files, contained=tried.num_contained)
    tally.read, tally.named = len(tried.results.read), len(tried.results.named)
    tally.add(tried.ended)
    names = folder_names(batch)
    found = {name: fault for name, fault in tried.faults.items() if name in names}
    if job_fault := "; ".join(fault for name, fault in tried.faults.items() if name not in names):
        culprit = _culprit(target, batch, tried)
        found[next(name for name, one in names.items() if one is culprit)] = job_fault
    for name, fault in found.items():
        one = names[name]
        about, file = f"{one.origin}, {one.mutations}", f"{target.name}-{one.seed}{one.suffix}"
        findings.keep(target.name, one.seed, about, fault, name=file, content=one.content)
    tally.findings = len(found)
    return tally


def try_reader(reader: Reader, first_seed: int, num_tries: int, findings: FindingsWriter) -> Tally:
    """Try all seeds on a reader, with a new child process whenever one has died."""
    tally = Tally("reader", reader.name, files=num_tries)
    seed, last = first_seed, first_seed + num_tries
    while seed < last:
        args = ["-m", _READER_MODULE, reader.name, str(seed), str(last - seed)]
        ended = watch([sys.executable, *args], Path("/nonexistent"), _READER_LIMITS)
        tally.add(ended)
        lines = [json.loads(line) for line in ended.output.splitlines() if line.startswith('{"')]
        begun = [line["begun"] for line in lines if "begun" in line]
        if not begun:
            raise RuntimeError(f"{reader.name} cannot be tried: {ended.output[-2000:]}")
        verdicts = [line for line in lines if "answer" in line]
        if len(verdicts) < len(begun):
            fault = f"ended the process with code {ended.code}: {ended.output[-300:]}"
            verdicts.append({"seed": begun[-1], "answer": "", "finding": fault})
        _count(tally, verdicts)
        _keep(reader, [one for one in verdicts if one["finding"]], findings)
        seed = begun[-1] + 1
    return tally


def _count(tally: Tally, verdicts: Sequence[dict]) -> None:
    answers = [one["answer"] for one in verdicts]
    tally.read += answers.count(SAME) + answers.count(OTHER)
    tally.named += answers.count(REFUSED)
    tally.findings += sum(bool(one["finding"]) for one in verdicts)


def _keep(reader: Reader, found: Sequence[dict], findings: FindingsWriter) -> None:
    files = undisturbed(reader)[0] if found else {}
    for one in found:
        done = damage(files, one["seed"])
        about, name = f"{done.file}, {done.mutation}", f"{reader.name}-{done.seed}-{done.file}"
        content = done.content or b""
        findings.keep(reader.name, done.seed, about, one["finding"], name=name, content=content)


def _attempt(target: VideoTarget, batch: Sequence[Mutant]) -> Tried:
    with tempfile.TemporaryDirectory() as scratch:
        return target.attempt(batch, Path(scratch))


def _culprit(target: VideoTarget, batch: Sequence[Mutant], tried: Tried) -> Mutant:
    """Find the file that made a job fail: the slowest, or by halving the batch."""
    names = folder_names(batch)
    slow = [path.name for path, _ in tried.ended.file_seconds.most_common(1)]
    suspects = [names[name] for name in slow if name in names]
    if suspects and _attempt(target, suspects).faults:
        return suspects[0]
    while len(batch) > 1:
        half = batch[: len(batch) // 2]
        batch = half if _attempt(target, half).faults else batch[len(half) :]
    return batch[0]


def total(tallies: Sequence[Tally]) -> list[Tally]:
    """Sum tallies to one for each target."""
    sums: dict[str, Tally] = {}
    for one in tallies:
        into = sums.setdefault(one.name, Tally(one.kind, one.name))
        for name in ("files", "read", "named", "contained", "findings", "seconds"):
            setattr(into, name, getattr(into, name) + getattr(one, name))
        for name in ("slowest_seconds", "peak_mib"):
            setattr(into, name, max(getattr(into, name), getattr(one, name)))
    return list(sums.values())
