"""The frame of every command: signals, its exit code, and the line that says why it ended."""

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
# Errors about permissions, which name the path that is refused.
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

    runtime.answer_signals(resume_hint)
    try:
        result = run(arguments)
        if result is not None:
            print(outcome(result))
    # Also KeyboardInterrupt and SystemExit: a stopped job says how to resume it.
    except BaseException as error:
        return _exit_code(error, resume_hint, EXIT_ERROR)
    return 0


def run_command(
    run: Callable[[], int],
    *,
    resume_hint: Callable[[], str],
    exit_error: int = EXIT_ERROR,
) -> int:
    """Run the work of a command, print what stops it, and return the exit code.

    Ctrl-C and SIGTERM stop it with a line that begins with "Interrupted.".

    Args:
        run: the work; returns its own exit code.
        resume_hint: returns a sentence about what is kept of a stopped run, and how to continue it.
        exit_error: exit code after an error.
    """
    runtime.answer_signals(resume_hint)
    try:
        return run()
    except BaseException as error:
        return _exit_code(error, resume_hint, exit_error)


def typed_command(module: str, *, resume: bool = False) -> str:
    """Return the command line as it was typed; with `resume`, the one that resumes it."""
    args = sys.argv[1:]
    added = ["--resume"] if resume and "--resume" not in args else []
    return shlex.join(["python", "-m", module, *args, *added])


def _exit_code(error: BaseException, resume_hint: Callable[[], str], exit_error: int) -> int:
    """Print why a command was stopped, and return its exit code.

    Raises:
        BaseException: the error itself, if it is a defect that no user can mend.
    """
    if is_stop(error):
        return tell_stopped(resume_hint)
    # Any other error is a defect and keeps its traceback.
    if not isinstance(error, UserError | OSError):
        raise error
    print(f"error: {_in_words(error, resume_hint)}", file=sys.stderr)
    return exit_error


def _in_words(error: Exception, resume_hint: Callable[[], str]) -> str:
    """Describe an error; one that the system raised gets a remedy, any other states its own."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    reason = _reason(error)
    if is_disk_full(error):
        # A file name may also be a descriptor's number, or missing.
        named = isinstance(error.filename, str | Path)
        message = not_written(Path(error.filename), reason) if named else f"Cannot write: {reason}."
        return f"{message} Make room, then go on. {resume_hint()}"
    if error.errno in _NOT_ALLOWED and error.filename:
        return f"{error.filename}: {reason}. Name a path that you may read and write."
    return str(error)


def _reason(error: OSError) -> str:
    """Return the system's words for an error, which HDF5 hides in a long message."""
    found = re.search(r"error message = '([^']*)'", str(error))
    return found[1] if found else error.strerror or str(error)
