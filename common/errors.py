"""Errors that a user can mend, which commands print as one line; others keep their traceback."""

from __future__ import annotations


class UserError(Exception):
    """Base class of errors that a user can mend; the message names the rule and the remedy."""


class InputError(UserError, ValueError):
    """Error of a flag, an argument or the content of a file that breaks a rule."""


class WriteError(UserError):
    """Error of a file that could not be written; the message is the system's reason."""
