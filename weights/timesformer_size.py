"""How large a TimeSformer is, from its arrays; and which arrays one of a size has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from weights.errors import WeightsError

NUM_FRAMES = 8  # where the arrays do not say
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class TimesformerSize:
    """What the shapes of a TimeSformer's arrays follow from; its number of heads is not.

    Args:
        num_classes, num_frames, image_size, patch_size, dim, depth: as of
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
        """The shape of every array, by layer/variable."""
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
        dim = self.dim
        shapes = _norm("norm1", dim) | _dense("attn/qkv", dim, 3 * dim)
        shapes |= _dense("attn/proj", dim, dim)
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
    """The size of the model that arrays are for.

    Args:
        arrays: by layer/variable, such as `timesformer_arrays` gives.
        attention: of the model.
        num_classes, num_frames, image_size: of the model; None for what the arrays have. Of frames
            a plain ViT has none: then 8.

    Raises:
        WeightsError: if the arrays are not those of such a model, if the number of classes is
            neither given nor in the arrays, or if what is given makes no model.
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
    _check(size)
    return size


def side_of(num_tokens: int) -> int:
    """How many patches a side has, of the tokens of a frame, the class token among them.

    Raises:
        WeightsError: if they make no square.
    """
    side = math.isqrt(max(num_tokens - 1, 0))
    if side < 1 or side**2 != num_tokens - 1:
        raise WeightsError(
            "pos_embed must be of one class token and a square of patches. Received "
            f"{num_tokens} tokens; is it another model's file?"
        )
    return side


def _num_classes(arrays: Mapping[str, np.ndarray]) -> int:
    if "head/bias" not in arrays:
        raise WeightsError(
            "The number of classes must be known. The file has no head; say how many classes the "
            "model is to have."
        )
    return _shape(arrays, "head/bias", 1)[0]


def _shape(arrays: Mapping[str, np.ndarray], name: str, num_axes: int) -> tuple[int, ...]:
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


def _check(size: TimesformerSize) -> None:
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
