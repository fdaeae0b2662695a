"""Reader of TimeSformer and ViT weights from the files of four projects, for models of any size."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from weights.arrays import read_arrays
from weights.assign import _variables, assign_arrays
from weights.errors import WeightsError
from weights.torch_layers import CONVOLUTION_2D, DENSE, NORM, Place, in_layer, placed
from weights.torch_reader.pickle_machine import shown

# Keras's name -> the name in the original and timm, in transformers, in torchvision.
_ARRAYS = {
    "cls_token": ("cls_token", "embeddings.cls_token", "class_token"),
    "pos_embed": ("pos_embed", "embeddings.position_embeddings", "encoder.pos_embedding"),
    "time_embed": ("time_embed", "embeddings.time_embeddings"),
}
_LAYERS = {
    "embed/proj": ("patch_embed.proj", "embeddings.patch_embeddings.projection", "conv_proj"),
    "norm": ("norm", "layernorm", "encoder.ln"),
    "head": ("head", "classifier", "heads.head"),
}
_LAYERS_OF_A_BLOCK = {
    "temporal_norm1": ("temporal_norm1", "temporal_layernorm"),
    "temporal_attn/qkv": ("temporal_attn.qkv", "temporal_attention.attention.qkv"),
    "temporal_attn/proj": ("temporal_attn.proj", "temporal_attention.output.dense"),
    "temporal_fc": ("temporal_fc", "temporal_dense"),
    "norm1": ("norm1", "layernorm_before", "ln_1"),
    "attn/qkv": ("attn.qkv", "attention.attention.qkv", "self_attention.in_proj"),
    "attn/proj": ("attn.proj", "attention.output.dense", "self_attention.out_proj"),
    "norm2": ("norm2", "layernorm_after", "ln_2"),
    "fc1": ("mlp.fc1", "intermediate.dense", "mlp.0", "mlp.linear_1"),
    "fc2": ("mlp.fc2", "output.dense", "mlp.3", "mlp.linear_2"),
}
# Keys begin with the model's name in it: "model." in the original, "timesformer." in transformers.
_ARRAY = re.compile(r"(?:model\.|timesformer\.)?(.+)")
_LAYER = re.compile(
    r"(?:model\.|timesformer\.)?"
    r"(?:(?:blocks\.|encoder\.layer\.|encoder\.layers\.encoder_layer_)([0-9]{1,4})\.)?"
    r"(.+)[._](weight|bias)"
)
_NORM = {word: NORM[word] for word in ("weight", "bias")}  # LayerNorm has no moving statistics
_EMBEDDING = (0, 1, 2)  # axes stay in their order
NUM_FRAMES = 8  # of the original's base model, for arrays without a time embedding
Shapes = Mapping[str, tuple[int, ...]]
MAX_NAMED = 3
_Arrays = dict[str, np.ndarray]


def timesformer_arrays(
    state: Mapping[str, np.ndarray], *, ignore: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Convert a state dict of a TimeSformer or ViT to arrays by layer/variable.

    blocks.0.attn.qkv.weight becomes blocks_0/attn/qkv/kernel, pos_embed embed/pos_embed,
    blocks.0.mlp.fc1.bias blocks_0/fc1/bias. The result is for `fit_timesformer`.

    Args:
        state: arrays by the keys of the original TimeSformer, of transformers'
            TimesformerForVideoClassification, of timm's or DeiT's ViT, or of torchvision's, with or
            without "model." or DataParallel's "module." before them; or by layer/variable.
        ignore: keys, or prefixes of keys up to a dot, that are left out.

    Returns:
        Views of the given arrays, axes in Keras's order.

    Raises:
        WeightsError: for a key that none of these has, two keys for one weight, an array with a
            wrong number of axes, or a key to ignore that does not exist.

    Example:
        >>> state = read_state_dict("TimeSformer_divST_8x32_224_K400.pyth")
        >>> arrays, notes = fit_timesformer(timesformer_arrays(state), shapes)

    Reference: Bertasius, Wang, Torresani, ICML 2021; github.com/facebookresearch/TimeSformer.
    """
    state = _without(state, ignore)
    # A file that this package wrote has Keras's names already.
    if "embed/cls_token" in state:
        return dict(state)
    return placed(state, _place, model="a TimeSformer or ViT, such as blocks.0.attn.qkv.weight")


