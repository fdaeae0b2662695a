"""Names of the 1,000 classes of ImageNet, in the order of the outputs of models trained on it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_TABLE = Path(__file__).with_name("imagenet_classes.csv")


@dataclass(frozen=True)
class ImageNetClass:
    """One class of ILSVRC 2012.

    Example:
        >>> imagenet_classes()[281]
        ImageNetClass(index=281, wnid='n02123045', name='tabby')
    """

    index: int
    """Position among a model's outputs."""
    wnid: str
    """Identifier in WordNet, such as n02123045."""
    name: str
    """First of WordNet's words for it, such as tabby."""


@lru_cache(maxsize=1)
def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """List the 1,000 classes of ILSVRC 2012, in the order of a model's outputs.

    Identifiers and names are WordNet's. Two words stand for two classes each, whose names are more
    specific: crane (bird), crane (machine), maillot, maillot (tank suit).

    Returns:
        The classes, sorted by wnid.

    Example:
        >>> imagenet_classes()[0].name
        'tench'

    Reference: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015.
    """
    # Read once; the table has the order that all published models use.
    with _TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(ImageNetClass(int(row["index"]), row["wnid"], row["name"]) for row in rows)
