"""Assignment of arrays by layer/variable to the weights of a model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from weights.errors import WeightsError

# Names of variables in other versions of Keras -> their names today.
ALIASES = {"depthwise_kernel": "kernel"}  # DepthwiseConv2D, Keras 2
MAX_NAMED = 3


def assign_arrays(
    model: Any, arrays: Mapping[str, np.ndarray], *, ignore: Collection[str] = ()
) -> None:
    """Set every weight of a model, or none of them.

    Layers of models in the model count as the model's own.

    Args:
        model: a built Keras model.
        arrays: arrays by layer/variable, such as conv1/kernel; Keras 2's names are understood.
        ignore: layers, or names of the form layer/variable, that keep their values, whether or
            not the arrays have them.

    Raises:
        WeightsError: if a weight has no array, an array no weight, or an array is of another
            shape, of another kind of number, or not finite. The model is then unchanged.

    Example:
        >>> assign_arrays(model, read_arrays("model.safetensors"), ignore=["head"])
    """
    # All checks come before the first assignment, so that a refusal leaves the model unchanged.
    variables = _variables(model)
    arrays = _by_todays_name(arrays, variables)
    _check_ignored(ignore, {*variables, *arrays})
    wanted = {name: v for name, v in variables.items() if not _is_ignored(name, ignore)}
    given = {name: a for name, a in arrays.items() if not _is_ignored(name, ignore)}
    _refuse(wanted.keys() - given.keys(), "of the model have no array")
    _refuse(given.keys() - wanted.keys(), "among the arrays are no weights of the model")
    plain = {name: np.asarray(array) for name, array in given.items()}
    _refuse(
        [
            f"{name} {plain[name].shape} for {tuple(variable.shape)}"
            for name, variable in wanted.items()
            if plain[name].shape != tuple(variable.shape)
        ],
        "among the arrays are of another shape",
    )
    bad = [f"{n} {plain[n].dtype}" for n, v in wanted.items() if not _same_kind(plain[n], v)]
    _refuse(bad, "among the arrays are of another kind of number")
    fit = {name: _as_type_of(variable, plain[name]) for name, variable in wanted.items()}
    bad = [name for name, array in fit.items() if not np.isfinite(array).all()]
    _refuse(bad, "among the arrays hold NaN or infinity")
    for name, variable in wanted.items():
        variable.assign(fit[name])


def model_arrays(model: Any) -> dict[str, np.ndarray]:
    """Copy every weight of a built Keras model, by layer/variable; inverse of `assign_arrays`.

    Args:
        model: a built Keras model.

    Returns:
        Arrays by names such as conv1/kernel.

    Raises:
        WeightsError: if the model is not built, or two weights have one name.

    Example:
        >>> write_safetensors("model.safetensors", model_arrays(model))
    """
    return {name: np.array(variable) for name, variable in _variables(model).items()}


def _variables(model: Any) -> dict[str, Any]:
    """Variables of a built model by layer/variable; each once, even if layers share it."""
    if not getattr(model, "built", False):
        raise WeightsError(f"Weights need a built model. Received {model!r}; call build() first.")
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for layer in [*_layers(model), model]:  # the model last, for weights that no layer owns
        for variable in layer.weights:
            if id(variable) in seen:
                continue
            seen.add(id(variable))
            name = _name(layer, variable)
            if name in found:
                raise WeightsError(
                    f"Every weight needs a name of its own. {name} occurs twice in {model.name}; "
                    "give its layers different names."
                )
            found[name] = variable
    return found


def _layers(model: Any) -> Iterator[Any]:
    """Yield the layers of a model, and of the models in it."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer)
        else:
            yield layer


def _name(layer: Any, variable: Any) -> str:
    """Name a variable layer/variable, or layer/part/variable in a layer of layers."""
    # Keras's path begins with the names of the models around, which differ from run to run.
    parts = variable.path.split("/")
    start = parts.index(layer.name) if layer.name in parts[:-1] else len(parts) - 2
    return "/".join([layer.name, *parts[start + 1 :]])


def _by_todays_name(
    arrays: Mapping[str, np.ndarray], variables: Collection[str]
) -> dict[str, np.ndarray]:
    """Rename arrays with Keras 2's names, if the model has today's."""
    renamed: dict[str, np.ndarray] = {}
    for old, array in arrays.items():
        layer, _, variable = old.rpartition("/")
        alias = f"{layer}/{ALIASES.get(variable, variable)}"
        name = alias if old not in variables and alias in variables else old
        if name in renamed:
            raise WeightsError(f"Every weight takes one array. {name} is there under two names.")
        renamed[name] = array
    return renamed


def _check_ignored(ignore: Collection[str], names: Collection[str]) -> None:
    """Refuse words to ignore that occur nowhere, most likely misspelt."""
    unknown = [word for word in ignore if not any(_is_ignored(name, [word]) for name in names)]
    _refuse(unknown, "to ignore are in neither the model nor the arrays")


def _is_ignored(name: str, ignore: Collection[str]) -> bool:
    """Return True if a name, or its layer, is to be ignored."""
    return name in ignore or any(name.startswith(f"{layer}/") for layer in ignore)


def _same_kind(array: np.ndarray, variable: Any) -> bool:
    """Return True if both hold floats, or both integers."""
    is_float = "float" in str(variable.dtype)
    return np.issubdtype(array.dtype, np.floating if is_float else np.integer)


def _as_type_of(variable: Any, array: np.ndarray) -> np.ndarray:
    """Convert an array to a variable's dtype."""
    with np.errstate(over="ignore"):  # a value that does not fit becomes infinity, and is refused
        return array.astype(np.asarray(variable).dtype, copy=False)


def _refuse(names: Collection[str], what: str) -> None:
    """Raise WeightsError if there are names, of which the first few are shown."""
    if names:
        named = ", ".join(sorted(names)[:MAX_NAMED])
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        raise WeightsError(
            f"Arrays and weights must match one to one. {len(names)} {what}: {named}{more}; "
            "is it the file of this very model?"
        )
