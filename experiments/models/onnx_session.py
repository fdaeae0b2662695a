"""ONNX Runtime on one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError


class OnnxSession:
    """A model of one input: an array in, its first output out.

    Args:
        path: of the file.
        num_threads: that work on a call; 0 for one a core.

    Raises:
        InputError: if ONNX Runtime cannot read it, or it takes several inputs.
    """

    def __init__(self, path: Path, num_threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = num_threads
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no common class
            raise InputError(f"ONNX Runtime cannot read {path}: {error}") from error
        (self.input, *others) = self._session.get_inputs()
        if others:
            raise InputError(f"{path} must take one input. It takes {1 + len(others)}.")
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def __call__(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        return self._session.run(None, {self.input.name: inputs})[0]
