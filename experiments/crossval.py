"""Run all folds of several settings of the UCF11 job, and print mean and spread.

    python -m experiments.crossval --recipes paper tuned --cells gru lstm --kernels tt dense
    python -m experiments.crossval --settings "" "inputs=raw" "inputs=both head_dropout=0.5"
    python -m experiments.crossval --features efficientnet-lite0 --cells mean lstm --seeds 0 1 2
    python -m experiments.crossval --features efficientnet-lite0 --kernels tt tr cp low-rank dense

A run on pixels is a fresh `python -m experiments.ucf11` process. Runs on features share a process,
hence take seconds each, and leave neither a model nor a report. A row equals that of a run by hand;
finished runs are not repeated. Settings are compared by their accuracy on validation clips,
which are a part of the training clips; the test folds are for the chosen setting only.
"""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tqdm import tqdm

from common.command_line import parse_arguments
from common.errors import InputError
from common.files import write_atomically
from common.formatting import share
from experiments.clips import ucf11
from experiments.clips.ucf11 import FormatName, Ucf11Arguments
from experiments.process import runtime
from experiments.runs.records import Spread, mean_and_spread
from experiments.runs.run import CONFIG, RESULT, require_place, require_positive
from experiments.training.recipes import RecipeName
from preprocess.system.command import run_command

if TYPE_CHECKING:
    from experiments.clips.head_runs import HeadRuns


@dataclass(frozen=True)
class Arguments:
    """Run folds x recipes x cells x kernels x settings, and print mean and spread."""

    name: str = "crossval"
    """The runs go to runs/NAME/."""
    recipes: tuple[RecipeName, ...] = ("tuned",)
    """Recipes to run."""
    cells: tuple[Literal["gru", "lstm", "rnn", "mlp", "mean"], ...] = ("gru",)
    """Kinds of recurrent layer, or none: mlp and mean; mean needs --features."""
    kernels: tuple[FormatName, ...] = ("tt",)
    """Formats of the input kernel: a tensor train, a dense matrix, and so on."""
    features: str | None = None
    """Classify the features of this frozen network, as python -m experiments.ucf11 does."""
    settings: tuple[str, ...] = ("",)
    """Overrides of the recipe, such as "inputs=raw clip_norm=null"; "" for none."""
    folds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Which folds are tested in turn; with --split official among --flags, which splits, from 0."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the initial weights and so on; each also deals the folds anew."""
    flags: str = ""
    """Further flags for every run, given with an equals sign: --flags="--stride 3"."""
    jobs: int = 1
    """Runs at the same time; give each its threads: --flags="--threads 1,1"."""
    record: bool = False
    """Append every result to experiments/results.csv."""
    show_test: bool = False
    """Print the test accuracies too: only once the choice is made."""


# Flags of the kernels that the job had before --format, by which their rows are known.
_KERNEL_FLAGS = {"tt": ("--tt",), "dense": ("--no-tt",)}


@dataclass(frozen=True)
class Setting:
    """Setting of the runs in one row of the table."""

    recipe: str
    cell: str
    kernel: FormatName
    overrides: str

    def command(self, arguments: Arguments, fold: int, seed: int, out: Path) -> list[str]:
        """Command line of the run of one fold."""
        return [
            *(sys.executable, "-m", "experiments.ucf11", "--out", str(out)),
            *(["--record"] if arguments.record else []),
            # A run that was stopped goes on; without the flag its directory would be refused.
            *(["--resume"] if (out / CONFIG).exists() else []),
            *("--recipe", self.recipe, "--cell", self.cell),
            *_KERNEL_FLAGS.get(self.kernel, ("--format", self.kernel)),
            *_tested(arguments, fold),
            *("--seed", str(seed)),
            *(["--set", *shlex.split(self.overrides)] if self.overrides else []),
            *(["--features", arguments.features] if arguments.features else []),
            *shlex.split(arguments.flags),
        ]

    def parsed(self, arguments: Arguments, fold: int, seed: int, out: Path) -> Ucf11Arguments:
        """Flags of the run of one fold, as its command parses them."""
        return ucf11.parse(_flags(self.command(arguments, fold, seed, out)))

    def run_dir(self, arguments: Arguments, fold: int, seed: int) -> Path:
        """Directory of the run of one fold."""
        settings = [self.recipe, self.kernel, self.cell, *shlex.split(self.overrides)]
        return Path("runs") / arguments.name / "-".join([*settings, f"fold{fold}", f"seed{seed}"])


