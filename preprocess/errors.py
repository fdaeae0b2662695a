"""What can go wrong, each with a message that says the remedy."""

from __future__ import annotations

from common.errors import UserError


class PreprocessError(UserError):
    """A command or call of this package cannot go on; the message is for a person."""


class DecodeError(PreprocessError):
    """One video file cannot be read; the message is the reason alone."""


class ShardError(PreprocessError):
    """A shard, or a directory of shards, is missing, incomplete, foreign or damaged."""
