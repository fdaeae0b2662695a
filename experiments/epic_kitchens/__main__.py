"""The command `python -m experiments.epic_kitchens`."""

from __future__ import annotations

import sys
from typing import Any

from common.errors import did_you_mean
from experiments.clips.export.command import main as export
from experiments.clips.prediction.command import main as predict
from experiments.clips.recipe import outcome
from experiments.epic_kitchens.recipes import MODULE, EpicKitchensArguments
from experiments.process.command import command

COMMANDS = ("train", "predict", "export")
_HELP = """usage: python -m experiments.epic_kitchens train|predict|export ...

train    fine-tune a TimeSformer on clips, and test it
predict  say what videos show, with a trained model
export   write a trained model as ONNX

Each tells more with --help.
"""


def main() -> int:
    """Run the command line; returns the exit code."""
    args = sys.argv[1:]
    if args[:1] in (["-h"], ["--help"]):
        print(_HELP)
        return 0
    if not args or args[0] not in COMMANDS:
        received = "Received none."
        if args:
            received = f"Received {args[0]!r}. {did_you_mean(args[0], COMMANDS)}".strip()
        print(f"A command is needed: {', '.join(COMMANDS)}. {received}\n\n{_HELP}", file=sys.stderr)
        return 2
    prog = f"python -m {MODULE} {args[0]}"
    if args[0] == "train":
        return command(
            EpicKitchensArguments, _train, module=MODULE, outcome=outcome, prog=prog, args=args[1:]
        )
    if args[0] == "predict":
        return predict(prog, args[1:])
    return export(prog, args[1:])


def _train(arguments: EpicKitchensArguments) -> dict[str, Any] | None:
    from experiments.epic_kitchens.job import train

    return train(arguments)


if __name__ == "__main__":
    sys.exit(main())
