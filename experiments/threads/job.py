"""The job: every kind of work in turn, measured, written down and kept."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path

from common.errors import InputError
from experiments.process.recommendations import (
    Recommendation,
    find_recommendation,
    keep_recommendation,
    recommendations_path,
)
from experiments.process.runtime import choose_threads
from experiments.runs import environment
from experiments.runs.directory import write_atomically
from experiments.runs.run import require_place
from experiments.threads import Arguments, report
from experiments.threads.measuring import Measured, measure_work
from experiments.threads.progress import BudgetProgress
from experiments.threads.space import WORKLOADS, Space, parse_settings
from preprocess.shards.reader import open_shards
from preprocess.sources.clips import holds_videos
from preprocess.system.machine import Machine, read_machine


def run(arguments: Arguments) -> int:
    """Measure, print and keep. Returns the exit code.

    Raises:
        PreprocessError, ValueError, OSError, RuntimeError: if a flag, a folder or what is to be
            measured on is not what it should be.
    """
    _check(arguments)
    machine = read_machine()
    print("\n".join(machine.describe()))
    arguments.out.mkdir(parents=True, exist_ok=True)
    done: list[Measured] = []
    workloads = list(dict.fromkeys(arguments.workload))
    end = time.monotonic() + 60 * arguments.budget_minutes
    with (
        tempfile.TemporaryDirectory(prefix="threads-") as scratch,
        BudgetProgress(60 * arguments.budget_minutes) as progress,
    ):
        for number, workload in enumerate(workloads):
            share = (end - time.monotonic()) / (len(workloads) - number)
            deadline = time.monotonic() + share
            measured = measure_work(
                arguments, workload, machine, Path(scratch), deadline, progress.say
            )
            done.append(measured)
            _write(arguments, machine, done)
            progress.print(_text(arguments, measured))
            if arguments.keep and report.says_something(measured.outcome):
                progress.print(_keep(measured, machine, arguments.out))
    print(f"\nWritten to {arguments.out}/: results.json, report.md, {_pictures(done)}")
    return 0


def show() -> int:
    """Say what is seen of the machine and what is kept for it. Returns the exit code."""
    machine = read_machine()
    print("\n".join(machine.describe()))
    print(f"\nWhat --threads auto takes here ({recommendations_path()}):")
    for workload in WORKLOADS:
        if workload != "extract":
            print(f"  {workload}: {choose_threads('auto', workload=workload)}")
            continue
        kept = find_recommendation(workload, machine)
        space = Space(workload, machine)
        found = kept.setting if kept else space.setting(space.default)
        source = f"measured on {kept.measured_on}" if kept else "default"
        said = ", ".join(f"{report.NAMES[name]} {value}" for name, value in found.items())
        print(f"  {workload}: {said} ({source})")
    return 0


def _check(arguments: Arguments) -> None:
    for name in ("budget_minutes", "rounds", "seconds"):
        value = getattr(arguments, name)
        if value <= 0:
            raise InputError(f"--{name.replace('_', '-')} must be above 0. Received {value}.")
    if arguments.confirmations < 2:
        raise InputError(
            f"--confirmations must be at least 2, for one pair says nothing of the noise. Received "
            f"{arguments.confirmations}."
        )
    if not arguments.workload:
        raise InputError(f"--workload must name one of {', '.join(WORKLOADS)}.")
    parse_settings(arguments.settings)
    for name in ("shards", "videos"):
        folder = getattr(arguments, name)
        if folder is not None and not folder.is_dir():
            raise InputError(f"--{name} must name a folder. Received {folder}.")
    if arguments.shards is not None:
        open_shards(arguments.shards).close()
    if arguments.videos is not None and not holds_videos(arguments.videos):
        raise InputError(f"--videos must hold videos. There are none in {arguments.videos}.")
    require_place(arguments.out)
    if arguments.keep:
        require_place(recommendations_path().parent, flag="XDG_CACHE_HOME")


def _text(arguments: Arguments, measured: Measured) -> str:
    """Tables and verdict of one kind of work; Markdown."""
    lines = [
        f"\n## {measured.space.workload}\n",
        report.table(measured.space, measured.outcome),
        "",
        report.verdict(measured.space, measured.outcome),
    ]
    if not measured.variants and arguments.variants:
        lines.append("\nNo time was left to try other changes; give more --budget-minutes.")
    if measured.variants:
        lines += [
            f"\nBeside {report.in_words(measured.space, measured.outcome.best)}, one thing changed "
            "at a time:\n",
            report.variants_table(measured.variants),
        ]
    return "\n".join(lines)


def _keep(measured: Measured, machine: Machine, out: Path) -> str:
    """Keep the recommendation; returns a line that says so."""
    space, outcome = measured.space, measured.outcome
    better = outcome.best != outcome.default
    recommendation = Recommendation(
        workload=space.workload,
        setting=space.setting(outcome.best),
        gain=outcome.comparison.gain if better and outcome.comparison else 0.0,
        measured_on=str(date.today()),
        report=str(out.resolve()),
    )
    try:
        path = keep_recommendation(recommendation, machine)
    except OSError as error:
        return f"\nNot kept, for {recommendations_path()} cannot be written: {error.strerror}."
    return f"\nKept for --threads auto: {path}"


def _write(arguments: Arguments, machine: Machine, done: list[Measured]) -> None:
    """All files, anew."""
    result = {
        "command": sys.argv[1:],
        "commit": environment.git_commit(),
        **environment.describe_environment(),
        "seen": asdict(machine),
        "arguments": json.loads(json.dumps(asdict(arguments), default=str)),
        "workloads": [
            {
                "workload": each.space.workload,
                "axes": [asdict(axis) for axis in each.space.axes],
                "outcome": asdict(each.outcome),
                "variants": [
                    {
                        "variant": asdict(variant),
                        "comparison": asdict(comparison) if comparison else None,
                        "failure": failure,
                    }
                    for variant, comparison, failure in each.variants
                ],
                "runs": each.runs,
            }
            for each in done
        ],
    }
    texts = [_text(arguments, each) for each in done]
    text = "\n".join(["# Threads\n", *machine.describe(), *texts]) + "\n"
    write_atomically(arguments.out / "results.json", json.dumps(result, indent=1).encode())
    write_atomically(arguments.out / "report.md", text.encode())
    for each in _telling(done):
        picture = report.heat_map_png(each.space, each.outcome)
        write_atomically(arguments.out / f"{each.space.workload}.png", picture)


def _pictures(done: list[Measured]) -> str:
    return ", ".join(f"{each.space.workload}.png" for each in _telling(done)) or "no picture"


def _telling(done: list[Measured]) -> list[Measured]:
    return [each for each in done if report.says_something(each.outcome)]
