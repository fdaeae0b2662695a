"""The frame of the jobs that can be resumed: flags, signals, and how the job ended."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from common.command_line import parse_arguments
from preprocess.system import stopping
from preprocess.system.command import exit_code

Arguments = TypeVar("Arguments")
Result = TypeVar("Result")


def command(
    arguments_type: type[Arguments],
    run: Callable[[Arguments], Result | None],
    *,
    module: str,
    outcome: Callable[[Result], str],
    prog: str | None = None,
    description: str | None = None,
    args: Sequence[str] | None = None,
    commands: Sequence[str] = (),
) -> int:
    """Run a job that can be resumed: parse its flags, run it, and print how it ended.

    Args:
        arguments_type: dataclass of the flags.
        run: the job; returns its result, or None if there is nothing to sum up.
        module: module of the command, for the command line that resumes it.
        outcome: sums up a result in words.
        prog: name in the help text; by default `python -m` and the module.
        description: head of the help text; by default the docstring of `arguments_type`.
        args: the flags; by default those of this process.
        commands: subcommands that may stand in place of the first flag.

    Returns:
        The exit code.
    """
    arguments = parse_arguments(
        arguments_type,
        prog=prog or f"python -m {module}",
        description=description,
        args=args,
        commands=commands,
    )

    def resume_hint() -> str:
        return f"Continue with: {typed_command(module, resume=True)}"

    stopping.answer_signals(resume_hint)
    try:
        result = run(arguments)
        if result is not None:
            print(outcome(result), flush=True)  # here, where a broken pipe can be answered
    # Also KeyboardInterrupt and SystemExit: a stopped job says how to resume it.
    except BaseException as error:
        return exit_code(error, resume_hint)
    return 0


def typed_command(module: str, *, resume: bool = False) -> str:
    """Return the command line as it was typed; with `resume`, the one that resumes it."""
    args = sys.argv[1:]
    added = ["--resume"] if resume and "--resume" not in args else []
    return shlex.join(["python", "-m", module, *args, *added])
