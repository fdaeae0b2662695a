"""Rebuild models for ONNX: clips of one length in a batch, float32, no layers fused by XLA."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from ttrnn.dense import TTDense
from ttrnn.engine.clips import centred_pixels, seen_pixels
from ttrnn.engine.contraction import tt_matmul
from ttrnn.engine.time_loop import time_loop
from ttrnn.frames import FrameRNN, MeanFrame
from ttrnn.models.conv3d import EqualClips
from ttrnn.models.crnn import PadClips


def for_equal_clips(model: keras.Model) -> keras.Model:
    """Rebuild a model with the same inputs, outputs and weights, for clips of one length.

    Args:
        model: functional model from {"frames", "num_frames"} to probabilities; its layers are
            shared.

    Returns:
        The model; its results for clips of different lengths are wrong.
    """
    # Layers are taken as they are, with their weights; only the way they are called changes.
    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=_call)


def _call(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a layer by plain operations that ONNX has."""
    if isinstance(layer, keras.layers.RNN):
        # Without padding there is nothing to mask.
        kwargs.pop("mask", None)
        return layer(*args, **kwargs)
    for kind, function in _PLAIN.items():
        if isinstance(layer, kind):
            return _Plain(layer, function)(*args, **kwargs)
    return layer(*args, **kwargs)


class _Plain(keras.layers.Layer):
    """Stand-in for a layer whose output a function computes."""

    def __init__(self, layer: Any, function: Callable[..., Any]) -> None:
        super().__init__(dtype=layer.dtype_policy, autocast=layer.autocast, name=layer.name)
        self._layer = layer
        self._function = function
        # The weights are those of the other layer, which has them.
        self.built = True

    def call(self, *args: Any) -> Any:
        return self._function(self._layer, *args)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        return self._layer.compute_output_spec(*args, **kwargs)


def _by_clip(rows: Any, num_frames: Any) -> Any:
    """Reshape rows (B * T, ...) to (B, T, ...)."""
    return ops.reshape(rows, (ops.shape(num_frames)[0], -1, *rows.shape[1:]))


def _mean_frame(layer: MeanFrame, frames: Any, num_frames: Any) -> Any:
    pixels = centred_pixels(frames, layer.scale)
    return ops.mean(_by_clip(pixels, num_frames), axis=1)  # (B, H*W*3)


def _frame_rnn(layer: FrameRNN, frames: Any, num_frames: Any, mean: Any = None) -> Any:
    rnn, by_clip = layer.rnn, _by_clip(frames, num_frames)  # (B, T, H, W, 3)
    if mean is not None:
        # (B, H*W*3) to (B * T, H*W*3): each frame meets its clip's mean.
        mean = ops.repeat(mean, ops.shape(by_clip)[1], axis=0)
    # The engine's chunks and packing are operations that ONNX does not have; the plain loop
    # computes the same.
    seen = seen_pixels(frames, mean, inputs=layer.inputs, scale=layer.scale)
    projected = _by_clip(rnn.cell.project(seen), num_frames)
    initial = list(rnn.cell.get_initial_state(batch_size=ops.shape(num_frames)[0]))
    last, outputs, _ = time_loop(
        rnn.cell.step_function(),
        projected,
        initial,
        go_backwards=rnn.go_backwards,
        return_all_outputs=rnn.return_sequences,
    )
    # `return_sequences` stands for the mean over the frames as in `FrameRNN`.
    return ops.mean(outputs, axis=1) if rnn.return_sequences else last


def _tt_dense(layer: TTDense, inputs: Any) -> Any:
    product = tt_matmul(inputs, list(layer.cores))
    product = product if layer.bias is None else product + layer.bias
    return layer.activation(product)


def _equal_clips(layer: EqualClips, frames: Any, num_frames: Any) -> Any:
    return ops.reshape(frames, (-1, layer.num_frames, *frames.shape[1:]))


def _pad_clips(layer: PadClips, rows: Any, num_frames: Any) -> tuple[Any, Any]:
    padded = _by_clip(rows, num_frames)
    return padded, ops.ones(ops.shape(padded)[:2], "bool")


_PLAIN: dict[type, Callable[..., Any]] = {
    MeanFrame: _mean_frame,
    FrameRNN: _frame_rnn,
    TTDense: _tt_dense,
    EqualClips: _equal_clips,
    PadClips: _pad_clips,
}


# Policies whose names are replaced by float32 wherever they stand in a configuration.
_POLICIES = {"mixed_bfloat16", "mixed_float16", "bfloat16", "float16"}


def in_float32(model: keras.Model) -> keras.Model:
    """Rebuild a model in float32 with the same weights; returns it unchanged if it is float32."""
    config = json.loads(model.to_json())
    plain = _plain(config)
    if plain == config:
        return model
    rebuilt = keras.models.model_from_json(json.dumps(plain))
    rebuilt.set_weights(model.get_weights())
    return rebuilt


def _plain(value: Any) -> Any:
    """Copy a configuration without half precision and without steps fused by XLA."""
    if isinstance(value, dict):
        # The entry "fused" becomes False wherever it stands, all others are kept.
        return {key: key != "fused" and _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return "float32" if isinstance(value, str) and value in _POLICIES else value
