"""Models that compute in bfloat16, or by XLA, as ONNX can have them: in float32, in plain steps."""

from __future__ import annotations

import json
from typing import Any

import keras

_POLICIES = {"mixed_bfloat16", "mixed_float16", "bfloat16", "float16"}


def in_float32(model: keras.Model) -> keras.Model:
    """The model with the same weights and float32 arithmetic; itself where that is so already."""
    config = json.loads(model.to_json())
    plain = _plain(config)
    if plain == config:
        return model
    rebuilt = keras.models.model_from_json(json.dumps(plain))
    rebuilt.set_weights(model.get_weights())
    return rebuilt


def _plain(value: Any) -> Any:
    """A configuration without half precision, and without steps fused by XLA."""
    if isinstance(value, dict):
        return {key: key != "fused" and _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return "float32" if isinstance(value, str) and value in _POLICIES else value
