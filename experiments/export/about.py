"""What an exported file says of itself, in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from common.errors import InputError

Kind = Literal["clips", "pictures", "scorer"]
COLORS = "RGB"


@dataclass(frozen=True)
class About:
    """What there is to know of a model besides its graph.

    Args:
        kind: "clips", a model of clips; "pictures", of single pictures; "scorer", that of a run of
            `experiments.highlights`.
        class_names: in the order of the probabilities; none where they are not known.
        model: of clips, what model.json holds; of a scorer, scorer.json.
    """

    kind: Kind
    class_names: tuple[str, ...] = ()
    model: dict[str, Any] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """As ONNX keeps it."""
        return {
            "kind": self.kind,
            "color_order": COLORS,
            "class_names": json.dumps(self.class_names),
            "model": json.dumps(self.model),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> About:
        """From what `to_metadata` gave.

        Raises:
            InputError: if it is of a file that was not exported here.
        """
        try:
            names = tuple(json.loads(metadata["class_names"]))
            kind: Any = metadata["kind"]
            return cls(kind, names, json.loads(metadata["model"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("its metadata does not say what the model is") from error
