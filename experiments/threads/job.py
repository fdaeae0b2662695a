"""Job that measures every kind of work in turn, writes reports and keeps the best settings."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.errors import InputError, UserError
from common.files import write_atomically
from experiments.process import environment
from experiments.process.recommendations import (
    Recommendation,
    find_recommendation,
    keep_recommendation,
    recommendations_path,
)
from experiments.process.runtime import choose_threads
from experiments.runs.run import require_place
from experiments.threads import Arguments, WorkloadName, report
from experiments.threads.inputs import prepare
from experiments.threads.measurement import MeasureError, Runner
from experiments.threads.search import Comparison, Outcome, compare, search
from experiments.threads.space import (
    BATCH_SIZES,
    WORKLOADS,
    Point,
    Space,
    Task,
    Variant,
    parse_settings,
    variants_of,
)
from preprocess.shards.reader import open_shards
from preprocess.sources.clips import holds_videos
from preprocess.system.machine import Machine, read_machine


def run(arguments: Arguments) -> int:
    """Measure all kinds of work, print, and keep what was found; returns the exit code.

    Raises:
        UserError, OSError: if a flag, a folder or its content is not what it should be.
    """
    _check_arguments(arguments)
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
            # Time that one kind of work leaves over goes to those after it.
            share = (end - time.monotonic()) / (len(workloads) - number)
            deadline = time.monotonic() + share
            measured = measure_work(
                arguments, workload, machine, Path(scratch), deadline, progress.say
            )
            done.append(measured)
            # After each kind of work, so that an interruption loses only the one at work.
            _write(arguments, machine, done)
            progress.print(_text(arguments, measured))
            if arguments.keep and report.says_something(measured.outcome):
                progress.print(_keep(measured, machine, arguments.out))
    print(f"\nWritten to {arguments.out}/: results.json, report.md, {_images(done)}")
    return 0


def show() -> int:
    """Print what is seen of the machine and what is kept for it; returns the exit code."""
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
        values = ", ".join(f"{report.NAMES[name]} {value}" for name, value in found.items())
        print(f"  {workload}: {values} ({source})")
    return 0


def _check_arguments(arguments: Arguments) -> None:
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
    """Tables and verdict of one kind of work, as Markdown."""
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
    """Keep the recommendation, and return a line that says so."""
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
    """Write all files anew."""
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
        image = report.heat_map_png(each.space, each.outcome)
        write_atomically(arguments.out / f"{each.space.workload}.png", image)


def _images(done: list[Measured]) -> str:
    return ", ".join(f"{each.space.workload}.png" for each in _telling(done)) or "no picture"


def _telling(done: list[Measured]) -> list[Measured]:
    return [each for each in done if report.says_something(each.outcome)]


# Measurement of one kind of work: the search, then changes besides the pools.


# Fraction of a workload's time for the search, if variants are tried, too.
_SHARE_OF_SEARCH = 0.7

VariantRow = tuple[Variant, Comparison | None, str]


@dataclass
class Measured:
    """Measurements of one kind of work."""

    space: Space
    outcome: Outcome
    variants: list[VariantRow]
    runs: list[dict[str, Any]]


def measure_work(
    arguments: Arguments,
    workload: WorkloadName,
    machine: Machine,
    scratch: Path,
    deadline: float,
    say: Callable[[str], None],
) -> Measured:
    """Search the settings of one kind of work, then try the variants.

    Args:
        arguments: flags of the command, checked.
        workload: the kind of work.
        machine: the machine that it runs on.
        scratch: private folder.
        deadline: time by time.monotonic() until which runs may begin.
        say: called with a description of the current work.

    Raises:
        UserError: if the work cannot be prepared, or fails at the default.
    """
    current = f"{workload}: preparing"

    def begin(text: str) -> None:
        nonlocal current
        current = f"{workload}: {text}"
        say(current)

    begin("preparing")
    space = Space(workload, machine, only=parse_settings(arguments.settings))
    runs: list[dict[str, Any]] = []
    runner = Runner(
        scratch,
        deadline=deadline,
        note=runs.append,
        on_stage=lambda stage: say(f"{current}: {stage}"),
    )
    task = _task(arguments, workload, scratch, machine.num_cores, begin)

    def measure(point: Point) -> float:
        begin(report.in_words(space, point))
        return runner.measure(replace(task, setting=space.setting(point)))

    # The first run also fills the disk's cache, compiles Python's files, and tells how long a run
    # takes. Its rate does not count.
    begin("first run")
    try:
        runner.measure(replace(task, setting=space.setting(space.default)))
    except MeasureError as error:
        raise UserError(f"{workload} cannot be measured: {error}") from error
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
    variants = _try_variants(best, runner, arguments.rounds, begin) if arguments.variants else []
    return Measured(space, outcome, variants, runs)


def _task(
    arguments: Arguments,
    workload: WorkloadName,
    scratch: Path,
    num_cores: int,
    say: Callable[[str], None],
) -> Task:
    """Make the task, on the user's own files or on rendered ones, still without a setting."""
    own = {"tt-train": arguments.shards, "extract": arguments.videos, "classify": arguments.videos}
    inputs = own.get(workload) or prepare(workload, scratch, num_cores=num_cores, say=say)
    return Task(
        workload=workload,
        setting={},
        inputs=str(Path(inputs).resolve()),
        scratch=str(scratch / "work"),
        seconds=arguments.seconds,
        batch_size=BATCH_SIZES.get(workload, 0),
    )


def _try_variants(
    best: Task, runner: Runner, rounds: int, say: Callable[[str], None]
) -> list[VariantRow]:
    """Measure each variant beside the recommended setting, in turn, as often as time allows."""
    variants = variants_of(best.workload)
    failures: dict[str, str] = {}
    rates: dict[str, list[tuple[float, float]]] = {variant.name: [] for variant in variants}
    for _ in range(rounds):
        # Only whole rounds count, in which each variant has a partner close in time.
        if not variants or runner.runs_left() < 1 + len(variants) - len(failures):
            break
        say("as recommended")
        try:
            base = runner.measure(best)
        except MeasureError:
            # It worked before: the machine is in trouble.
            break
        for variant in variants:
            if variant.name in failures:
                continue
            say(variant.name)
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


# Progress through the budget of time.


class BudgetProgress:
    """Progress bar over the budget of time, which moves by itself, with the current work.

    Args:
        seconds: the budget in seconds.
    """

    def __init__(self, seconds: float) -> None:
        self._bar = tqdm(
            total=round(seconds),
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, at most {remaining} more",
            leave=False,
        )
        self._started = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._move, daemon=True)

    def say(self, text: str) -> None:
        """Show the current work."""
        self._bar.set_description_str(text)

    def print(self, text: str) -> None:
        """Print a text above the bar."""
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def __enter__(self) -> BudgetProgress:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._bar.close()

    def _move(self) -> None:
        # A thread moves the bar, for a run gives no sign of life while it is timed.
        while not self._stopped.wait(1.0):
            self._bar.n = min(self._bar.total, int(time.monotonic() - self._started))
            self._bar.refresh()
