"""How fast the Tensor-Train engine trains, beside what it replaces.

    python -m experiments.bench_tt

One training step (forward, backward, Adam) of a TT-GRU with UCF11's modes, 11 classes, on uint8
frames of 160x120, by each of these, in turn, in one run:

- stepwise: the published code's order of work, `keras.layers.RNN` over the plain cell with its
  cores contracted one by one inside the time loop, every clip padded to the maximum length;
- dense: `keras.layers.GRU(256)` on the same 57,600-wide input, padded likewise;
- engine float32, engine bfloat16: `FrameRNN` over `TTGRU` under each policy.

Each runs in a process of its own, waiting while the others work. Writes a table, results.json and
speed.png.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from common.command_line import parse_arguments
from common.errors import InputError
from experiments.benchmarks import carry_out
from experiments.process import runtime
from experiments.runs import environment
from experiments.runs.directory import write_atomically
from experiments.runs.run import require_place


@dataclass(frozen=True)
class Arguments:
    """How fast the Tensor-Train engine trains, beside the published order of work and dense layers.

    Ratios come from one run: the systems take turns, each in its own process.
    """

    maxlen: tuple[int, ...] = (200, 450, 900, 1492)
    """Maximum lengths of clips."""
    batch_size: tuple[int, ...] = (16, 64)
    """Clips a batch."""
    rounds: int = 3
    """How often each is measured; the median counts."""
    num_batches: int = 5
    """Batches of an epoch that are timed, from small to large, with UCF11's lengths."""
    threads: Annotated[str, tyro.conf.arg(metavar="auto|INTRA,INTER")] = "auto"
    """Thread pools of the engine. The padded systems always get one intra-op thread a core."""
    layers: bool = True
    """Also compare layers of many sizes with Keras's dense ones."""
    out: Path = Path("runs/bench_tt")
    """Folder for results.json, table.md and speed.png."""


def run(arguments: Arguments) -> None:
    """Measure and write everything.

    Raises:
        ValueError, OSError: for a flag or folder that cannot be.
    """
    counts = (*arguments.maxlen, *arguments.batch_size, arguments.rounds, arguments.num_batches)
    if min(counts) < 1:
        raise InputError("--maxlen, --batch-size, --rounds and --num-batches must be at least 1.")
    threads = runtime.choose_threads(arguments.threads, workload="tt-train")
    padded_threads = runtime.choose_threads("auto")
    require_place(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)

    from experiments.bench_tt.layers import measure_layers
    from experiments.bench_tt.measure import measure, start_workers
    from experiments.bench_tt.report import chart_png, layer_table, table
    from experiments.bench_tt.workloads import Case

    cases = [
        Case(lengths, maxlen, batch_size)
        for lengths in ("full", "ucf11")
        for batch_size in arguments.batch_size
        for maxlen in arguments.maxlen
    ]
    workers = start_workers(threads, padded_threads)
    try:
        rows = measure(workers, cases, rounds=arguments.rounds, num_batches=arguments.num_batches)
    finally:
        for worker in workers.values():
            worker.close()
    layer_rows = measure_layers(padded_threads, rounds=arguments.rounds) if arguments.layers else []
    startup = {system: worker.startup_seconds for system, worker in workers.items()}
    lines = [
        f"Engine: {threads}; padded: {padded_threads}. Medians of {arguments.rounds}.",
        "",
        table(rows),
        "",
        "Start of the process to the end of the first step: "
        + ", ".join(f"{system} {seconds:.1f} s" for system, seconds in startup.items())
        + ".",
    ]
    lines += ["", layer_table(layer_rows)] if layer_rows else []
    text = "\n".join(lines) + "\n"
    result = {
        "command": sys.argv[1:],
        "commit": environment.git_commit(),
        **environment.describe_environment(),
        "threads": asdict(threads),
        "padded_threads": asdict(padded_threads),
        "startup_seconds": startup,
        "rows": [asdict(row) for row in rows],
        "layers": [asdict(row) | {"ratio": row.ratio} for row in layer_rows],
    }
    write_atomically(arguments.out / "results.json", json.dumps(result, indent=1).encode())
    write_atomically(arguments.out / "table.md", text.encode())
    write_atomically(arguments.out / "speed.png", chart_png(rows))
    print(f"\n{text}\nWritten to {arguments.out}/: results.json, table.md, speed.png")


def main() -> int:
    """Run the command; returns the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.bench_tt")
    return carry_out(lambda: run(arguments))
