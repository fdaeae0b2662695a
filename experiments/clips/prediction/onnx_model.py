"""Exported models of clips, run without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from experiments.clips.viewed_model import ClipInputSpec, ViewedModel
from experiments.models.onnx_files import About, OnnxSession
from preprocess.batches.views import Views


class OnnxClipModel(ViewedModel):
    """Model that predicts windows of frames by ONNX Runtime; otherwise like `ClipModel`.

    Args:
        path: file that `python -m experiments.export` wrote from a model of clips.
        views: crops and places in each window; their probabilities are averaged.
        num_threads: number of threads for a batch; 0 for one a core.

    Raises:
        InputError: if it is no such file.
    """

    def __init__(self, path: Path, *, views: Views = Views(), num_threads: int = 0) -> None:  # noqa: B008 - frozen
        if not path.is_file():
            raise InputError(f"There is no file {path}.")
        self._run = OnnxSession(path, num_threads)
        super().__init__(_read_input_spec(path, self._run), views)

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Predict views.

        Args:
            views: frames of each view, uint8 (T, H, W, 3).

        Returns:
            Probabilities, float32 (len(views), classes).
        """
        found = np.empty((len(views), len(self.class_names)), np.float32)
        lengths = np.array([len(view) for view in views])
        # The exported graph takes (B, T, H, W, 3), clips of one length in a batch.
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            found[rows] = self._run(np.stack([views[row] for row in rows]))
        return found


def _read_input_spec(path: Path, run: OnnxSession) -> ClipInputSpec:
    try:
        about = About.from_metadata(run.metadata)
        if about.kind != "clips":
            raise InputError(f"it is a model of {about.kind}")
        return ClipInputSpec.from_json(about.model)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"A model of clips is needed that python -m experiments.export wrote. {path} is none: "
            f"{error}."
        ) from error
