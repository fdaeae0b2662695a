"""Initial values of the cores of any format, derived from the initializer of the full kernel.

An entry of the full kernel is a sum over paths, one for each value of all bonds, of a product of
one entry of each core. With independent core entries of mean zero its variance is

    Var(W) = (number of paths) * prod_k Var(core_k)

where the number of paths is prod(r_1..r_{d-1}) for a tensor train. So each of d cores gets the
variance (Var(W) / paths) ** (1 / d): the full kernel then has the variance asked for, whatever the
format and its ranks. A dense matrix is drawn by its initializer itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
from keras import initializers

from ttrnn.formats.base import MatrixFormat
from ttrnn.formats.dense import DenseMatrix

__all__ = ["Keras2FlatGlorotUniform", "add_cores", "core_initializers", "kernel_variance"]


@keras.saving.register_keras_serializable(package="ttrnn")
class Keras2FlatGlorotUniform(initializers.Initializer):
    """Glorot uniform on ONE flat vector of all cores, as the published code had it in Keras 2.

    Every core entry is uniform in [-limit, limit] with

        limit = sqrt(3 / sqrt(L)),  L = sum of m_k n_k r_k r_{k+1}

    because Keras 2 takes both fans of a vector of L weights as sqrt(L). Keras 3 takes L and draws
    cores that are far too small (for the UCF11 TT-GRU a full kernel of standard deviation 7.7e-7
    instead of 2.5e-3).

    Args:
        seed: integer, or None for a seed drawn from Keras's global generator.

    Example:
        >>> layer = TTGRU(
        ...     (8, 20, 20, 18), (4, 4, 4, 4), 4, kernel_initializer=Keras2FlatGlorotUniform()
        ... )

    Reference: Yang, Krompass, Tresp, ICML 2017, arXiv 1707.01786; code Tuyki/TT_RNN.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed

    def core_initializers(
        self, core_shapes: Sequence[tuple[int, ...]]
    ) -> list[initializers.Initializer]:
        """Build one uniform initializer per core, all with the limit of the flat vector."""
        length = sum(math.prod(shape) for shape in core_shapes)
        limit = math.sqrt(3.0 / math.sqrt(length))
        return [
            initializers.RandomUniform(-limit, limit, seed=_seed_of_core(self.seed, k))
            for k in range(len(core_shapes))
        ]

    def get_config(self) -> dict:
        return {"seed": self.seed}


def add_cores(layer: keras.layers.Layer, shape: MatrixFormat, kind: str = "kernel") -> list:
    """Add one weight per core to `layer`, with the kernel's regularizer and constraint.

    Args:
        layer: a layer with `kernel_initializer`, `kernel_regularizer` and `kernel_constraint`, or
            those of another kind.
        shape: format of the kernel, gates included.
        kind: "kernel" or "recurrent", whose initializer, regularizer and constraint are taken.

    Returns:
        Variables of `shape.core_shapes`.
    """
    prefix = "core" if kind == "kernel" else f"{kind}_core"
    drawn = core_initializers(getattr(layer, f"{kind}_initializer"), shape)
    return [
        layer.add_weight(
            shape=core_shape,
            name=f"{prefix}_{k}",
            initializer=initializer,
            regularizer=getattr(layer, f"{kind}_regularizer"),
            constraint=getattr(layer, f"{kind}_constraint"),
            # Cores are merged in their own dtype and cast once: fewer roundings in bfloat16.
            autocast=False,
        )
        for k, (core_shape, initializer) in enumerate(zip(shape.core_shapes, drawn, strict=True))
    ]


def core_initializers(
    kernel_initializer: initializers.Initializer, shape: MatrixFormat
) -> list[initializers.Initializer]:
    """Build one initializer per core that give the full kernel the variance asked for.

    Args:
        kernel_initializer: any of Keras's variance-scaling (Glorot, He, LeCun), normal, uniform or
            orthogonal initializers, or an object with a `core_initializers` method of its own.
        shape: format of the kernel.

    Raises:
        ValueError: if the initializer has no known variance (a constant, for example).
    """
    if isinstance(shape, DenseMatrix):
        return [kernel_initializer]
    core_shapes = shape.core_shapes
    if hasattr(kernel_initializer, "core_initializers"):
        return kernel_initializer.core_initializers(core_shapes)
    variance = kernel_variance(kernel_initializer, shape.input_size, shape.output_size)
    # (Var(W) / paths) ** (1 / d) of the module's docstring, as a standard deviation.
    stddev = (variance / shape.num_paths) ** (0.5 / len(core_shapes))
    seed = getattr(kernel_initializer, "seed", None)
    return [
        initializers.RandomNormal(0.0, stddev, seed=_seed_of_core(seed, k))
        for k in range(len(core_shapes))
    ]


def kernel_variance(
    initializer: initializers.Initializer, input_size: int, output_size: int
) -> float:
    """Variance of an entry of the (input_size, output_size) kernel that `initializer` draws."""
    if isinstance(initializer, initializers.VarianceScaling):
        fans = {
            "fan_in": input_size,
            "fan_out": output_size,
            "fan_avg": (input_size + output_size) / 2,
        }
        return initializer.scale / fans[initializer.mode]
    # The smaller side's vectors are orthonormal, so each entry has 1 / max(M, N) on average.
    if isinstance(initializer, initializers.OrthogonalInitializer):
        return initializer.gain**2 / max(input_size, output_size)
    if isinstance(initializer, initializers.TruncatedNormal) and initializer.mean == 0:
        # Variance of a standard normal that is cut off at two standard deviations.
        return 0.77374130 * initializer.stddev**2
    if isinstance(initializer, initializers.RandomNormal) and initializer.mean == 0:
        return initializer.stddev**2
    if isinstance(initializer, initializers.RandomUniform):
        low, high = initializer.minval, initializer.maxval
        if low == -high:
            return high**2 / 3
    raise ValueError(
        "kernel_initializer must draw a kernel of mean zero and known variance, from which the "
        f"cores' follows. Received {initializer!r}; use glorot_uniform, he_normal, "
        "RandomNormal(stddev=...) or the like, or assign the cores after build."
    )


def _seed_of_core(seed: int | None, index: int) -> int | None:
    """Seed of one core: the same seed for all would make cores of one shape equal."""
    return seed + index if isinstance(seed, int) else None
