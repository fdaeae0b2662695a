"""Measure what TT ranks cost and keep: a trained dense layer compressed by TT-SVD, then trained.

    python -m experiments.bench_tt_ranks

A network 64 -> 256 -> 256 -> 10 learns scikit-learn's handwritten digits, 1,797 images of 8 x 8, of
which every fourth is for the test. `TTDense.from_dense` compresses its middle layer, a 256 x 256
kernel. The table has the accuracies before and after 20 more epochs of the whole network. It is
printed as Markdown; docs/log.md has its rows.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from common.command_line import parse_arguments
from experiments.benchmarks import carry_out
from experiments.process import runtime


@dataclass(frozen=True)
class Arguments:
    """Measure what TT ranks cost and keep: a dense layer is compressed by TT-SVD, and trained on.

    Prints a Markdown table; docs/log.md explains it. It takes some minutes.
    """

    threads: Annotated[str, tyro.conf.arg(metavar="auto|INTRA,INTER")] = "auto"
    """TensorFlow's thread pools."""


def main(args: list[str]) -> int:
    """Run the command line and return the exit code."""
    prog = "python -m experiments.bench_tt_ranks"
    arguments = parse_arguments(Arguments, prog=prog, args=args)
    return carry_out(lambda: _print_table(arguments))


def _print_table(arguments: Arguments) -> None:
    runtime.configure(runtime.choose_threads(arguments.threads), seed=0)
    print("| modes | asked for | ranks | weights | times fewer | error | accuracy | trained on |")
    print("|---|---|---|--:|--:|--:|--:|--:|")
    # It imports TensorFlow, whose threads are set above.
    from experiments.bench_tt_ranks_rows import measure_rows

    for cells in measure_rows():
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
