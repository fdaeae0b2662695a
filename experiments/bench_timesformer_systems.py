"""Models that `experiments.bench_timesformer` measures, each in a process of its own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.clips.export.sample import Sample, find_sample
from experiments.clips.export.subjects import load_subject
from experiments.clips.export.write import write_int8, write_onnx
from experiments.clips.model import ClipModel, keep_model, read_model
from experiments.clips.prediction.onnx_model import OnnxClipModel
from experiments.clips.viewed_model import ClipInputSpec, ViewedModel
from experiments.epic_kitchens.arguments import EpicKitchensArguments
from experiments.epic_kitchens.models import build_model
from experiments.process import environment
from preprocess.batches.views import CropChoice, FrameChoice
from preprocess.shards.settings import FrameSettings

# As many classes as Kinetics-400 has, and frames of 4:3 with the original's short side.
_CLASSES = 400
_STORED_SIZE = (341, 256)
# Batches of one timing.
_NUM_BATCHES = 3
# Layers that get the policy mixed_bfloat16; all others stay in float32.
_IN_BFLOAT16 = ("SpaceTimeBlock", "SpaceTimeEmbedding")


def prepare(
    run: Path | None, video: Path | None, scratch: Path, exported: Path, quantized: Path
) -> tuple[Path, Sample]:
    """Export the model of a run, by default one with random weights; returns run and clips."""
    run = run or _random_run(scratch / "run")
    subject = load_subject(run)
    sample = find_sample(subject, run_dir=run, video=video)
    write_onnx(subject, exported, sample)
    write_int8(exported, quantized, sample)
    return run, sample


def _random_run(folder: Path) -> Path:
    """Write the base model with random weights in the form of a run's model."""
    arguments = EpicKitchensArguments(shards=folder, recipe="original")
    recipe = arguments.made_recipe()
    folder.mkdir()
    names = tuple(f"class {number}" for number in range(_CLASSES))
    # The recipe leaves the size to the videos, of which there are none here.
    settings = FrameSettings(_STORED_SIZE, recipe.stride)
    crops = CropChoice(recipe.crop_size)
    input_spec = ClipInputSpec(
        names, settings, FrameChoice(recipe.num_frames, "segments"), crops, 64
    )
    keep_model(folder, build_model(arguments, recipe, _CLASSES), input_spec)
    return folder


def torch_size(run: Path) -> dict[str, Any]:
    """Configuration of the run's TimeSformer for `transformers`."""
    model, input_spec = read_model(run)
    inner = model.get_layer("timesformer")
    blocks = [layer for layer in inner.layers if layer.name.startswith("blocks_")]
    embed = inner.get_layer("embed")
    return {
        "image_size": input_spec.crops.size[0],
        "patch_size": embed.patch_size,
        "num_frames": input_spec.choice.num_frames,
        "hidden_size": embed.features,
        "num_hidden_layers": len(blocks),
        "num_attention_heads": blocks[0].heads,
        "intermediate_size": blocks[0].hidden,
        "num_labels": len(input_spec.class_names),
        "attention_type": {"divided": "divided_space_time", "joint": "joint_space_time"}.get(
            embed.attention, "space_only"
        ),
    }


class Clips:
    """A model that predicts views of clips in memory.

    Args:
        file: .npy file with the views, uint8 (N, T, H, W, 3).
        batch: number of views in a batch.
    """

    def __init__(self, file: Path, batch: int) -> None:
        self._views = list(np.load(file, allow_pickle=False))
        # Views are repeated if there are fewer than the batch takes.
        self._batch = [self._views[i % len(self._views)] for i in range(batch)]
        # The first call compiles.
        self.probabilities(self._batch)

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Predicted probabilities of views, shape (len(views), classes)."""
        raise NotImplementedError

    def answers(self) -> NDArray[np.float32]:
        """Predicted probabilities of all views."""
        # One by one, so that every view is predicted in a batch of the same size.
        return np.concatenate([self.probabilities([view]) for view in self._views])

    def measure(self) -> tuple[float, int]:
        """Measure frames per second, and the peak memory of the process in bytes."""
        started = time.perf_counter()
        for _ in range(_NUM_BATCHES):
            self.probabilities(self._batch)
        seconds = time.perf_counter() - started
        frames = _NUM_BATCHES * sum(len(view) for view in self._batch)
        return frames / seconds, environment.peak_rss_bytes()


class KerasClips(Clips):
    """A run's model in Keras, with its blocks in bfloat16 on request."""

    def __init__(self, file: Path, batch: int, run: Path, bfloat16: bool = False) -> None:
        model, input_spec = read_model(run)
        self._model: ViewedModel = ClipModel(_in_bfloat16(model) if bfloat16 else model, input_spec)
        super().__init__(file, batch)

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Predicted probabilities of views, shape (len(views), classes)."""
        return self._model.probabilities(views)


class OnnxClips(Clips):
    """An exported file in ONNX Runtime."""

    def __init__(self, file: Path, batch: int, model: Path) -> None:
        self._model: ViewedModel = OnnxClipModel(model)
        super().__init__(file, batch)

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Predicted probabilities of views, shape (len(views), classes)."""
        return self._model.probabilities(views)


class TorchClips(Clips):
    """A TimeSformer of the same size in PyTorch, from `transformers`.

    Args:
        file: .npy file with the views.
        batch: number of views in a batch.
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
        """Predicted probabilities of views, shape (len(views), classes)."""
        pixels = self._torch.from_numpy(np.stack(views)).movedim(-1, -3)  # (B, T, 3, H, W)
        with self._torch.inference_mode():
            logits = self._net((pixels.float() / 255 - 0.45) / 0.225).logits
            return logits.softmax(dim=1).numpy()


def _in_bfloat16(model: Any) -> Any:
    """Rebuild a model with the same weights, whose blocks compute in bfloat16."""
    config = json.loads(model.to_json())
    _set_policy(config, keras.dtype_policies.serialize(keras.DTypePolicy("mixed_bfloat16")))
    rebuilt = keras.models.model_from_json(json.dumps(config))
    # The weights themselves stay in float32 under the policy mixed_bfloat16.
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
