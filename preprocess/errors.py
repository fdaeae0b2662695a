"""Errors of this package, each with a message that names the remedy."""

from __future__ import annotations

from common.errors import UserError


class PreprocessError(UserError):
    """Error that a user can mend: a command or call of this package cannot continue.

    The message is for a person and is printed as one line by commands.

    Example:
        >>> try:
        ...     open_shards("videos")
        ... except PreprocessError as error:
        ...     print(error)
    """


class DecodeError(PreprocessError):
    """Error of one video file that cannot be read; the message is the reason without the path.

    Example:
        >>> try:
        ...     frames = list(iter_frames("clip.mp4"))
        ... except DecodeError as error:
        ...     print(f"clip.mp4: {error}")
    """


class ShardError(PreprocessError):
    """Error of a shard or directory of shards: missing, incomplete, foreign or damaged."""
