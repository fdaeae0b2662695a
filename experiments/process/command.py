"""How every command ends: with its exit code, one line that says what is wrong, or how to go on."""

from __future__ import annotations

import errno
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from common.command_line import parse_arguments
from common.errors import UserError
from common.files import is_disk_full, not_written
from experiments.process import runtime
from preprocess.system.stopping import is_stop, tell_stopped

EXIT_ERROR = 2
Arguments = TypeVar("Arguments")
Result = TypeVar("Result")
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


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
        run: the job; returns its result, or None where there is nothing to sum up.
        module: module whose command it is, for the command that resumes it.
        outcome: sums up a result in words.
        prog: name in the help text; by default `python -m` and the module.
        description: head of the help text; by default the docstring of `arguments_type`.
        args: the flags; by default those of this process.
        commands: words that may stand in place of the first flag.

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

    runtime.answer_signals(resume_hint)
    try:
        result = run(arguments)
        if result is not None:
            print(outcome(result))
    except BaseException as error:
        return _exit_code(error, resume_hint, EXIT_ERROR)
    return 0


def run_command(
    run: Callable[[], int],
    *,
    going_on: Callable[[], str],
    exit_error: int = EXIT_ERROR,
) -> int:
    """Run what a command does, and print what stops it; returns the exit code.

    Ctrl-C and SIGTERM stop it with a line that begins with "Interrupted.".

    Args:
        run: the work; returns its own exit code.
        going_on: what is kept of a run that is stopped, and the command that goes on; a sentence.
        exit_error: the exit code after an error.
    """
    runtime.answer_signals(going_on)
    try:
        return run()
    except BaseException as error:
        return _exit_code(error, going_on, exit_error)


def typed_command(module: str, *, resume: bool = False) -> str:
    """Command line as it was typed; with `resume`, the one that resumes it."""
    args = sys.argv[1:]
    added = ["--resume"] if resume and "--resume" not in args else []
    return shlex.join(["python", "-m", module, *args, *added])


def _exit_code(error: BaseException, resume_hint: Callable[[], str], exit_error: int) -> int:
    """Exit code of a command that was stopped, once a line has said why.

    Raises:
        BaseException: the error itself, if it is a defect and not what a person can mend.
    """
    if is_stop(error):
        return tell_stopped(resume_hint)
    if not isinstance(error, UserError | OSError):
        raise error
    print(f"error: {_in_words(error, resume_hint)}", file=sys.stderr)
    return exit_error


def _in_words(error: Exception, going_on: Callable[[], str]) -> str:
    """An error that the system raised gets a remedy; any other has one."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    reason = _reason(error)
    if is_disk_full(error):
        named = isinstance(error.filename, str | Path)
        told = not_written(Path(error.filename), reason) if named else f"Cannot write: {reason}."
        return f"{told} Make room, then go on. {going_on()}"
    if error.errno in _NOT_ALLOWED and error.filename:
        return f"{error.filename}: {reason}. Name a path that you may read and write."
    return str(error)


def _reason(error: OSError) -> str:
    """HDF5's long messages as the system's words."""
    found = re.search(r"error message = '([^']*)'", str(error))
    return found[1] if found else error.strerror or str(error)