def main() -> int:
    """Run the command line and return the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.crossval")
    return run_command(
        lambda: _run_all(arguments),
        resume_hint=lambda: "Finished runs are kept; the same command does the others.",
    )


def _run_all(arguments: Arguments) -> int:
    settings = [
        Setting(*parts)
        for parts in itertools.product(
            arguments.recipes, arguments.cells, arguments.kernels, arguments.settings
        )
    ]
    runs = list(itertools.product(settings, arguments.seeds, arguments.folds))
    _check_runs(arguments, runs)
    results: dict[Setting, list[dict]] = {setting: [] for setting in settings}
    with tqdm(total=len(runs), unit="run", smoothing=0) as bar:
        outcomes = _outcomes(arguments, runs)
        for (setting, seed, fold), result in zip(runs, outcomes, strict=True):
            bar.update()
            if result is None:
                log = setting.run_dir(arguments, fold, seed) / "log.txt"
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                bar.write(f"failed: {' '.join(last)} ({log})")
            else:
                results[setting].append(result)
    table = _table(results, show_test=arguments.show_test)
    print(table)
    write_atomically(Path("runs") / arguments.name / "table.md", table.encode())
    return 0 if all(results.values()) and sum(map(len, results.values())) == len(runs) else 1


def _check_runs(arguments: Arguments, runs: Sequence[tuple[Setting, int, int]]) -> None:
    """Raise the errors of all runs before the first one begins.

    Raises:
        PreprocessError, RunError, ValueError: as `python -m experiments.ucf11` does.
        SystemExit: for flags that it does not have.
    """
    if not runs:
        raise InputError("Give at least one of --recipes, --cells, --kernels, --folds and --seeds.")
    require_positive(arguments, ["jobs"])
    if arguments.features and arguments.jobs != 1:
        raise InputError(
            f"Runs on features share one process: --jobs must be 1. Received {arguments.jobs}."
        )
    require_place(Path("runs") / arguments.name, flag="--name")
    for setting, seed, fold in runs:
        out = setting.run_dir(arguments, fold, seed)
        if not (out / RESULT).exists():
            # Parsed and checked exactly as the process of the run will do.
            ucf11.check_arguments(setting.parsed(arguments, fold, seed, out))


def _tested(arguments: Arguments, fold: int) -> tuple[str, str]:
    """Flag that chooses what is tested: a fold, or an official split, which count from 1."""
    is_official = any(
        word == "--split=official" or (flag == "--split" and word == "official")
        for flag, word in itertools.pairwise(["", *shlex.split(arguments.flags)])
    )
    return ("--list", str(fold + 1)) if is_official else ("--fold", str(fold))


def _flags(args: Sequence[str]) -> Sequence[str]:
    """Flags of a command line of the UCF11 job."""
    return args[args.index(ucf11.MODULE) + 1 :]


def _outcomes(
    arguments: Arguments, runs: Sequence[tuple[Setting, int, int]]
) -> Iterator[dict | None]:
    """Yield the result.json of each run, or None of one that failed."""
    setting, seed, fold = runs[0]
    flags = setting.parsed(arguments, fold, seed, Path())
    if flags.features is not None and not flags.unfreeze:
        yield from _in_one_process(arguments, runs)
        return
    with ThreadPoolExecutor(arguments.jobs) as pool:
        # Threads only wait: each run is a process of its own, with fresh thread pools.
        yield from pool.map(lambda run: _run(arguments, *run), runs)


def _in_one_process(
    arguments: Arguments, runs: Sequence[tuple[Setting, int, int]]
) -> Iterator[dict]:
    """Carry out the runs on features that are not finished; yield the result.json of each."""
    heads: HeadRuns | None = None
    for setting, seed, fold in runs:
        if heads is None and not (setting.run_dir(arguments, fold, seed) / RESULT).exists():
            flags = setting.parsed(arguments, fold, seed, Path())
            threads = runtime.choose_threads(flags.threads)
            runtime.configure(threads, seed=seed, deterministic=flags.deterministic)
            print(threads)
            # Imported now: this loads TensorFlow, whose threads are set.
            from experiments.clips.head_runs import HeadRuns

            heads = HeadRuns()
        yield run_head(heads, arguments, setting, fold, seed)


def run_head(
    heads: HeadRuns | None, arguments: Arguments, setting: Setting, fold: int, seed: int
) -> dict:
    """Carry out a run on features unless it is finished, and return its result.json.

    Args:
        heads: runner of the heads; None if the run is known to be finished.
        arguments, setting, fold, seed: the run.
    """
    out = setting.run_dir(arguments, fold, seed)
    if (out / RESULT).exists():
        return json.loads((out / RESULT).read_text())
    assert heads is not None
    out.mkdir(parents=True, exist_ok=True)
    args = _flags(setting.command(arguments, fold, seed, out))
    return heads.run(
        setting.parsed(arguments, fold, seed, out),
        out,
        command=shlex.join(["python", "-m", ucf11.MODULE, *args]),
    )


def _run(arguments: Arguments, setting: Setting, seed: int, fold: int) -> dict | None:
    """Carry out one run unless it is finished, and return its result.json; None if it failed."""
    out = setting.run_dir(arguments, fold, seed)
    path = out / RESULT
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        # Appended to: a resumed run keeps the output of its first part.
        with (out / "log.txt").open("ab") as log:
            command = setting.command(arguments, fold, seed, out)
            subprocess.run(command, stdout=log, stderr=log, check=False)
    return json.loads(path.read_text()) if path.exists() else None


def _table(results: dict[Setting, list[dict]], *, show_test: bool) -> str:
    """Make a Markdown table, the best validation accuracy first."""
    columns = {"validation": "validation_accuracy", "train": "train_accuracy"}
    # Test accuracies are hidden by default, so that nobody chooses a setting by them.
    if show_test:
        columns["test"] = "accuracy"
    lines = [
        f"| recipe | model | overrides | runs | {' | '.join(columns)} | seconds a run |",
        "|---" * (5 + len(columns)) + "|",
    ]
    rows = []
    for setting, outcomes in results.items():
        if not outcomes:
            continue
        spreads = [mean_and_spread([o[key] for o in outcomes]) for key in columns.values()]
        seconds = mean_and_spread([o["wall_seconds"] for o in outcomes]).mean
        cells = [
            *(setting.recipe, f"{setting.kernel} {setting.cell}", setting.overrides or "none"),
            *(str(len(outcomes)), *map(_spread, spreads), f"{seconds:.0f}"),
        ]
        # Sorted by the first of the pair, the negated accuracy.
        rows.append((-spreads[0].mean, f"| {' | '.join(cells)} |"))
    return "\n".join([*lines, *(line for _, line in sorted(rows))]) + "\n"


def _spread(value: Spread) -> str:
    deviation = "" if value.deviation is None else f" \N{PLUS-MINUS SIGN} {share(value.deviation)}"
    return share(value.mean) + deviation


if __name__ == "__main__":
    sys.exit(main())
