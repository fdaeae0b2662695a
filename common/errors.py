"""Errors that a user can mend, which commands print as one line; others keep their traceback.

Their messages end with the remedy, which may be the name that a misspelt one was meant to be.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches


class UserError(Exception):
    """Base class of errors that a user can mend; the message names the rule and the remedy."""


class InputError(UserError, ValueError):
    """Error of a flag, an argument or the content of a file that breaks a rule."""


class WriteError(UserError):
    """Error of a file that could not be written; the message is the system's reason."""


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Suggest the known name that is most similar to a misspelt one.

    Args:
        word: the misspelt name.
        known: the known names.

    Returns:
        "Did you mean NAME?", or an empty text if no name is similar.
    """
    found = nearest(word, known)
    return f"Did you mean {found}?" if found else ""


def nearest(word: str, known: Collection[str]) -> str | None:
    """Find a name that differs in few letters or in case, or begins with the word."""
    folded = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), folded, n=1)
    if not near and word:
        near = [name for name in folded if name.startswith(word.casefold())]
    return folded[near[0]] if len(near) == 1 else None
