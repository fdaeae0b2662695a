"""The 1,000 classes of ImageNet, in the order of the outputs of models trained on it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_TABLE = Path(__file__).with_name("imagenet_classes.csv")


@dataclass(frozen=True)
class ImageNetClass:
    """One class of ILSVRC 2012."""

    index: int
    """Position among a model's outputs."""
    wnid: str
    """WordNet's number for what is meant, such as n02123045."""
    name: str
    """The first of WordNet's words for it, such as tabby."""


@lru_cache(maxsize=1)
def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """The classes of ILSVRC 2012, whose outputs are sorted by wnid.

    Numbers and names are WordNet's. Two words stand for two classes each; there the name says
    more: crane (bird), crane (machine), maillot, maillot (tank suit).
    """
    with _TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(ImageNetClass(int(row["index"]), row["wnid"], row["name"]) for row in rows)
