"""What can go wrong with other people's weights, with a message that says the remedy."""

from __future__ import annotations

from common.errors import UserError


class WeightsError(UserError):
    """A file of weights is missing, foreign, broken or hostile; the message is for a person."""
