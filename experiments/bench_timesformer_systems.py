"""Models that `experiments.bench_timesformer` measures, each in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.benchmarks import Clips
from experiments.clips.export.subjects import load_subject
from experiments.clips.export.write import Sample, find_sample, write_int8, write_onnx
from experiments.clips.model import ClipModel, keep_model, read_model
from experiments.clips.prediction.predict import OnnxClipModel
from experiments.clips.viewed_model import ClipInputSpec, ViewedModel
from experiments.epic_kitchens.models import build_model
from experiments.epic_kitchens.recipes import EpicKitchensArguments
from preprocess.batches.views import CropChoice, FrameChoice
from preprocess.shards.settings import FrameSettings

# As many classes as Kinetics-400 has, and frames of 4:3 with the original's short side.
_CLASSES = 400
_STORED_SIZE = (341, 256)
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
