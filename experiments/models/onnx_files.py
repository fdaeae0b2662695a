"""Read and run ONNX files, and the description that files exported here carry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from common.extras import OptionalModule

# Models of Keras are read without it.
onnxruntime: Any = OptionalModule("onnxruntime")

Kind = Literal["clips", "pictures", "scorer"]
COLORS = "RGB"
IMAGE_MODEL = "ttrnn"
"""Key of the metadata that describes the model in a file that `classify --export` wrote."""


@dataclass(frozen=True)
class About:
    """Description of a model that an exported file carries besides the graph.

    Args:
        kind: "clips", a model of clips; "pictures", a model of single images; "scorer", that of a
            run of `experiments.highlights`.
        class_names: names in the order of the probabilities; empty if they are not known.
        model: for clips the content of model.json, for a scorer that of scorer.json.
    """

    kind: Kind
    class_names: tuple[str, ...] = ()
    model: dict[str, Any] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata for the ONNX file, all of it text."""
        return {
            "kind": self.kind,
            "color_order": COLORS,
            "class_names": json.dumps(self.class_names),
            "model": json.dumps(self.model),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> About:
        """Make the description from the metadata that `to_metadata` returned.

        Raises:
            InputError: if the file was not exported here.
        """
        try:
            names = tuple(json.loads(metadata["class_names"]))
            kind: Any = metadata["kind"]
            return cls(kind, names, json.loads(metadata["model"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("its metadata does not say what the model is") from error


class OnnxSession:
    """ONNX Runtime session of a model with one input; a call maps an array to the first output.

    Args:
        path: path of the file.
        num_threads: number of threads for a call; 0 for one a core.

    Raises:
        InputError: if ONNX Runtime cannot read it, or it takes several inputs.
    """

    def __init__(self, path: Path, num_threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        # Errors only.
        options.log_severity_level = 3
        options.intra_op_num_threads = num_threads
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # ONNX Runtime's errors have no common class.
            raise InputError(f"ONNX Runtime cannot read {path}: {error}") from error
        (self.input, *others) = self._session.get_inputs()
        if others:
            raise InputError(f"{path} must take one input. It takes {1 + len(others)}.")
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def __call__(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        return self._session.run(None, {self.input.name: inputs})[0]