def _place(key: str) -> Place | None:
    """Place of a key of any of the four projects; None for a key of another model."""
    if found := _ARRAY.fullmatch(key):
        for ours, theirs in _ARRAYS.items():
            if found[1] in theirs:
                return f"embed/{ours}", _EMBEDDING
    if not (found := _LAYER.fullmatch(key)):
        return None
    block, layer, word = found.groups()
    for ours, theirs in (_LAYERS if block is None else _LAYERS_OF_A_BLOCK).items():
        if layer in theirs:
            name = ours if block is None else f"blocks_{int(block)}/{ours}"
            rules = CONVOLUTION_2D if ours == "embed/proj" else _NORM if "norm" in ours else DENSE
            return in_layer(name, rules, word)
    return None


def _without(state: Mapping[str, np.ndarray], ignore: Collection[str]) -> dict[str, np.ndarray]:
    """Leave out keys; each word to ignore must occur, so that a misspelt one is noticed."""
    for word in ignore:
        kept = {k: a for k, a in state.items() if k != word and not k.startswith(f"{word}.")}
        if len(kept) == len(state):
            raise WeightsError(f"What is to be ignored must be in the file. {shown(word)} is not.")
        state = kept
    return dict(state)


@dataclass(frozen=True, kw_only=True)
class TimesformerSize:
    """Sizes that determine the shapes of a TimeSformer's arrays; the number of heads does not.

    Args:
        num_classes, num_frames, image_size, patch_size, dim, depth: as in
            `ttrnn.models.build_timesformer`.
        hidden: units of a block's first dense layer.
        attention: "divided", "space" or "joint".
    """

    num_classes: int
    num_frames: int
    image_size: int
    patch_size: int
    dim: int
    depth: int
    hidden: int
    attention: str

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every array, by layer/variable."""
        # Computed without building the model, so that a command can refuse a file at once.
        dim, patch = self.dim, self.patch_size
        shapes: dict[str, tuple[int, ...]] = {
            "embed/cls_token": (1, 1, dim),
            "embed/pos_embed": (1, 1 + (self.image_size // patch) ** 2, dim),
            "embed/proj/kernel": (patch, patch, 3, dim),
            "embed/proj/bias": (dim,),
        }
        if self.attention != "space":
            shapes["embed/time_embed"] = (1, self.num_frames, dim)
        for block in range(self.depth):
            shapes |= {f"blocks_{block}/{name}": shape for name, shape in self._block().items()}
        return shapes | _norm("norm", dim) | _dense("head", dim, self.num_classes)

    def _block(self) -> dict[str, tuple[int, ...]]:
        """Shapes of one block's arrays."""
        dim = self.dim
        shapes = _norm("norm1", dim) | _dense("attn/qkv", dim, 3 * dim)
        shapes |= _dense("attn/proj", dim, dim)
        # The temporal attention and its norm have the shapes of the spatial ones.
        if self.attention == "divided":
            shapes |= {f"temporal_{name}": shape for name, shape in shapes.items()}
            shapes |= _dense("temporal_fc", dim, dim)
        shapes |= _norm("norm2", dim) | _dense("fc1", dim, self.hidden)
        return shapes | _dense("fc2", self.hidden, dim)


def size_of(
    arrays: Mapping[str, np.ndarray],
    *,
    attention: str = "divided",
    num_classes: int | None = None,
    num_frames: int | None = None,
    image_size: int | None = None,
) -> TimesformerSize:
    """Determine the size of a model from its arrays.

    Args:
        arrays: arrays by layer/variable, as from `timesformer_arrays`.
        attention: kind of attention of the model.
        num_classes, num_frames, image_size: sizes of the model; None for those of the arrays. A
            plain ViT has no number of frames, for which 8 is taken.

    Raises:
        WeightsError: if the arrays are not those of such a model, if the number of classes is
            neither given nor in the arrays, or if the sizes do not fit each other.
    """
    _, num_tokens, dim = _shape(arrays, "embed/pos_embed", 3)
    patch_size, *_ = _shape(arrays, "embed/proj/kernel", 4)
    (hidden,) = _shape(arrays, "blocks_0/fc1/bias", 1)
    if num_frames is None and "embed/time_embed" in arrays:
        _, num_frames, _ = _shape(arrays, "embed/time_embed", 3)
    size = TimesformerSize(
        num_classes=_num_classes(arrays) if num_classes is None else num_classes,
        num_frames=NUM_FRAMES if num_frames is None else num_frames,
        image_size=side_of(num_tokens) * patch_size if image_size is None else image_size,
        patch_size=patch_size,
        dim=dim,
        depth=len({name.partition("/")[0] for name in arrays if name.startswith("blocks_")}),
        hidden=hidden,
        attention=attention,
    )
    _check_size(size)
    return size


