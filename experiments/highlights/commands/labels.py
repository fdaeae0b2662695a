"""`labels`: from one kind of label file to the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Labels:
    """Write labels, the original's data.csv or ours, as a plain CSV."""

    source: Positional[Path]
    """What to read."""
    target: Positional[Path]
    """What to write: path,x1,y1,x2,y2,start,end,label,group."""

    def run(self) -> int:
        """Convert; the exit code."""
        from experiments.highlights.labels.labels import convert_labels

        if self.target.exists():
            raise ValueError(f"{self.target} exists; give another name, or remove it.")
        print(f"{self.target}: {convert_labels(self.source, self.target)} clips.")
        return 0
