"""Build the recurrent model of a recipe: its cell, and the formats of its matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from common.errors import InputError
from experiments.training.recipes import Recipe
from ttrnn import Keras2FlatGlorotUniform, MatrixFormat, factorize, make_format
from ttrnn.gradients import NUM_CHANNELS
from ttrnn.models.feature_rnn import MEAN, build_feature_rnn
from ttrnn.models.video_rnn import CELLS, MLP, build_mean_mlp, build_video_rnn

# The published modes of a 160x120 RGB frame; other sizes are factorized.
_PUBLISHED_MODES = {(120 * 160 * 3, 4): (8, 20, 20, 18)}


def build_model(
    recipe: Recipe,
    frame_shape: tuple[int, int, int],
    num_classes: int,
    *,
    cell: str,
    formats: Formats,
    policy: str,
    seed: int,
    several_labels: bool = False,
) -> keras.Model:
    """Build the recipe's classifier for frames of shape (height, width, 3).

    Args:
        recipe: everything about the model that has no flag of its own.
        frame_shape: height, width and channels of a frame.
        num_classes: number of outputs.
        cell: "gru", "lstm" or "rnn"; or "mlp" for a layer of the mean frame.
        formats: formats of the recurrent layer's matrices.
        policy: Keras dtype policy.
        seed: seed of the initial weights and of dropout.
        several_labels: whether a clip may be of several classes.
    """
    size = math.prod(frame_shape)
    if recipe.gradient_cells is not None:
        _require_fitting_cells(recipe.gradient_cells, frame_shape)
        size = math.prod(recipe.gradient_cells) * NUM_CHANNELS
    if cell == MLP:
        return build_mean_mlp(
            frame_shape,
            num_classes,
            gradient_cells=recipe.gradient_cells,
            pixel_scale=recipe.pixel_scale,
            head_dropout=recipe.head_dropout,
            head_l2=recipe.head_l2,
            several_labels=several_labels,
            dtype=policy,
            seed=seed,
            **_layer_arguments(recipe, size, formats),
        )
    recurrent = _recurrent_arguments(recipe, size, cell=cell, formats=formats)
    scene_format = None
    if recipe.scene and formats.joint is not None:
        # The mean frame has no state beside it: its layer gets a kernel of the same format.
        modes = _input_modes(recipe, size)
        scene_format = _chosen_format(recipe, formats.joint, modes, cell=cell, rank=formats.rank)
    return build_video_rnn(
        frame_shape,
        num_classes,
        cell=cell,
        gradient_cells=recipe.gradient_cells,
        inputs=recipe.inputs,
        scene=recipe.scene,
        pooling=recipe.pooling,
        pixel_scale=recipe.pixel_scale,
        head_dropout=recipe.head_dropout,
        head_l2=recipe.head_l2,
        scene_dropout=recipe.scene_dropout,
        several_labels=several_labels,
        dtype=policy,
        seed=seed,
        scene_format=scene_format,
        **recurrent,
    )


def _require_fitting_cells(cells: tuple[int, int], frame_shape: tuple[int, int, int]) -> None:
    """Raise InputError unless frames can be cut into cells of whole blocks of 2x2 pixels."""
    height, width, _ = frame_shape
    if width % (2 * cells[0]) or height % (2 * cells[1]):
        raise InputError(
            f"gradient_cells must be columns and rows that divide half the frame's width and "
            f"height, {width // 2} and {height // 2}. Received {list(cells)}; set others, or "
            "extract frames of 160x120."
        )


def build_head(
    recipe: Recipe,
    num_features: int,
    num_classes: int,
    *,
    cell: str,
    formats: Formats,
    policy: str,
    seed: int,
    several_labels: bool = False,
) -> keras.Model:
    """Build the recipe's classifier of a frozen network's features.

    Args:
        recipe, num_classes, policy, seed, several_labels: those of `build_model`.
        num_features: number of features of a frame.
        cell: "gru", "lstm" or "rnn"; or, of the mean over the frames, "mlp" for a layer and "mean"
            for a linear classifier.
        formats: formats of the recurrent layer's matrices, if there is one.
    """
    recurrent = {}
    if cell == MLP:
        recurrent = _layer_arguments(recipe, num_features, formats)
    elif cell != MEAN:
        recurrent = _recurrent_arguments(recipe, num_features, cell=cell, formats=formats)
    return build_feature_rnn(
        num_features,
        num_classes,
        cell=cell,
        pooling=recipe.pooling,
        feature_scale=recipe.pixel_scale,
        head_dropout=recipe.head_dropout,
        head_l2=recipe.head_l2,
        several_labels=several_labels,
        dtype=policy,
        seed=seed,
        **recurrent,
    )


@dataclass(frozen=True)
class Formats:
    """Formats of a recurrent layer's matrices: short names of `ttrnn.make_format`, or low-rank."""

    kernel: str = "tt"
    """Format of the input kernel."""
    recurrent: str | None = None
    """Format of the recurrent matrix; None or "dense" for a dense one."""
    joint: str | None = None
    """Format of the matrix of [x, h], in place of both; None for two matrices."""
    rank: int | None = None
    """Rank of them; None for the largest with no more weights than the recipe's tensor train."""

    @property
    def are_plain(self) -> bool:
        """Whether the layers with one tensor train, or none, are enough."""
        return (
            self.kernel in ("tt", "dense")
            and self.recurrent in (None, "dense")
            and self.joint is None
            and self.rank is None
        )


