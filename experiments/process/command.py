"""How every command ends: with its exit code, one line that says what is wrong, or how to go on."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable
from pathlib import Path

from common.errors import UserError
from common.files import is_disk_full, not_written
from experiments.process import runtime
from preprocess.system.stopping import is_stop, tell_stopped

EXIT_ERROR = 2
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


def run_command(
    run: Callable[[], int],
    *,
    going_on: Callable[[], str],
    exit_error: int = EXIT_ERROR,
) -> int:
    """Do what a command does, and tell what stops it; returns the exit code.

    Ctrl-C and SIGTERM stop it with a line that begins with "Interrupted.".

    Args:
        run: the work; returns its own exit code.
        going_on: what is kept of a run that is stopped, and the command that goes on; a sentence.
        exit_error: the exit code then.
    """
    runtime.answer_signals(going_on)
    try:
        return run()
    except BaseException as error:
        if is_stop(error):
            return tell_stopped(going_on)
        if not isinstance(error, UserError | OSError):
            raise
        print(f"error: {_in_words(error, going_on)}", file=sys.stderr)
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
