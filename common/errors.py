"""Errors that a person can mend, which commands print as one line. Others keep their traceback."""

from __future__ import annotations


class UserError(Exception):
    """Base class of errors that a person can mend; the message says the rule and the remedy."""


class InputError(UserError, ValueError):
    """A flag, an argument or the content of a file breaks a rule."""


class WriteError(UserError):
    """The disk did not take what was to be written; the message is the system's reason."""
