"""Errors of this package, with a message that names the remedy."""

from __future__ import annotations

from common.errors import UserError


class WeightsError(UserError):
    """Error of a file of weights that is missing, foreign, broken or hostile.

    The message is for a person and is printed as one line by commands.

    Example:
        >>> try:
        ...     arrays = read_arrays("model.pth")
        ... except WeightsError as error:
        ...     print(error)
    """
