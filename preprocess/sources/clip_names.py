"""What the name of a UCF101 clip tells: v_Archery_g01_c02 is clip 2 of Archery's group 1."""

from __future__ import annotations

import re
from typing import NamedTuple

from preprocess.sources.catalog import official_spelling

# The suffix is matched here, not cut off before: a folder of frames, which has none, may have a
# dot in its class, v_St. John_g01_c02.
_FORM = re.compile(
    r"v_(?P<class_name>.+)_g(?P<group>[0-9]+)_c(?P<number>[0-9]+)(?:\.[^.\s]+)?", re.ASCII
)


class ClipName(NamedTuple):
    """The parts of a name; two names of one clip, however spelled, are equal.

    Args:
        class_name: as the class is called, whichever way the name spells it.
        group: digits of the scene, which is one within its class.
        number: digits of the clip in its group.
    """

    class_name: str
    group: str
    number: str

    def __str__(self) -> str:
        return f"v_{self.class_name}_g{self.group}_c{self.number}"


def parse_clip_name(name: str) -> ClipName | None:
    """The parts of `v_Class_gNN_cNN`, with a suffix or without; None for any other name."""
    found = _FORM.fullmatch(name)
    if found is None:
        return None
    return ClipName(official_spelling(found["class_name"]), found["group"], found["number"])
