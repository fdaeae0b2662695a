"""Dense layers whose kernel is a tensor network."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from ttrnn import activations as _activations  # noqa: F401  (registers keras2_hard_sigmoid)
from ttrnn.engine.contraction import (
    DEFAULT_MAX_ACTIVATION_BYTES,
    Plan,
    chains_matmul,
    core_shapes_of,
    full_matrix,
    plan,
)
from ttrnn.engine.exporting import is_exporting
from ttrnn.formats.base import Compression, MatrixFormat, factorize
from ttrnn.formats.dense import DenseMatrix
from ttrnn.formats.registry import as_format
from ttrnn.formats.tensor_train import TTShape, tt_svd
from ttrnn.initializers import add_cores

if keras.backend.backend() == "tensorflow":
    from ttrnn.engine.projection import project_chains

# Largest number of modes that `from_dense` chooses: more need larger ranks for the same error.
_MAX_MODES = 4


@keras.saving.register_keras_serializable(package="ttrnn")
class TensorDense(keras.layers.Layer):
    """Dense layer whose kernel may be a tensor network: y = activation(x W + b).

    Args:
        units: number of outputs.
        kernel_format: format of the kernel, such as `ttrnn.TensorRing(...)`, whose output size is
            `units`; None for a dense kernel.
        activation: as in `keras.layers.Dense`.
        use_bias: whether to add a bias of shape (units,).
        kernel_initializer: initializer of the FULL kernel; cores are drawn so that the full kernel
            has the variance that this initializer gives (`ttrnn.initializers`).
        bias_initializer, bias_regularizer, bias_constraint: as in `keras.layers.Dense`.
        kernel_regularizer, kernel_constraint: applied to each core.

    Input shape:
        (batch, ..., features).

    Output shape:
        (batch, ..., units).

    Raises:
        ValueError: if the format does not fit the units or the number of features.

    Example:
        >>> TensorDense(64, CP((16, 16), (8, 8), 5))(keras.ops.zeros((2, 256))).shape
        (2, 64)

    Reference: Novikov et al., "Tensorizing Neural Networks", NIPS 2015, arXiv 1509.06569;
    `docs/formats.md` names the papers of each format.
    """

    def __init__(
        self,
        units: int,
        kernel_format: MatrixFormat | dict | None = None,
        *,
        activation=None,
        use_bias: bool = True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_format = as_format(kernel_format, "kernel_format", units)
        self.units = units
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec(min_ndim=2)

    def build(self, input_shape) -> None:
        # A dense kernel's size follows from the features only.
        self._format = self.kernel_format or DenseMatrix((input_shape[-1],), (self.units,))
        self._format.check_input_size(input_shape[-1])
        self.cores = add_cores(self, self._format)
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(self.units,),
                name="bias",
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.built = True

    @property
    def num_kernel_params(self) -> int:
        """Number of weights in the kernel alone."""
        return (self.kernel_format or self._format).num_params

    @property
    def compression(self) -> Compression:
        """Weights of the dense equivalent over this layer's, for the kernel and the whole layer."""
        shape = self.kernel_format or self._format
        return shape.compression(self.units if self.use_bias else 0)

    def full_kernel(self):
        """Compute the dense (features, units) kernel that the cores stand for."""
        return full_matrix(self._format.chains(self.cores))

    def plans(self, rows: int | None = None) -> list[Plan]:
        """Plans of the product with the kernel, one for each chain that it is the sum of.

        Args:
            rows: number of vectors; None for any.
        """
        chains = self._format.chains(self.cores)
        return [plan(core_shapes_of(chain), rows, self.compute_dtype) for chain in chains]

    def call(self, inputs):
        self._format.check_input_size(inputs.shape[-1])
        outputs = chains_product(inputs, self._format.chains(self.cores), self.compute_dtype)
        if self.bias is not None:
            outputs = outputs + self.bias
        return self.activation(outputs)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict:
        return super().get_config() | {
            "units": self.units,
            "kernel_format": keras.saving.serialize_keras_object(self.kernel_format),
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
        }