def _recurrent_arguments(
    recipe: Recipe, size: int, *, cell: str, formats: Formats
) -> dict[str, Any]:
    """Arguments of the recipe's recurrent layer for inputs of `size` values.

    Args:
        recipe, cell, formats: those of `build_model`.
        size: number of values of a frame.
    """
    modes = _input_modes(recipe, size)
    output_modes = recipe.tt_output_shape
    units = math.prod(output_modes)
    is_dense = formats.kernel == "dense"
    # A simple RNN has no gates.
    common: dict[str, Any] = {}
    if cell != "rnn":
        common["recurrent_activation"] = recipe.recurrent_activation
    common |= {
        "kernel_initializer": _kernel_initializer(recipe, not is_dense),
        # The published TT layers ignore their input dropout, the dense baselines apply it.
        "dropout": recipe.dense_input_dropout if is_dense else 0.0,
        "recurrent_dropout": recipe.recurrent_dropout,
    }
    if formats.are_plain:
        # The dense baseline is the same layer with a single mode: one core of rank 1, which is the
        # dense kernel itself.
        return common | {
            "tt_input_shape": (size,) if is_dense else modes,
            "tt_output_shape": (units,) if is_dense else output_modes,
            "tt_ranks": 1 if is_dense else recipe.tt_rank,
        }

    def chosen(name: str | None, input_modes: tuple[int, ...]) -> MatrixFormat | None:
        return _chosen_format(recipe, name, input_modes, cell=cell, rank=formats.rank)

    if formats.joint is not None:
        return common | {
            "units": units,
            "joint_format": chosen(formats.joint, factorize(size + units, len(output_modes))),
        }
    return common | {
        "units": units,
        "kernel_format": chosen(formats.kernel, modes),
        "recurrent_format": chosen(formats.recurrent, output_modes),
    }


def _layer_arguments(recipe: Recipe, size: int, formats: Formats) -> dict[str, Any]:
    """Arguments of a layer without recurrence, with as many units as the recurrent layer."""
    modes = _input_modes(recipe, size)
    kernel_format = _chosen_format(recipe, formats.kernel, modes, cell=MLP, rank=formats.rank)
    return {
        "units": math.prod(recipe.tt_output_shape),
        "kernel_format": kernel_format,
        "kernel_initializer": _kernel_initializer(recipe, kernel_format is not None),
    }


def _input_modes(recipe: Recipe, size: int) -> tuple[int, ...]:
    """Input modes of the recipe's kernel for `size` values."""
    num_modes = len(recipe.tt_output_shape)
    modes = recipe.tt_input_shape
    if modes is None:
        return _PUBLISHED_MODES.get((size, num_modes)) or factorize(size, num_modes)
    if math.prod(modes) != size or len(modes) != num_modes:
        raise InputError(
            f"tt_input_shape must be {num_modes} modes, as tt_output_shape has, with the product "
            f"{size}, the number of a frame's values. Received {modes}; extract frames of another "
            "size, or set it: --set tt_input_shape=null chooses."
        )
    return tuple(modes)


def _chosen_format(
    recipe: Recipe,
    name: str | None,
    input_modes: tuple[int, ...],
    *,
    cell: str,
    rank: int | None,
) -> MatrixFormat | None:
    """Make the format of a matrix without gates; None for a dense one.

    Args:
        recipe: has the output modes, and the rank of the tensor train that is the budget.
        name: short name, low-rank or dense.
        input_modes: modes of the matrix's rows.
        cell: "gru", "lstm" or "rnn", whose gates count in the budget; or "mlp".
        rank: the rank; None for the largest within the budget.
    """
    if name is None or name == "dense":
        return None
    output_modes = recipe.tt_output_shape
    train = make_format("tt", input_modes, output_modes, recipe.tt_rank)
    if name == "low-rank":
        # (M, R) times (R, N): a CP matrix with one mode for each side.
        name = "cp"
        input_modes, output_modes = (math.prod(input_modes),), (math.prod(output_modes),)
    if rank is None:
        layer: Any = CELLS.get(cell)
        gates = 1 if layer is None else layer.cell_class.num_gates
        budget = train.with_gates(gates).num_params
        rank = largest_rank(name, input_modes, output_modes, budget, gates)
    return make_format(name, input_modes, output_modes, rank)


def largest_rank(
    name: str,
    input_modes: Sequence[int],
    output_modes: Sequence[int],
    budget: int,
    num_gates: int,
) -> int:
    """Largest rank at which a format has no more weights than a budget; 1 if it always has more.

    Args:
        name: short name of the format.
        input_modes, output_modes: its modes, without gates.
        budget: number of weights, gates included.
        num_gates: number of gates that multiply the first output mode.
    """
    rank = 1
    while (
        make_format(name, input_modes, output_modes, rank + 1).with_gates(num_gates).num_params
        <= budget
    ):
        rank += 1
    return rank


def _kernel_initializer(recipe: Recipe, is_compressed: bool) -> Any:
    # Keras 2 drew the cores as one flat kernel, with fans of the square root of its length. The
    # dense baseline had an ordinary kernel.
    if recipe.kernel_initializer != "keras2_flat_glorot":
        return recipe.kernel_initializer
    return Keras2FlatGlorotUniform() if is_compressed else "glorot_uniform"
