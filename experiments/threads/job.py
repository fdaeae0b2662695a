"""The job: every kind of work in turn, measured, written down and kept."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from experiments import environment
from experiments.recommendations import (
    Recommendation,
    find_recommendation,
    keep_recommendation,
    recommendations_path,
)
from experiments.run_directory import write_atomically
from experiments.runtime import choose_threads
from experiments.threads import Arguments, report
from experiments.threads.comparison import Comparison, compare
from experiments.threads.progress import BudgetProgress
from experiments.threads.runner import Runner
from experiments.threads.search import MeasureError, Outcome, Point, search
from experiments.threads.space import WORKLOADS, Space, parse_settings
from experiments.threads.variants import Variant, variants_of
from experiments.threads.workloads import BATCH_SIZES, Task, WorkloadName, prepare
from preprocess.machine import Machine, read_machine

_SHARE_OF_SEARCH = 0.7  # of a workload's time where variants are tried too

VariantRow = tuple[Variant, Comparison | None, str]


@dataclass
class Measured:
    """One kind of work, measured."""

    space: Space
    outcome: Outcome
    variants: list[VariantRow]
    runs: list[dict[str, Any]]


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
            measured = _measure(arguments, workload, machine, Path(scratch), deadline, progress.say)
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
            raise ValueError(f"--{name.replace('_', '-')} must be above 0. Received {value}.")
    if arguments.confirmations < 2:
        raise ValueError(
            f"--confirmations must be at least 2, for one pair says nothing of the noise. Received "
            f"{arguments.confirmations}."
        )
    if not arguments.workload:
        raise ValueError(f"--workload must name one of {', '.join(WORKLOADS)}.")
    parse_settings(arguments.settings)
    for name in ("shards", "videos"):
        folder = getattr(arguments, name)
        if folder is not None and not folder.is_dir():
            raise ValueError(f"--{name} must name a folder. Received {folder}.")


def _measure(
    arguments: Arguments,
    workload: WorkloadName,
    machine: Machine,
    scratch: Path,
    deadline: float,
    say: Callable[[str], None],
) -> Measured:
    """Search the settings of one kind of work, then try the variants."""
    say(f"{workload}: preparing")
    space = Space(workload, machine, only=parse_settings(arguments.settings))
    own = {"tt-train": arguments.shards, "extract": arguments.videos, "classify": arguments.videos}
    inputs = own.get(workload) or prepare(workload, scratch, num_cores=machine.num_cores)
    runs: list[dict[str, Any]] = []
    runner = Runner(scratch, deadline=deadline, note=runs.append)
    task = Task(
        workload=workload,
        setting={},
        inputs=str(Path(inputs).resolve()),
        scratch=str(scratch / "work"),
        seconds=arguments.seconds,
        batch_size=BATCH_SIZES.get(workload, 0),
    )

    def measure(point: Point) -> float:
        say(f"{workload}: {report.in_words(space, point)}")
        return runner.measure(replace(task, setting=space.setting(point)))

    say(f"{workload}: warming up")
    try:
        runner.measure(replace(task, setting=space.setting(space.default)))
    except MeasureError as error:
        raise RuntimeError(f"{workload} cannot be measured: {error}") from error
    left = deadline - time.monotonic()
    runner.deadline = deadline - (1 - _SHARE_OF_SEARCH) * left * arguments.variants
    outcome = search(
        space.axes,
        space.default,
        measure,
        starts=space.starts(),
        rounds=arguments.rounds,
        confirmations=arguments.confirmations,
        runs_left=runner.runs_left,
        is_allowed=space.is_allowed,
    )
    runner.deadline = deadline
    best = replace(task, setting=space.setting(outcome.best))
    variants = _try_variants(best, runner, arguments.rounds, say) if arguments.variants else []
    return Measured(space, outcome, variants, runs)


def _try_variants(
    best: Task, runner: Runner, rounds: int, say: Callable[[str], None]
) -> list[VariantRow]:
    """Each variant beside the recommended setting, in turn, as often as time allows."""
    variants = variants_of(best.workload)
    failures: dict[str, str] = {}
    rates: dict[str, list[tuple[float, float]]] = {variant.name: [] for variant in variants}
    for _ in range(rounds):
        if not variants or runner.runs_left() < 1 + len(variants) - len(failures):
            break
        say(f"{best.workload}: as recommended")
        try:
            base = runner.measure(best)
        except MeasureError:  # it worked before; the machine is in trouble
            break
        for variant in variants:
            if variant.name in failures:
                continue
            say(f"{best.workload}: {variant.name}")
            try:
                rate = runner.measure(replace(best, **variant.changes), variant.environment)
            except MeasureError as error:
                failures[variant.name] = str(error)
                continue
            rates[variant.name].append((base, rate))
    return [
        (
            variant,
            None if variant.name in failures else _compare_pairs(rates[variant.name]),
            failures.get(variant.name, ""),
        )
        for variant in variants
        if rates[variant.name] or variant.name in failures
    ]


def _compare_pairs(pairs: list[tuple[float, float]]) -> Comparison:
    return compare([rate for _, rate in pairs], [base for base, _ in pairs])


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
