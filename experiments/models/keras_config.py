"""What a `.keras` file may ask Keras to make: parts of models of pictures and clips, no more.

Keras's own safe mode has been got round again and again, by functions and layers that read files,
load programs or switch it off (CVE-2025-1550, -8747, -9905, -9906, -12058, CVE-2026-1462). Its
list of what is forbidden grows with each; this one says what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from weights.errors import WeightsError
from weights.torch_reader.pickle_machine import shown

_OURS = "ttrnn>"
_MODULES = {
    *("keras.layers", "keras.initializers", "keras.regularizers", "keras.constraints"),
    *("keras.optimizers", "keras.optimizers.schedules", "keras.losses", "keras.metrics"),
    *("keras.dtype_policies", "keras.src.models.functional", "keras.src.applications.convnext"),
    *(f"keras.src.ops.{name}" for name in ("core", "image", "linalg", "math", "nn", "numpy")),
}
_OF_KERAS = {"DTypePolicy", "Functional", "Model", "Sequential"}
_VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__slice__", "__ellipsis__"}
_UNSAFE = {
    *("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"),  # run what is given
    *("StringLookup", "IntegerLookup", "TextVectorization"),  # read the files that are named
}
_FUNCTION = re.compile(rf"({_OURS})?\w+", re.ASCII)


def check_config(config: Any) -> None:
    """Let a model's configuration pass, or not.

    Args:
        config: what its config.json holds.

    Raises:
        WeightsError: if it names a class or a function that is neither ours nor one of Keras's
            that only computes.
    """
    for part in _parts(config):
        if not _is_known(part):
            place = ".".join(str(part.get(key)) for key in ("module", "class_name"))
            raise WeightsError(f"its model has the part {shown(place)}, which is not let through")


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """All that names a class or a function, however deep."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _is_known(part: dict[str, Any]) -> bool:
    name, module = part["class_name"], part.get("module") or ""
    registered = part.get("registered_name") or name
    if not all(isinstance(word, str) for word in (name, module, registered)):
        return False
    if name == "function":
        config = part.get("config")
        is_plain = isinstance(config, str) and _FUNCTION.fullmatch(config) is not None
        return is_plain and module == "builtins" and registered in (name, config)
    if registered.startswith(_OURS):
        return module.partition(".")[0] in ("", "ttrnn")
    if registered != name:
        return False
    if module in ("", "keras"):
        return name in (_OF_KERAS if module else _VALUES)
    return module in _MODULES and name not in _UNSAFE
