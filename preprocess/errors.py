"""What can go wrong, each with a message that says the remedy."""

from __future__ import annotations


class PreprocessError(Exception):
    """A command or call of this package cannot go on; the message is for a person."""


class DecodeError(PreprocessError):
    """One video file cannot be read; the message is the reason alone."""


class WriteError(PreprocessError):
    """The disk did not take what was to be written; the message is the system's reason."""


class ShardError(PreprocessError):
    """A shard, or a directory of shards, is missing, incomplete, foreign or damaged."""
