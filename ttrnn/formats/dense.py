"""The dense matrix as a format: one core, which is the matrix itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import keras
from keras import ops

from ttrnn.formats.base import MatrixFormat


@keras.saving.register_keras_serializable(package="ttrnn")
@dataclass(frozen=True, init=False)
class DenseMatrix(MatrixFormat):
    """A dense matrix, the default of the layers that take formats.

    Args:
        input_modes, output_modes: modes, whose products are the sizes M and N.
        ranks: unused; there are none.

    Example:
        >>> DenseMatrix((57600,), (256,)).num_params
        14745600
    """

    name: ClassVar[str] = "dense"

    def __init__(
        self, input_modes: Sequence[int], output_modes: Sequence[int], ranks: Sequence[int] = ()
    ) -> None:
        self._set(input_modes, output_modes, ranks=())

    @property
    def legs(self) -> tuple[tuple[str, ...], ...]:
        return (("i", "j"),)

    @property
    def bonds(self) -> dict[str, int]:
        return {}

    def _leg_sizes(self) -> dict[str, int]:
        return {"i": self.input_size, "j": self.output_size}

    def _digits(self, kind: str) -> list[str]:
        return [kind]

    def chains(self, cores: Sequence) -> list[list]:
        return [[ops.reshape(cores[0], (1, self.input_size, self.output_size, 1))]]

    @classmethod
    def _decompose(cls, matrix, modes, ranks, relative_error, options):
        return cls(*modes), [matrix]
