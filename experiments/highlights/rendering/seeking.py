"""Where reading begins, so that the picture of a cut and the sound before it are decoded."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from experiments.highlights.rendering.ffmpeg import RenderError, run
from experiments.highlights.rendering.pieces import Stretch
from preprocess import containers

_PREROLL_SECONDS = (0.1, 10.0, 60.0)  # a decoder of sound needs a little of what is before


def find_preroll(stretch: Stretch, rate: Fraction) -> int:
    """How many pictures before a stretch reading begins.

    A file without an index, or a damaged one, may be read on behind the cut. So it is tried
    where the first picture comes from; if nothing else helps, reading begins with the file.
    """
    most = math.ceil(stretch.seconds(0, rate) * rate)
    for seconds in _PREROLL_SECONDS:
        preroll = math.ceil(seconds * rate)
        if preroll < most and _lands_before(stretch, preroll, rate):
            return preroll
    return most


def input_words(stretch: Stretch, preroll: int, rate: Fraction) -> list[str]:
    """The arguments with which ffmpeg opens a stretch's file at a preroll.

    A seek goes to the keyframe before; that all pictures from there are kept lets one that
    began before the cut, and lasts, be shown. Where the pictures' size changes on the way, ffmpeg
    would start its filters anew, and with them all that they have counted; it must not.
    """
    start = stretch.seconds(0, rate) - float(preroll / rate)
    seek = ["-noaccurate_seek", "-ss", f"{start:.6f}"] if start > 0 else []
    return [*seek, "-reinit_filter", "0", *containers.input_words(stretch.chunk.file)]


def shift(stretch: Stretch, preroll: int, rate: Fraction) -> int:
    """How long after ffmpeg's time 0 the stretch begins, in microseconds."""
    return round(min(stretch.seconds(0, rate), float(preroll / rate)) * 10**6)


def _lands_before(stretch: Stretch, preroll: int, rate: Fraction) -> bool:
    said: list[str] = []
    words = [
        *("-loglevel", "info", *input_words(stretch, preroll, rate)),
        *("-map", f"0:{stretch.chunk.picture}", "-vf", "settb=AVTB,showinfo"),
        *("-frames:v", "1", "-f", "null", "-"),
    ]
    try:
        said = run(words)
    except RenderError:
        return False
    shown = (re.match(r"\[Parsed_showinfo_1 @ \w+\] n: *0 pts: *(-?\d+)", line) for line in said)
    first = next((int(found[1]) for found in shown if found), None)
    return first is not None and first <= shift(stretch, preroll, rate) + 10**6 / 2 / rate
