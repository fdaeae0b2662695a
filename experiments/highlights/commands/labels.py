"""`labels`: from one kind of label file to the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tyro.conf import Positional

from common.errors import InputError, WriteError
from common.files import not_written


@dataclass(frozen=True)
class Labels:
    """Write labels, the original's data.csv or ours, as a plain CSV."""

    source: Positional[Path]
    """What to read."""
    target: Positional[Path]
    """What to write: path,x1,y1,x2,y2,start,end,label,group."""

    going_on: ClassVar[str] = "Nothing half-made is left; the same command begins anew."

    def run(self) -> int:
        """Convert; the exit code."""
        from experiments.highlights.labels import convert_labels

        if self.target.exists():
            raise InputError(f"{self.target} exists; give another name, or remove it.")
        try:
            num_clips = convert_labels(self.source, self.target)
        except WriteError as error:
            raise WriteError(
                f"{not_written(self.target, error)} Name another place, or make room there."
            ) from error
        print(f"{self.target}: {num_clips} clips.")
        return 0
