"""One kind of work, measured: the search, then what else might help."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from experiments.threads import Arguments, report
from experiments.threads.comparison import Comparison, compare
from experiments.threads.runner import Runner
from experiments.threads.search import MeasureError, Outcome, Point, search
from experiments.threads.space import Space, parse_settings
from experiments.threads.variants import Variant, variants_of
from experiments.threads.workloads import BATCH_SIZES, Task, WorkloadName, prepare
from preprocess.system.machine import Machine

_SHARE_OF_SEARCH = 0.7  # of a workload's time where variants are tried too

VariantRow = tuple[Variant, Comparison | None, str]


@dataclass
class Measured:
    """One kind of work, measured."""

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
        arguments: of the command, checked.
        workload: the kind of work.
        machine: what it runs on.
        scratch: private folder.
        deadline: until when runs may be begun, by time.monotonic().
        say: told what is being done.

    Raises:
        PreprocessError, RuntimeError: if the work cannot be prepared, or fails at the default.
    """
    say(f"{workload}: preparing")
    space = Space(workload, machine, only=parse_settings(arguments.settings))
    runs: list[dict[str, Any]] = []
    runner = Runner(scratch, deadline=deadline, note=runs.append)
    task = _task(arguments, workload, scratch, machine.num_cores)

    def measure(point: Point) -> float:
        say(f"{workload}: {report.in_words(space, point)}")
        return runner.measure(replace(task, setting=space.setting(point)))

    say(f"{workload}: warming up")
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
    variants = _try_variants(best, runner, arguments.rounds, say) if arguments.variants else []
    return Measured(space, outcome, variants, runs)


def _task(arguments: Arguments, workload: WorkloadName, scratch: Path, num_cores: int) -> Task:
    """The work, on the user's own files or on rendered ones; its setting is yet to be chosen."""
    own = {"tt-train": arguments.shards, "extract": arguments.videos, "classify": arguments.videos}
    inputs = own.get(workload) or prepare(workload, scratch, num_cores=num_cores)
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
