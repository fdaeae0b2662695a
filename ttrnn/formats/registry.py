"""All formats by their names, and formats as arguments of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from ttrnn.formats.base import MatrixFormat, factorize
from ttrnn.formats.block_term import BlockTerm
from ttrnn.formats.cp import CP
from ttrnn.formats.dense import DenseMatrix
from ttrnn.formats.hierarchical_tucker import HierarchicalTucker
from ttrnn.formats.kronecker_cp import KroneckerCP
from ttrnn.formats.tensor_ring import TensorRing
from ttrnn.formats.tensor_train import TensorTrain
from ttrnn.formats.tucker import Tucker, Tucker2

FORMATS: dict[str, type[MatrixFormat]] = {
    kind.name: kind
    for kind in (
        TensorTrain,
        TensorRing,
        BlockTerm,
        Tucker,
        Tucker2,
        CP,
        KroneckerCP,
        HierarchicalTucker,
        DenseMatrix,
    )
}
"""The formats by their short names."""


def format_class(name: str) -> type[MatrixFormat]:
    """Look up a format by its short name.

    Raises:
        ValueError: for a name that no format has.
    """
    if name not in FORMATS:
        raise ValueError(f"A format must be one of {', '.join(FORMATS)}. Received {name!r}.")
    return FORMATS[name]


def make_format(
    name: str,
    input_modes: Sequence[int],
    output_modes: Sequence[int],
    ranks: int | Sequence[int],
    **options: Any,
) -> MatrixFormat:
    """Make a format by its short name.

    Args:
        name: "tt", "tr", "bt", "tucker", "tucker2", "cp", "kcp", "ht" or "dense".
        input_modes, output_modes: modes of the matrix.
        ranks: one integer, or those of the format's class.
        **options: further arguments of the class, such as `blocks`.

    Raises:
        ValueError: for an unknown name, or modes and ranks that do not fit each other.

    Example:
        >>> make_format("tr", (16, 16), (8, 8), 3).num_params
        2304
    """
    kind: Any = format_class(name)
    return kind(input_modes, output_modes, ranks, **options)


def as_format(
    given: MatrixFormat | dict | None,
    name: str,
    output_size: int | None = None,
    input_size: int | None = None,
) -> MatrixFormat | None:
    """Return a format that was given as itself or as Keras serializes it; None for a dense matrix.

    Args:
        given: the argument.
        name: its name, for messages.
        output_size, input_size: sizes that it must have; None for any.

    Raises:
        ValueError: if it is anything else, or of another size.
    """
    if isinstance(given, dict):
        given = keras.saving.deserialize_keras_object(given)
    if given is None:
        return None
    if not isinstance(given, MatrixFormat):
        raise ValueError(
            f"{name} must be a format such as ttrnn.TensorRing(...), or None for a dense matrix. "
            f"Received {given!r}; ttrnn.make_format(name, ...) makes one by its name."
        )
    for side, wanted, found in (
        ("output", output_size, given.output_size),
        ("input", input_size, given.input_size),
    ):
        if wanted not in (None, found):
            raise ValueError(
                f"The {side}_modes of {name} must multiply to the {wanted} units, without gates, "
                f"which the layer adds. Received {found}; choose modes such as "
                f"{factorize(wanted, 2)}."
            )
    return given
