"""UCF11 with Tensor-Train recurrent networks: raw pixels in, one of 11 actions out.

    python -m experiments.ucf11 --tt --maxlen 450

Yang, Krompass, Tresp, "Tensor-Train Recurrent Neural Networks for Video Classification", ICML
2017, section 4.1 (arXiv 1707.01786). Published accuracy (unverified): TT-GRU .813, TT-LSTM .796,
GRU .488, LSTM .492. docs/results.md has ours, with hardware and wall time, from recorded runs.

Two recipes (`experiments/training/recipes.py`): `paper` repeats the published script, `tuned` is
ours. The flags are in `experiments/clips/ucf11.py`.
Without videos the built-in demo set runs through the same path.
"""

from __future__ import annotations

import sys

from experiments.clips.prediction.command import main as predict
from experiments.clips.recipe import outcome
from experiments.clips.ucf11 import HELP, MODULE, Ucf11Arguments
from experiments.clips.ucf11_job import run
from experiments.process.command import command


def main() -> int:
    """Run the command line; returns the exit code."""
    if sys.argv[1:2] == ["predict"]:
        return predict(f"python -m {MODULE} predict", sys.argv[2:])
    return command(
        Ucf11Arguments, run, module=MODULE, outcome=outcome, description=HELP, commands=["predict"]
    )


if __name__ == "__main__":
    sys.exit(main())
