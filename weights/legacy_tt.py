"""Conversion of weights of the published TT_RNN code (Keras 2.0.4) to the layers of ttrnn.

In that code a tensor-train kernel is one flat vector with the LAST core first, where core k is a
matrix of shape (m_k r_{k+1}, r_k n_k). A recurrent layer's weights are [kernel, bias, recurrent
kernel], with the bias BEFORE the recurrent kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from common.errors import InputError

CoreShape = tuple[int, int, int, int]


def load_legacy_tt(layer: Any, arrays: Sequence[Any], *, bias_added_twice: bool = False) -> None:
    """Set the weights of a built tensor-train layer from the published code's arrays.

    Args:
        layer: a built TTSimpleRNN, TTGRU, TTLSTM or TTDense (or a cell).
        arrays: [kernel, bias, recurrent kernel] as `get_weights()` returned them; [kernel, bias]
            for TTDense; without the bias if the layer has none.
        bias_added_twice: double the bias, for weights from one of the two early commits whose GRU
            added its bias twice.

    Raises:
        InputError: if the layer is not built, or the number, a shape or a value of the arrays
            does not fit it. The layer is then unchanged.

    Example:
        >>> layer = ttrnn.TTGRU(
        ...     (8, 20, 20, 18), (4, 4, 4, 4), 4, recurrent_activation="keras2_hard_sigmoid"
        ... )
        >>> layer.build((None, None, 57600))
        >>> load_legacy_tt(layer, [kernel, bias, recurrent_kernel])

    Reference: Yang, Krompass, Tresp, ICML 2017; code Tuyki/TT_RNN.
    """
    target = getattr(layer, "cell", layer)
    if not hasattr(target, "cores"):
        raise InputError(
            f"load_legacy_tt needs a built tensor-train layer. Received {layer!r}; call "
            "layer.build((None, None, num_features)) first, or pass a layer of ttrnn."
        )
    # The published order: the bias stands before the recurrent kernel.
    variables = [
        v for v in (target.bias, getattr(target, "recurrent_kernel", None)) if v is not None
    ]
    if len(arrays) != 1 + len(variables):
        names = ["kernel", *(variable.name for variable in variables)]
        raise InputError(
            f"{layer.name} takes {len(names)} arrays, in the order {names}. Received {len(arrays)}."
        )
    kernel, *others = (_checked(array, position) for position, array in enumerate(arrays))
    cores = cores_from_flat(kernel, [tuple(core.shape) for core in target.cores])
    for variable, array in zip(variables, others, strict=True):
        if tuple(variable.shape) != array.shape:
            raise InputError(
                f"{variable.name} must have shape {tuple(variable.shape)}. Received {array.shape}; "
                "the published order is [kernel, bias, recurrent kernel]."
            )
    for variable, array in zip([*target.cores, *variables], [*cores, *others], strict=True):
        doubled = bias_added_twice and variable is target.bias
        variable.assign(2 * array if doubled else array)


def cores_from_flat(flat: Any, core_shapes: Sequence[CoreShape]) -> list[np.ndarray]:
    """Convert the published code's flat kernel to cores (r_k, m_k, n_k, r_{k+1}).

    Args:
        flat: one vector, last core first.
        core_shapes: shapes of the cores, first core first, gates included.

    Raises:
        InputError: if the length is not the number of weights in those cores.
    """
    flat = np.asarray(flat)
    length = sum(int(np.prod(shape)) for shape in core_shapes)
    if flat.shape != (length,):
        raise InputError(
            f"The flat kernel must have shape ({length},) for cores of shapes "
            f"{list(core_shapes)}. Received {flat.shape}; check modes, ranks and kind of layer."
        )
    cores: list[np.ndarray] = []
    start = 0
    # From the last core to the first, as they lie in the vector.
    for rank, m, n, rank_next in reversed(core_shapes):
        stop = start + rank * m * n * rank_next
        core = flat[start:stop].reshape(m, rank_next, rank, n)
        cores.insert(0, core.transpose(2, 0, 3, 1))  # (r_k, m_k, n_k, r_{k+1})
        start = stop
    return cores


def flat_from_cores(cores: Sequence[Any]) -> np.ndarray:
    """Convert cores to the published code's flat kernel; inverse of `cores_from_flat`."""
    return np.concatenate(
        [np.asarray(core).transpose(1, 3, 0, 2).reshape(-1) for core in reversed(cores)]
    )


def _checked(array: Any, position: int) -> np.ndarray:
    """Check that an array holds finite floats."""
    # Before anything is assigned, so that a wrong array leaves the layer unchanged.
    checked = np.asarray(array)
    if not np.issubdtype(checked.dtype, np.floating) or not np.isfinite(checked).all():
        raise InputError(
            f"Array {position} must hold finite floating-point numbers. Received {checked.dtype}"
            + ("." if not np.issubdtype(checked.dtype, np.floating) else " with NaN or infinity.")
        )
    return checked
