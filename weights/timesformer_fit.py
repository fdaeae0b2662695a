"""A TimeSformer's or a plain ViT's arrays, made to fit a TimeSformer of another size."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from weights.arrays import read_arrays
from weights.assign import _variables, assign_arrays
from weights.errors import WeightsError
from weights.timesformer import timesformer_arrays
from weights.timesformer_size import Shapes, side_of
from weights.torch_reader.pickle_machine import shown

MAX_NAMED = 3
_Arrays = dict[str, np.ndarray]


def load_timesformer(
    model: Any, path: str | os.PathLike[str], *, ignore: Collection[str] = ()
) -> list[str]:
    """Set the weights of a TimeSformer from a file, or none of them.

    Args:
        model: of `ttrnn.models.build_timesformer`.
        path: of a file for `read_arrays`, with a state dict for `timesformer_arrays`, or with
            arrays that have their names already.
        ignore: its keys that are not wanted.

    Returns:
        What was done to the arrays, as by `fit_timesformer`. A head that is left out keeps the
        values that the model has.

    Raises:
        WeightsError: if the file is refused, or does not fit. The model is then unchanged.
    """
    arrays = read_timesformer(path, ignore=ignore)
    shapes = {name: tuple(variable.shape) for name, variable in _variables(model).items()}
    arrays, notes = fit_timesformer(arrays, shapes)
    assign_arrays(model, arrays, ignore=[] if has_head(arrays) else ["head"])
    return notes


def read_timesformer(path: str | os.PathLike[str], *, ignore: Collection[str] = ()) -> _Arrays:
    """A TimeSformer's or a ViT's arrays by layer/variable, as they are in a file.

    Args:
        path, ignore: as for `load_timesformer`.

    Raises:
        WeightsError: if the file is refused.
    """
    arrays = read_arrays(path)
    if any("/" in name for name in arrays):
        return arrays
    return timesformer_arrays(arrays, ignore=ignore)


def fit_timesformer(arrays: Mapping[str, np.ndarray], shapes: Shapes) -> tuple[_Arrays, list[str]]:
    """Arrays for a model, from those of another size, or from those of a plain ViT.

    pos_embed takes the nearest of the file's patches in each direction, time_embed the nearest of
    its frames: index floor(i * in / out), as the original does when it runs; on loading, the
    original takes the nearest in the list of all patches, which shears the picture. Without any
    temporal weights temporal_attn and temporal_norm1 start as attn and norm1, temporal_fc and
    time_embed at zero. A head of another number of classes is left out.

    Args:
        arrays: by layer/variable, such as `timesformer_arrays` gives.
        shapes: of the model's arrays.

    Returns:
        The arrays, one for every shape but the head's where that is left out, and a sentence for
        each thing that was done.

    Raises:
        WeightsError: for arrays that are missing, that the model has not, or of another shape.
    """
    arrays, notes = dict(arrays), []
    notes += _leave_out_head(arrays, shapes)
    notes += _start_temporal(arrays, shapes)
    notes += _resize(arrays, shapes)
    if not has_head(arrays):
        shapes = {name: shape for name, shape in shapes.items() if not _of_head(name)}
    _refuse(arrays, shapes)
    return arrays, notes


def has_head(arrays: Collection[str]) -> bool:
    """Whether the last layer is among the arrays."""
    return any(_of_head(name) for name in arrays)


def _of_head(name: str) -> bool:
    return name.startswith("head/")


def _leave_out_head(arrays: _Arrays, shapes: Shapes) -> list[str]:
    head = {name: array.shape for name, array in arrays.items() if _of_head(name)}
    wanted = shapes["head/bias"][0]
    if not head:
        return [f"The file has no head: that of {wanted} classes starts anew."]
    found = head.get("head/bias", ())
    if len(found) != 1 or found[0] == wanted or head.get("head/kernel", ())[1:] != found:
        return []  # it fits, or is none: what is wrong is told with the rest
    for name in head:
        del arrays[name]
    return [f"The file's head of {found[0]} classes is left out: that of {wanted} starts anew."]


def _start_temporal(arrays: _Arrays, shapes: Shapes) -> list[str]:
    wanted = [name for name in shapes if "/temporal_" in name]
    if not wanted or any("/temporal_" in name for name in arrays):
        return []
    for name in wanted:
        twin = name.replace("/temporal_", "/")
        if "/temporal_fc/" in name:
            arrays[name] = _zeros(shapes[name])
        elif twin in arrays:
            arrays[name] = arrays[twin]
    arrays.setdefault("embed/time_embed", _zeros(shapes["embed/time_embed"]))
    return [
        "The file has no temporal weights: temporal_attn and temporal_norm1 start as attn and "
        "norm1, temporal_fc at zero."
    ]


def _zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros that take no memory: the shape may be a hostile file's."""
    return np.broadcast_to(np.float32(0), shape)


def _resize(arrays: _Arrays, shapes: Shapes) -> list[str]:
    notes = []
    old, new = (_num_tokens(of, "embed/pos_embed") for of in (_shapes_of(arrays), shapes))
    if old and new and old != new:
        before, after = side_of(old), side_of(new)
        arrays["embed/pos_embed"] = _resized_grid(arrays["embed/pos_embed"], before, after)
        notes.append(f"pos_embed: {before} x {before} patches became {after} x {after}, nearest.")
    old, new = (_num_tokens(of, "embed/time_embed") for of in (_shapes_of(arrays), shapes))
    if old and new and old != new:
        arrays["embed/time_embed"] = arrays["embed/time_embed"][:, _nearest(old, new)]
        notes.append(f"time_embed: {old} frames became {new}, nearest.")
    return notes


def _shapes_of(arrays: _Arrays) -> Shapes:
    return {name: array.shape for name, array in arrays.items()}


def _num_tokens(shapes: Shapes, name: str) -> int | None:
    """Of an embedding, if there is such."""
    shape = shapes.get(name, ())
    return shape[1] if len(shape) == 3 else None


def _resized_grid(pos_embed: np.ndarray, before: int, after: int) -> np.ndarray:
    """(1, 1 + before^2, D) to (1, 1 + after^2, D)."""
    index = _nearest(before, after)
    grid = pos_embed[:, 1:].reshape(len(pos_embed), before, before, -1)
    patches = grid[:, index][:, :, index].reshape(len(pos_embed), after**2, -1)
    return np.concatenate([pos_embed[:, :1], patches], axis=1)


def _nearest(before: int, after: int) -> np.ndarray:
    return np.arange(after) * before // after


def _refuse(arrays: _Arrays, shapes: Shapes) -> None:
    misshapen = [
        f"{name} {array.shape} for {shapes[name]}"
        for name, array in arrays.items()
        if name in shapes and array.shape != tuple(shapes[name])
    ]
    problems = {
        "are missing": shapes.keys() - arrays.keys(),
        "are not of the model": arrays.keys() - shapes.keys(),
        "are of another shape": misshapen,
    }
    told = [f"{len(names)} {what}: {_few(names)}" for what, names in problems.items() if names]
    if told:
        raise WeightsError(
            f"Arrays must be those of the model. {'; '.join(told)}. Is it another model's file?"
        )


def _few(names: Collection[str]) -> str:
    named = ", ".join(shown(name) for name in sorted(names)[:MAX_NAMED])
    return f"{named} and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else named
