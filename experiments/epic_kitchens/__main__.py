"""The command `python -m experiments.epic_kitchens`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.command_line import did_you_mean, parse_arguments
from common.errors import InputError

COMMANDS = ("train", "predict", "export")
_HELP = """usage: python -m experiments.epic_kitchens train|predict|export ...

train    fine-tune a TimeSformer on clips, and test it
predict  say what videos show, with a trained model
export   write a trained model as ONNX

Each tells more with --help.
"""


def main() -> int:
    """The command line. Returns the exit code."""
    from experiments.epic_kitchens.job import MODULE

    command, words = sys.argv[1:2], sys.argv[2:]
    if command in (["-h"], ["--help"]):
        print(_HELP)
        return 0
    if not command or command[0] not in COMMANDS:
        received = "Received none."
        if command:
            received = f"Received {command[0]!r}. {did_you_mean(command[0], COMMANDS)}".strip()
        print(f"A command is needed: {', '.join(COMMANDS)}. {received}\n\n{_HELP}", file=sys.stderr)
        return 2
    prog = f"python -m {MODULE} {command[0]}"
    if command[0] == "train":
        return _train(prog, words)
    if command[0] == "predict":
        from experiments.clips.prediction.command import main as predict

        return predict(prog, words)
    from experiments.export.command import main as export

    return export(prog, words)


def _train(prog: str, words: list[str]) -> int:
    from experiments.clips.command import carry_out
    from experiments.epic_kitchens.arguments import Arguments
    from experiments.epic_kitchens.job import MODULE, run

    arguments = parse_arguments(Arguments, prog=prog, args=words)

    def carried_out() -> dict[str, Any] | None:
        if arguments.folds is None:
            return run(arguments)
        _train_folds(arguments)
        return None

    return carry_out(carried_out, MODULE)


def _train_folds(arguments: Any) -> None:
    from experiments.clips.folds import fold_arguments, run_folds
    from experiments.epic_kitchens.job import checked, run
    from experiments.runs.run import CONFIG

    arguments.check()
    if arguments.fold:
        raise InputError(f"--folds tests every fold. Leave out --fold {arguments.fold}.")
    name = f"epic_kitchens-{arguments.recipe}-{arguments.num_folds}folds-seed{arguments.seed}"
    out = arguments.out or Path("runs") / name
    of_folds = fold_arguments(arguments, out, arguments.num_folds)
    for of_fold in of_folds:  # the last one may be what cannot be, after hours on the others
        checked(replace(of_fold, resume=of_fold.resume and (of_fold.out / CONFIG).exists()))
    run_folds(run, of_folds, out)


if __name__ == "__main__":
    sys.exit(main())