@keras.saving.register_keras_serializable(package="ttrnn")
class TTDense(TensorDense):
    """Dense layer with a tensor-train kernel: y = activation(x W + b).

    Args:
        tt_input_shape: input modes m_1..m_d; their product is the number of features.
        tt_output_shape: output modes n_1..n_d; their product is the number of units.
        tt_ranks: one integer for every inner rank, or r_0..r_d with ones at both ends.
        activation: as in `keras.layers.Dense`.
        use_bias: whether to add a bias of shape (units,).
        kernel_initializer: initializer of the FULL kernel; the cores are drawn so that the full
            kernel has the variance that this initializer gives (`ttrnn.initializers`).
        bias_initializer, bias_regularizer, bias_constraint: as in `keras.layers.Dense`.
        kernel_regularizer, kernel_constraint: applied to each core.

    Input shape:
        (batch, ..., prod(tt_input_shape)).

    Output shape:
        (batch, ..., prod(tt_output_shape)).

    Raises:
        ValueError: if modes and ranks do not fit each other or the number of features.

    Example:
        >>> TTDense((4, 8, 8), (4, 4, 4), 3)(keras.ops.zeros((2, 256))).shape
        (2, 64)

    Reference: Novikov et al., "Tensorizing Neural Networks", NIPS 2015, arXiv 1509.06569,
    equation 5.
    """

    def __init__(
        self,
        tt_input_shape: Sequence[int],
        tt_output_shape: Sequence[int],
        tt_ranks: int | Sequence[int],
        **kwargs,
    ) -> None:
        shape = TTShape(tt_input_shape, tt_output_shape, tt_ranks)
        super().__init__(shape.output_size, shape, **kwargs)
        self.tt_shape = shape
        # An integer stays one, so that get_config returns what the constructor was given.
        self.tt_ranks = tt_ranks if isinstance(tt_ranks, int) else shape.ranks

    @property
    def num_tt_params(self) -> int:
        """Number of weights in the tensor-train kernel alone."""
        return self.num_kernel_params

    @classmethod
    def from_dense(
        cls,
        layer: keras.layers.Dense,
        tt_ranks: int | Sequence[int] | None = None,
        *,
        relative_error: float | None = None,
        tt_input_shape: Sequence[int] | None = None,
        tt_output_shape: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> TTDense:
        """Compress a trained dense layer by TT-SVD; its bias and activation stay as they are.

        The result approximates `layer`; train it further to regain accuracy. A warning is given if
        it has more weights than `layer`.

        Args:
            layer: a built `keras.layers.Dense`. It is not changed.
            tt_ranks: largest ranks, one integer for every inner rank or r_0..r_d with ones at both
                ends.
            relative_error: choose the smallest ranks for which the kernel's Frobenius error is at
                most this fraction of its norm. If `tt_ranks` is given too, no rank exceeds it.
            tt_input_shape: input modes; their product is the number of features. By default up to
                four modes of similar size (`ttrnn.factorize`).
            tt_output_shape: output modes; their product is the number of units. By default as many
                as input modes.
            **kwargs: arguments of TTDense that replace those taken from `layer`. Regularizer and
                constraint of the dense kernel are not taken, for TTDense applies them to each core.

        Returns:
            A built TTDense. Its `tt_ranks` are the ranks found, at most those asked for.

        Raises:
            ValueError: if `layer` is not a built dense layer of floats, its kernel is not finite,
                or neither ranks nor an error are given.

        Example:
            >>> dense = keras.layers.Dense(64, activation="relu")
            >>> dense.build((None, 256))
            >>> TTDense.from_dense(dense, 8, tt_input_shape=(16, 16)).tt_ranks
            (1, 8, 1)

        Reference: Oseledets, SIAM J. Sci. Comput. 33(5), 2011, algorithm 1.
        """
        if not isinstance(layer, keras.layers.Dense) or not layer.built:
            raise ValueError(
                f"from_dense needs a built keras.layers.Dense. Received {layer!r}; call "
                "layer.build((None, num_features)) first, or take the layer out of its model."
            )
        # A quantized layer keeps integers and a scale where a plain one keeps its kernel.
        if layer.quantization_mode is not None:
            raise ValueError(
                "from_dense needs a kernel of floats. Received a layer quantized to "
                f"{layer.quantization_mode}; compress it before quantize()."
            )
        if tt_ranks is None and relative_error is None:
            raise ValueError("Give tt_ranks or relative_error: how far is the layer to shrink?")
        # The likely slip: an error given in the place of the ranks.
        if isinstance(tt_ranks, float):
            raise ValueError(
                f"tt_ranks must be integers. Received {tt_ranks}; for a largest error give "
                f"relative_error={tt_ranks}."
            )
        kernel = ops.convert_to_numpy(layer.kernel)
        modes = balanced_modes(kernel.shape, tt_input_shape, tt_output_shape)
        cores = tt_svd(kernel, *modes, tt_ranks=tt_ranks, relative_error=relative_error)
        options = {
            "activation": layer.activation,
            "use_bias": layer.use_bias,
            "bias_initializer": layer.bias_initializer,
            "bias_regularizer": layer.bias_regularizer,
            "bias_constraint": layer.bias_constraint,
            "activity_regularizer": layer.activity_regularizer,
            "dtype": layer.dtype_policy,
            "trainable": layer.trainable,
        }
        compressed = cls(*modes, (1, *(core.shape[3] for core in cores)), **(options | kwargs))
        # Building draws initial cores, which the decomposition then replaces.
        compressed.build((None, len(kernel)))
        for variable, core in zip(compressed.cores, cores, strict=True):
            variable.assign(core)
        # `kwargs` may have added or removed the bias.
        if compressed.bias is not None and layer.bias is not None:
            compressed.bias.assign(layer.bias)
        if compressed.num_tt_params > kernel.size:
            warnings.warn(
                f"The tensor train has more weights than the kernel of {layer.name}: "
                f"{compressed.num_tt_params:,} at ranks {compressed.tt_ranks}, in place of "
                f"{kernel.size:,}. Give smaller tt_ranks, a larger relative_error, or other modes.",
                stacklevel=2,
            )
        return compressed

    def get_config(self) -> dict:
        config = super().get_config()
        for name in ("units", "kernel_format"):
            del config[name]
        return config | {
            "tt_input_shape": self.tt_shape.input_modes,
            "tt_output_shape": self.tt_shape.output_modes,
            "tt_ranks": self.tt_ranks,
        }


def balanced_modes(
    kernel_shape: tuple[int, ...],
    input_modes: Sequence[int] | None,
    output_modes: Sequence[int] | None,
) -> tuple[Sequence[int], Sequence[int]]:
    """Choose the modes of a dense kernel; missing ones are factored to as many as the others.

    Args:
        kernel_shape: (features, units).
        input_modes, output_modes: modes that were given, or None.
    """
    features, units = kernel_shape
    given = output_modes if input_modes is None else input_modes
    if given is not None:
        number = len(given)
    else:
        # The largest number of modes for which both sides factor without a mode of 1; a prime side
        # leaves two modes, one of them 1.
        number = next(
            (
                number
                for number in range(_MAX_MODES, 2, -1)
                if 1 not in factorize(features, number) + factorize(units, number)
            ),
            2,
        )
    return (
        factorize(features, number) if input_modes is None else input_modes,
        factorize(units, number) if output_modes is None else output_modes,
    )


def chains_product(
    inputs,
    chains: Sequence[Sequence],
    dtype: str,
    max_activation_bytes: int = DEFAULT_MAX_ACTIVATION_BYTES,
):
    """Multiply (..., M) by the kernel that chains of cores sum to, in chunks on TensorFlow.

    Other backends, and graphs that are exported, use `ttrnn.engine.contraction.chains_matmul`.

    Args:
        inputs: tensor of shape (..., M).
        chains: chains of cores, in float32 or wider.
        dtype: dtype of the computation.
        max_activation_bytes: see `ttrnn.engine.projection.project`.

    Returns:
        Tensor of shape (..., N) in `dtype`.
    """
    if keras.backend.backend() != "tensorflow" or is_exporting():
        return chains_matmul(ops.cast(inputs, dtype), chains, dtype)
    # `project_chains` takes a matrix: (..., M) to (rows, M) and back.
    lead, features = ops.shape(inputs)[:-1], inputs.shape[-1]
    product = project_chains(
        ops.reshape(ops.convert_to_tensor(inputs), (-1, features)),
        chains,
        dtype=dtype,
        max_activation_bytes=max_activation_bytes,
    )
    return ops.reshape(product, (*lead, product.shape[-1]))
