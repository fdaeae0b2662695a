"""Compress trained layers and models: dense kernels become tensor networks, and train on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from ttrnn.dense import TensorDense, balanced_modes
from ttrnn.formats.base import MatrixFormat
from ttrnn.formats.registry import format_class
from ttrnn.frames import FrameRNN
from ttrnn.initializers import kernel_variance
from ttrnn.rnn import TTGRU, TTLSTM, TensorGRU, TensorLSTM, TensorSimpleRNN, TTSimpleRNN

# Layers whose kernel may be dense, and the layer that takes its place.
_RECURRENT: dict[type, Any] = {
    keras.layers.SimpleRNN: TensorSimpleRNN,
    keras.layers.GRU: TensorGRU,
    keras.layers.LSTM: TensorLSTM,
    TTSimpleRNN: TensorSimpleRNN,
    TTGRU: TensorGRU,
    TTLSTM: TensorLSTM,
    TensorSimpleRNN: TensorSimpleRNN,
    TensorGRU: TensorGRU,
    TensorLSTM: TensorLSTM,
}
# What Keras's own recurrent layers have beyond those that take formats.
_ONLY_KERAS = ("implementation", "reset_after", "use_cudnn", "quantization_config")
# A matrix with fewer weights is not worth a tensor network, which has a few of its own.
_SMALLEST = 1024


def compress(
    target: keras.layers.Layer,
    format: str | type[MatrixFormat],
    *,
    rank: int | Sequence[int] | None = None,
    error: float | None = None,
    input_modes: Sequence[int] | None = None,
    output_modes: Sequence[int] | None = None,
    recurrent: bool = False,
    layers: Sequence[str] | None = None,
    **options: Any,
) -> Any:
    """Replace trained dense kernels by tensor networks that approximate them.

    The result computes nearly what `target` does; train it further to regain accuracy. `target` is
    not changed.

    Args:
        target: a built dense or recurrent layer (Dense, SimpleRNN, LSTM, GRU with
            reset_after=False, FrameRNN, or a layer of ttrnn whose kernel is dense), or a model,
            whose layers of these kinds with at least 1,024 weights in the kernel are replaced.
        format: short name of a format, such as "tr", or its class.
        rank: largest rank, or ranks, as in the format's class.
        error: largest relative Frobenius error of each kernel, in place of ranks or with them.
        input_modes, output_modes: modes of the kernel, without gates; for one layer. By default up
            to four modes of similar size.
        recurrent: also replace recurrent matrices.
        layers: of a model, names of the layers to replace; None for all that can be.
        **options: further arguments of the format's class, such as `blocks`.

    Returns:
        A built layer, or a model with the same inputs and outputs, not compiled.

    Raises:
        ValueError: if a layer has no dense kernel of floats, or neither rank nor error are given.

    Example:
        >>> dense = keras.layers.Dense(64, activation="relu")
        >>> dense.build((None, 256))
        >>> compress(dense, "tr", rank=6).compression.kernel > 4
        True

    Reference: the decompositions are those of `ttrnn.formats`.
    """
    kind: Any = format_class(format) if isinstance(format, str) else format
    if rank is None and error is None:
        raise ValueError("Give rank or error: how far are the kernels to shrink?")
    if isinstance(rank, float):
        raise ValueError(
            f"rank must be an integer. Received {rank}; for an error give error={rank}."
        )
    shared = {"ranks": rank, "relative_error": error, **options}
    if isinstance(target, keras.Model):
        if input_modes is not None or output_modes is not None:
            raise ValueError(
                "input_modes and output_modes are those of one layer. Received a model; leave them "
                "out, or compress its layers one by one."
            )
        return _compress_model(target, kind, shared, recurrent=recurrent, layers=layers)
    modes = (input_modes, output_modes)
    replaced = _compress_layer(target, kind, modes, shared, recurrent=recurrent)
    if replaced is None:
        raise ValueError(
            "compress needs a built layer with a dense kernel of floats: Dense, SimpleRNN, LSTM, "
            f"or GRU(reset_after=False). Received {target!r}; build it first, or take such a "
            "layer."
        )
    return replaced


def _compress_model(
    model: keras.Model, kind: Any, shared: dict, *, recurrent: bool, layers: Sequence[str] | None
) -> Any:
    """Clone a model with compressed layers.

    Raises:
        ValueError: if it has none that could be compressed.
    """
    kept: list[tuple[keras.layers.Layer, keras.layers.Layer]] = []
    num_replaced = 0

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        nonlocal num_replaced
        if isinstance(layer, keras.Model):
            return keras.models.clone_model(layer, clone_function=clone)
        copy = None
        if _kernel_size(layer) >= _SMALLEST and (layers is None or layer.name in layers):
            copy = _compress_layer(layer, kind, (None, None), shared, recurrent=recurrent)
        if copy is not None:
            num_replaced += 1
            return copy
        copy = layer.__class__.from_config(layer.get_config())
        kept.append((layer, copy))
        return copy

    cloned = clone(model)
    if not num_replaced:
        raise ValueError(
            f"compress needs a model with a dense kernel of at least {_SMALLEST:,} weights. "
            f"Received {model.name}, which has none; its layers are too small or of other kinds."
        )
    for layer, copy in kept:
        copy.set_weights(layer.get_weights())
    return cloned


def _compress_layer(
    layer: Any, kind: Any, modes: tuple, shared: dict, *, recurrent: bool
) -> keras.layers.Layer | None:
    """Build the compressed layer; None if this one has no dense kernel."""
    if isinstance(layer, FrameRNN):
        inner = _compress_layer(layer.rnn, kind, modes, shared, recurrent=recurrent)
        if inner is None:
            return None
        config = layer.get_config()
        del config["rnn"]
        return FrameRNN(inner, **config)
    kernel = _dense_kernel(layer)
    if kernel is None:
        return None
    if type(layer) in _RECURRENT:
        return _compress_recurrent(layer, kernel, kind, modes, shared, recurrent=recurrent)
    config = layer.get_config()
    found, cores = _decomposed(kernel, 1, kind, modes, shared, layer.name)
    for name in ("kernel_regularizer", "kernel_constraint"):
        config[name] = None  # of the dense kernel; a core is another thing
    config["kernel_initializer"] = _drawn(layer.kernel_initializer, kernel.shape)
    for name in ("lora_rank", "lora_alpha", "quantization_config", "kernel_format"):
        config.pop(name, None)
    copy = TensorDense.from_config({**config, "kernel_format": found})
    copy.build((None, len(kernel)))
    _assign(copy.cores, cores)
    if copy.bias is not None:
        copy.bias.assign(layer.bias)
    return copy


def _compress_recurrent(
    layer: Any, kernel: np.ndarray, kind: Any, modes: tuple, shared: dict, *, recurrent: bool
) -> keras.layers.Layer:
    replacement = _RECURRENT[type(layer)]
    cell = layer.cell
    gates = replacement.cell_class.num_gates
    if getattr(cell, "reset_after", False):
        raise ValueError(
            "compress takes GRUs that reset before the product. Received a GRU with "
            f"reset_after=True, {layer.name}; train one with reset_after=False."
        )
    found, cores = _decomposed(kernel, gates, kind, modes, shared, layer.name)
    config = layer.get_config()
    dropped = (*_ONLY_KERAS, "tt_input_shape", "tt_output_shape", "tt_ranks", "num_gates")
    for name in dropped:
        config.pop(name, None)
    for name in ("kernel_regularizer", "kernel_constraint"):
        config[name] = None
    config |= {"units": layer.units, "kernel_format": found}
    config["kernel_initializer"] = _drawn(cell.kernel_initializer, kernel.shape)
    config.setdefault("recurrent_format", None)
    matrix = _dense_recurrent(cell)
    if recurrent and matrix is not None:
        recurrent_found, recurrent_cores = _decomposed(
            matrix, gates, kind, (None, None), shared, f"{layer.name}'s recurrent matrix"
        )
        config["recurrent_format"] = recurrent_found
        config["recurrent_initializer"] = _drawn(cell.recurrent_initializer, matrix.shape)
        config["recurrent_regularizer"] = config["recurrent_constraint"] = None
    copy = replacement.from_config(config)
    copy.build((None, None, len(kernel)))
    _assign(copy.cell.cores, cores)
    if recurrent and matrix is not None:
        _assign(copy.cell.recurrent_cores, recurrent_cores)
    elif matrix is not None:
        copy.cell.recurrent_kernel.assign(matrix)
    else:
        _assign(copy.cell.recurrent_cores, cell.recurrent_cores)
    if copy.cell.bias is not None:
        copy.cell.bias.assign(cell.bias)
    return copy


def _decomposed(
    kernel: np.ndarray, gates: int, kind: Any, modes: tuple, shared: dict, name: str
) -> tuple[MatrixFormat, list[np.ndarray]]:
    """Decompose a kernel (M, gates * N); the format found is without gates."""
    size, width = kernel.shape
    input_modes, output_modes = balanced_modes((size, width // gates), *modes)
    first, *rest = output_modes
    gated, cores = kind.decompose(kernel, input_modes, (gates * first, *rest), **shared)
    if gated.num_params > kernel.size:
        warnings.warn(
            f"The {gated.name} has more weights than the kernel of {name}: {gated.num_params:,} at "
            f"ranks {gated.ranks}, in place of {kernel.size:,}. Give a smaller rank, a larger "
            "error, or other modes.",
            stacklevel=4,
        )
    return gated.from_config({**gated.get_config(), "output_modes": output_modes}), cores


def _drawn(initializer: Any, shape: tuple[int, ...]) -> Any:
    """Return an initializer that cores can be drawn by: Glorot's for zeros and other constants.

    Drawn cores are replaced at once, but the layer's config must build it again.
    """
    try:
        kernel_variance(initializer, shape[0], shape[1])
    except ValueError:
        return "glorot_uniform"
    return initializer


def _dense_kernel(layer: Any) -> np.ndarray | None:
    """Dense kernel (M, gates * N) of a built layer; None if it has none."""
    if getattr(layer, "quantization_mode", None) is not None or not layer.built:
        return None
    if type(layer) is keras.layers.Dense:
        return ops.convert_to_numpy(layer.kernel)
    if type(layer) is TensorDense:
        return ops.convert_to_numpy(layer.cores[0]) if layer.kernel_format is None else None
    if type(layer) not in _RECURRENT:
        return None
    cell = layer.cell
    if not hasattr(cell, "gated_kernel_format"):  # one of Keras's own
        return ops.convert_to_numpy(cell.kernel)
    if cell.joint_format is not None:
        return None
    # A single core is the dense kernel, as the tensor-train layers have it with one mode.
    shape = cell.gated_kernel_format
    is_dense = shape.num_params == shape.input_size * shape.output_size and len(cell.cores) == 1
    return ops.convert_to_numpy(cell.full_kernel()) if is_dense else None


def _dense_recurrent(cell: Any) -> np.ndarray | None:
    if getattr(cell, "gated_recurrent_format", None) is not None:
        return None
    return ops.convert_to_numpy(cell.recurrent_kernel)


def _kernel_size(layer: Any) -> int:
    kernel = _dense_kernel(layer.rnn if isinstance(layer, FrameRNN) else layer)
    return 0 if kernel is None else kernel.size


def _assign(variables: Sequence, values: Sequence) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