def side_of(num_tokens: int) -> int:
    """Number of patches per side, from a frame's number of tokens, including the class token.

    Raises:
        WeightsError: if the patches make no square.
    """
    side = math.isqrt(max(num_tokens - 1, 0))
    if side < 1 or side**2 != num_tokens - 1:
        raise WeightsError(
            "pos_embed must be of one class token and a square of patches. Received "
            f"{num_tokens} tokens; is it another model's file?"
        )
    return side


def _num_classes(arrays: Mapping[str, np.ndarray]) -> int:
    """Number of classes of the arrays' head."""
    if "head/bias" not in arrays:
        raise WeightsError(
            "The number of classes must be known. The file has no head; say how many classes the "
            "model is to have."
        )
    return _shape(arrays, "head/bias", 1)[0]


def _shape(arrays: Mapping[str, np.ndarray], name: str, num_axes: int) -> tuple[int, ...]:
    """Shape of an array that must exist and have this number of axes."""
    if name not in arrays:
        raise WeightsError(
            f"A TimeSformer or ViT must have {name}. It is missing; is it another model's file?"
        )
    if arrays[name].ndim != num_axes:
        raise WeightsError(
            f"{name} must have {num_axes} axes. Received shape {arrays[name].shape}; is it another "
            "model's file?"
        )
    return arrays[name].shape


def _check_size(size: TimesformerSize) -> None:
    """Refuse sizes that make no model."""
    for name in ("num_classes", "num_frames", "image_size", "patch_size", "dim", "hidden"):
        if getattr(size, name) < 1:
            raise WeightsError(f"{name} must be 1 or more. It is {getattr(size, name)}.")
    if size.image_size % size.patch_size:
        raise WeightsError(
            f"image_size must be a multiple of the patch size {size.patch_size}. It is "
            f"{size.image_size}; give {size.image_size // size.patch_size * size.patch_size}."
        )


