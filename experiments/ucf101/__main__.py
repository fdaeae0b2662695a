"""The command `python -m experiments.ucf101`."""

from __future__ import annotations

import sys
from typing import Any

from experiments.clips.prediction.command import main as predict
from experiments.clips.recipe import outcome
from experiments.clips.ucf11_job import run as run_on_features
from experiments.process.command import command
from experiments.ucf101.recipes import MODULE, Ucf101Arguments, Ucf101FeatureArguments

_HELP = """Train and evaluate a model on UCF101's videos, or any others.

`python -m experiments.ucf101 predict runs/NAME VIDEO` says what videos show; --help after predict
tells more. `python -m experiments.ucf101 --features NETWORK` classifies the features of a frozen
network; --help after it lists its flags, those of experiments.ucf11.
"""


def main() -> int:
    """Run the command line; returns the exit code."""
    if sys.argv[1:2] == ["predict"]:
        return predict(f"python -m {MODULE} predict", sys.argv[2:])
    # Other models with other flags: those of pixels would only have to be refused.
    if any(arg.partition("=")[0] == "--features" for arg in sys.argv[1:]):
        return command(Ucf101FeatureArguments, run_on_features, module=MODULE, outcome=outcome)
    return command(
        Ucf101Arguments,
        _run,
        module=MODULE,
        outcome=outcome,
        description=_HELP,
        commands=["predict"],
    )


def _run(arguments: Ucf101Arguments) -> dict[str, Any] | None:
    from experiments.ucf101.job import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
