"""The end of every command: a signal, or an error that a user can mend, in one line."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable
from pathlib import Path

from common.command_line import READER_IS_GONE, reader_is_gone
from common.errors import UserError
from common.extras import missing_extra
from common.files import is_disk_full, not_written
from preprocess.system import stopping

EXIT_ERROR = 2
# Errors about permissions, which name the path that is refused.
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


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
    stopping.answer_signals(resume_hint)
    try:
        code = run()
        sys.stdout.flush()  # here, where a broken pipe can be answered
        return code
    except BaseException as error:
        return exit_code(error, resume_hint, exit_error)


def exit_code(
    error: BaseException, resume_hint: Callable[[], str], exit_error: int = EXIT_ERROR
) -> int:
    """Print why a command was stopped, and return its exit code.

    Raises:
        BaseException: the error itself, if it is a defect that no user can mend.
    """
    if stopping.is_stop(error):
        return stopping.tell_stopped(resume_hint)
    if reader_is_gone(error):
        return READER_IS_GONE
    if isinstance(error, ImportError):
        error = missing_extra(error) or error
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