def _norm(name: str, dim: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/gamma": (dim,), f"{name}/beta": (dim,)}


def _dense(name: str, inputs: int, units: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/kernel": (inputs, units), f"{name}/bias": (units,)}


def load_timesformer(
    model: Any, path: str | os.PathLike[str], *, ignore: Collection[str] = ()
) -> list[str]:
    """Set all weights of a TimeSformer from a file, or none of them.

    Args:
        model: a model from `ttrnn.models.build_timesformer`.
        path: path of a file for `read_arrays`, with a state dict for `timesformer_arrays` or with
            arrays by layer/variable.
        ignore: keys of the file to leave out, as for `timesformer_arrays`.

    Returns:
        Notes of `fit_timesformer`, a sentence for each change to the arrays. A head that is left
        out keeps the values that the model has.

    Raises:
        WeightsError: if the file is refused, or does not fit. The model is then unchanged.

    Example:
        >>> model = ttrnn.models.build_timesformer(101)
        >>> load_timesformer(model, "TimeSformer_divST_8x32_224_K400.pyth")
        ["The file's head of 400 classes is left out: that of 101 starts anew."]

    Reference: Bertasius, Wang, Torresani, ICML 2021.
    """
    arrays = read_timesformer(path, ignore=ignore)
    shapes = {name: tuple(variable.shape) for name, variable in _variables(model).items()}
    arrays, notes = fit_timesformer(arrays, shapes)
    assign_arrays(model, arrays, ignore=[] if has_head(arrays) else ["head"])
    return notes


def read_timesformer(path: str | os.PathLike[str], *, ignore: Collection[str] = ()) -> _Arrays:
    """Read a TimeSformer's or a ViT's arrays by layer/variable, in the sizes of the file.

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
    """Fit arrays to a model of another size, or those of a plain ViT to a TimeSformer.

    pos_embed takes the nearest of the file's patches in each direction, time_embed the nearest of
    its frames, with index floor(i * in / out). Without any temporal weights temporal_attn and
    temporal_norm1 start as attn and norm1, temporal_fc and time_embed at zero. A head of another
    number of classes is left out.

    Args:
        arrays: arrays by layer/variable, as from `timesformer_arrays`.
        shapes: shapes of the model's arrays, by layer/variable.

    Returns:
        The arrays, one for every shape except the head's if that is left out, and a sentence for
        each change.

    Raises:
        WeightsError: for arrays that are missing, unknown to the model, or of another shape.

    Example:
        >>> shapes = {name: array.shape for name, array in model_arrays(model).items()}
        >>> arrays, notes = fit_timesformer(timesformer_arrays(state), shapes)

    Reference: Bertasius, Wang, Torresani, ICML 2021.
    """
    # The original resizes by the same rule while it runs. On loading it takes the nearest in the
    # flat list of all patches, which shears the picture; that is not repeated here.
    arrays, notes = dict(arrays), []
    notes += _leave_out_head(arrays, shapes)
    notes += _start_temporal(arrays, shapes)
    notes += _resize(arrays, shapes)
    if not has_head(arrays):
        shapes = {name: shape for name, shape in shapes.items() if not _of_head(name)}
    _refuse(arrays, shapes)
    return arrays, notes


def has_head(arrays: Collection[str]) -> bool:
    """Return True if the last layer is among the arrays."""
    return any(_of_head(name) for name in arrays)


def _of_head(name: str) -> bool:
    """Return True for arrays of the last layer."""
    return name.startswith("head/")


def _leave_out_head(arrays: _Arrays, shapes: Shapes) -> list[str]:
    """Remove a head of another number of classes; return a note of it."""
    head = {name: array.shape for name, array in arrays.items() if _of_head(name)}
    wanted = shapes["head/bias"][0]
    if not head:
        return [f"The file has no head: that of {wanted} classes starts anew."]
    found = head.get("head/bias", ())
    if len(found) != 1 or found[0] == wanted or head.get("head/kernel", ())[1:] != found:
        return []  # it fits, or is not a proper head, which `_refuse` reports with the rest
    for name in head:
        del arrays[name]
    return [f"The file's head of {found[0]} classes is left out: that of {wanted} starts anew."]


def _start_temporal(arrays: _Arrays, shapes: Shapes) -> list[str]:
    """Add temporal weights to those of a plain ViT; return a note of it."""
    # With some temporal weights the file is a TimeSformer's, and missing ones are an error.
    wanted = [name for name in shapes if "/temporal_" in name]
    if not wanted or any("/temporal_" in name for name in arrays):
        return []
    # temporal_fc at zero: at first every block computes exactly what the image model's does.
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
    """Zeros that take no memory, for the shape may be a hostile file's."""
    return np.broadcast_to(np.float32(0), shape)


def _resize(arrays: _Arrays, shapes: Shapes) -> list[str]:
    """Resize the embeddings to the model's size; return notes of it."""
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
    """Number of tokens of an embedding, or None if it does not exist."""
    shape = shapes.get(name, ())
    return shape[1] if len(shape) == 3 else None


def _resized_grid(pos_embed: np.ndarray, before: int, after: int) -> np.ndarray:
    """Resize a position embedding (1, 1 + before^2, D) to (1, 1 + after^2, D)."""
    index = _nearest(before, after)
    grid = pos_embed[:, 1:].reshape(len(pos_embed), before, before, -1)  # (1, h, w, D)
    patches = grid[:, index][:, :, index].reshape(len(pos_embed), after**2, -1)
    # The class token has no place in the grid and stays as it is.
    return np.concatenate([pos_embed[:, :1], patches], axis=1)


def _nearest(before: int, after: int) -> np.ndarray:
    """Indices floor(i * before / after) for i in [0, after)."""
    return np.arange(after) * before // after


def _refuse(arrays: _Arrays, shapes: Shapes) -> None:
    """Raise WeightsError unless arrays and shapes agree one to one."""
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
    lines = [f"{len(names)} {what}: {_few(names)}" for what, names in problems.items() if names]
    if lines:
        raise WeightsError(
            f"Arrays must be those of the model. {'; '.join(lines)}. Is it another model's file?"
        )


def _few(names: Collection[str]) -> str:
    """First few names for a message; they are a stranger's, and made fit for a terminal."""
    named = ", ".join(shown(name) for name in sorted(names)[:MAX_NAMED])
    return f"{named} and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else named
