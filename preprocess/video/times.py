"""Times as people write them: seconds, mm:ss or hh:mm:ss, each with or without a fraction."""

from __future__ import annotations

import re

from common.errors import InputError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"\d+", re.ASCII)
_RULE = "A time must be seconds, mm:ss or hh:mm:ss, such as 83.5 or 00:01:23.500."


def parse_time(text: str) -> float:
    """'83.5', '1:23.5' or '00:01:23.500' -> 83.5 seconds.

    Raises:
        InputError: if the text is no time, is negative, or a part after a colon is 60 or more.
    """
    *larger, last = text.strip().split(":")
    if len(larger) > 2 or not _NUMBER.fullmatch(last) or not all(map(_WHOLE.fullmatch, larger)):
        raise InputError(f"{_RULE} Received {text!r}.")
    parts = [*map(int, larger), float(last)]
    if last.startswith("-"):
        raise InputError(f"A time must not be negative. Received {text!r}.")
    if any(part >= 60 for part in parts[1:]):
        raise InputError(f"{_RULE} Minutes and seconds after a colon end at 59. Received {text!r}.")
    seconds = sum(part * 60**place for place, part in enumerate(reversed(parts)))
    if seconds == float("inf"):
        raise InputError(f"A time must be finite. Received {text!r}.")
    return float(seconds)


def format_time(seconds: float) -> str:
    """83.5 -> '00:01:23.500', to the nearest thousandth."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}.{thousandths:03d}"
