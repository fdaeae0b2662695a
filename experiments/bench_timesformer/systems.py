"""What is measured. Each system lives in a process of its own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.clips.viewed_model import ViewedModel
from experiments.runs import environment

_NUM_BATCHES = 3
_IN_BFLOAT16 = ("SpaceTimeBlock", "SpaceTimeEmbedding")  # those of the policy mixed_bfloat16


class Clips:
    """A model on views of clips that lie in memory.

    Args:
        file: .npy with the views, uint8 (N, T, H, W, 3).
        batch: views at once.
    """

    def __init__(self, file: Path, batch: int) -> None:
        self._views = list(np.load(file, allow_pickle=False))
        self._batch = [self._views[i % len(self._views)] for i in range(batch)]
        self.probabilities(self._batch)  # compiles

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Of views; (len(views), classes)."""
        raise NotImplementedError

    def answers(self) -> NDArray[np.float32]:
        """Of all views."""
        return np.concatenate([self.probabilities([view]) for view in self._views])

    def measure(self) -> tuple[float, int]:
        """Frames a second, and the process's peak memory in bytes."""
        started = time.perf_counter()
        for _ in range(_NUM_BATCHES):
            self.probabilities(self._batch)
        seconds = time.perf_counter() - started
        frames = _NUM_BATCHES * sum(len(view) for view in self._batch)
        return frames / seconds, environment.peak_rss_bytes()


class KerasClips(Clips):
    """A run's model in Keras; with `bfloat16`, its blocks in that."""

    def __init__(self, file: Path, batch: int, run: Path, bfloat16: bool = False) -> None:
        from experiments.clips.model import ClipModel, read_model

        model, seen = read_model(run)
        self._model: ViewedModel = ClipModel(_in_bfloat16(model) if bfloat16 else model, seen)
        super().__init__(file, batch)

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Of views; (len(views), classes)."""
        return self._model.probabilities(views)


class OnnxClips(Clips):
    """An exported file in ONNX Runtime."""

    def __init__(self, file: Path, batch: int, model: Path) -> None:
        from experiments.export.onnx_clip_model import OnnxClipModel

        self._model: ViewedModel = OnnxClipModel(model)
        super().__init__(file, batch)

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Of views; (len(views), classes)."""
        return self._model.probabilities(views)


class TorchClips(Clips):
    """A TimeSformer of the same size, by other people's code.

    Args:
        file: .npy with the views.
        batch: views at once.
        size: arguments of `transformers.TimesformerConfig`.
    """

    def __init__(self, file: Path, batch: int, size: dict[str, Any]) -> None:
        import torch
        from transformers import TimesformerConfig, TimesformerForVideoClassification

        torch.manual_seed(0)
        self._torch = torch
        self._net = TimesformerForVideoClassification(TimesformerConfig(**size)).eval()
        super().__init__(file, batch)

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Of views; (len(views), classes)."""
        pixels = self._torch.from_numpy(np.stack(views)).movedim(-1, -3)  # (B, T, 3, H, W)
        with self._torch.inference_mode():
            logits = self._net((pixels.float() / 255 - 0.45) / 0.225).logits
            return logits.softmax(dim=1).numpy()


def _in_bfloat16(model: Any) -> Any:
    """The model with the same weights, which computes its blocks in bfloat16."""
    import keras

    config = json.loads(model.to_json())
    _set_policy(config, keras.dtype_policies.serialize(keras.DTypePolicy("mixed_bfloat16")))
    rebuilt = keras.models.model_from_json(json.dumps(config))
    rebuilt.set_weights(model.get_weights())
    return rebuilt


def _set_policy(value: Any, policy: Any) -> None:
    if isinstance(value, dict):
        if value.get("class_name") in _IN_BFLOAT16:
            value["config"]["dtype"] = policy
        for part in value.values():
            _set_policy(part, policy)
    elif isinstance(value, list):
        for part in value:
            _set_policy(part, policy)
