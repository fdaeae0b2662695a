"""A dense layer whose kernel is a tensor train."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from ttrnn import activations as _activations  # noqa: F401  (registers keras2_hard_sigmoid)
from ttrnn.kernel import add_cores, full_kernel, tt_product
from ttrnn.tensor_train import Compression, TTShape


@keras.saving.register_keras_serializable(package="ttrnn")
class TTDense(keras.layers.Layer):
    """Dense layer with a tensor-train kernel: y = activation(x W + b).

    Args:
        tt_input_shape: input modes m_1..m_d; their product is the number of features.
        tt_output_shape: output modes n_1..n_d; their product is the number of units.
        tt_ranks: one integer for every inner rank, or r_0..r_d with ones at both ends.
        activation: as in `keras.layers.Dense`.
        use_bias: whether to add a bias of shape (units,).
        kernel_initializer: what the FULL kernel should look like; the cores are drawn so that it
            has the variance this initializer would give it (`ttrnn.initializers`).
        bias_initializer, bias_regularizer, bias_constraint: as in `keras.layers.Dense`.
        kernel_regularizer, kernel_constraint: applied to each core.

    Input shape:
        (..., prod(tt_input_shape)).

    Output shape:
        (..., prod(tt_output_shape)).

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
        self.tt_shape = TTShape(tt_input_shape, tt_output_shape, tt_ranks)
        self.tt_ranks = tt_ranks if isinstance(tt_ranks, int) else self.tt_shape.ranks
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.supports_masking = True

    @property
    def units(self) -> int:
        """Number of outputs: the product of the output modes."""
        return self.tt_shape.output_size

    @property
    def num_tt_params(self) -> int:
        """Weights in the tensor-train kernel alone."""
        return self.tt_shape.num_params

    @property
    def compression(self) -> Compression:
        """How many times fewer weights than the dense layer: of the kernel and of the whole."""
        return self.tt_shape.compression(self.units if self.use_bias else 0)

    def build(self, input_shape) -> None:
        self.tt_shape.check_input_size(input_shape[-1])
        self.cores = add_cores(self, self.tt_shape)
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

    def full_kernel(self):
        """The dense (features, units) kernel that the cores stand for."""
        return full_kernel(self.cores)

    def call(self, inputs):
        self.tt_shape.check_input_size(inputs.shape[-1])
        outputs = tt_product(inputs, self.cores, self.compute_dtype)
        if self.bias is not None:
            outputs = outputs + self.bias
        return self.activation(outputs)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict:
        return super().get_config() | {
            "tt_input_shape": self.tt_shape.input_modes,
            "tt_output_shape": self.tt_shape.output_modes,
            "tt_ranks": self.tt_ranks,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
        }
