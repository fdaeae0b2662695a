"""Recurrent cells whose matrices are tensor networks.

A cell is Keras's own cell (its activations, initializers, regularizers, constraints, dropout and
seed) with the dense input kernel, and the recurrent matrix where asked for, replaced by the cores
of a format (`ttrnn.formats`). Every cell has two parts: `project` multiplies the input by the
kernel and adds the bias, which needs no time loop and is done for all steps at once;
`step_function` is the recurrent part that remains inside the loop.

The gates multiply the FIRST output mode, so gate g of a projected input is the contiguous slice
[g * units, (g + 1) * units).

Reference: Yang, Krompass, Tresp, "Tensor-Train Recurrent Neural Networks for Video
Classification", ICML 2017, arXiv 1707.01786, equations 12 to 17.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import keras
from keras import ops

from ttrnn import activations as _activations  # noqa: F401  (registers keras2_hard_sigmoid)
from ttrnn.engine.contraction import chains_matmul, full_matrix
from ttrnn.formats.base import Compression, MatrixFormat, factorize
from ttrnn.formats.dense import DenseMatrix
from ttrnn.formats.registry import as_format
from ttrnn.formats.tensor_train import TTShape
from ttrnn.initializers import add_cores
from ttrnn.shapes import check_states

_TT_ARGUMENTS = """
    Args:
        tt_input_shape: input modes m_1..m_d; their product is the number of features.
        tt_output_shape: output modes n_1..n_d; their product is the number of units.
        tt_ranks: one integer for every inner rank, or r_0..r_d with ones at both ends.
        kernel_initializer: initializer of the FULL input kernel; the cores are drawn so that the
            full kernel has the variance that this initializer gives (`ttrnn.initializers`).
        kernel_regularizer, kernel_constraint: applied to each core.
        **kwargs: every other argument of `keras.layers.{keras_cell}`: {others}.

    Input shape:
        One step, (batch, prod(tt_input_shape)), and the states, each (batch, units).

    Output shape:
        The output (batch, units) and the new states, each (batch, units).

    Raises:
        ValueError: if modes and ranks do not fit each other or the number of features, or the
            inputs are not one step.

    Example:
        >>> rnn = keras.layers.RNN({cell}((8, 20, 20, 18), (4, 4, 4, 4), 4))
        >>> rnn(keras.ops.zeros((2, 7, 57600))).shape
        (2, 256)

    Reference: Yang, Krompass, Tresp, ICML 2017, arXiv 1707.01786, equations 12 to 17.
"""
_TENSOR_ARGUMENTS = """
    Args:
        units: size of the state.
        kernel_format: format of the input kernel without gates, of output size `units`, such as
            `ttrnn.TensorRing(...)`; None for a dense kernel.
        recurrent_format: format of the recurrent matrix without gates, of input and output size
            `units`; None for a dense matrix.
        joint_format: in place of both, format of the matrix of [x, h] without gates, of input size
            features + `units`; the kernel's initializer draws it.
        kernel_initializer, recurrent_initializer: initializers of the FULL matrices; cores are
            drawn so that these have the variance that the initializer gives
            (`ttrnn.initializers`).
        kernel_regularizer, kernel_constraint, recurrent_regularizer, recurrent_constraint: applied
            to each core.
        **kwargs: every other argument of `keras.layers.{keras_cell}`: {others}.

    Input shape:
        One step, (batch, features), and the states, each (batch, units).

    Output shape:
        The output (batch, units) and the new states, each (batch, units).

    Raises:
        ValueError: if a format does not fit the units or the number of features, or the inputs are
            not one step.

    Example:
        >>> rnn = keras.layers.RNN({cell}(256, kernel_format=CP((120, 480), (16, 16), 8)))
        >>> rnn(keras.ops.zeros((2, 7, 57600))).shape
        (2, 256)

    Reference: `docs/formats.md` names the papers of each format.
"""
_COMMON = (
    "activation, use_bias, bias_initializer, bias_regularizer, bias_constraint, dropout, "
    "recurrent_dropout, seed"
)
_TT_COMMON = (
    "activation, use_bias, recurrent_initializer, bias_initializer, recurrent_regularizer, "
    "bias_regularizer, recurrent_constraint, bias_constraint, dropout, recurrent_dropout, seed"
)


# `_TensorCell` is mixed in before a Keras cell and uses its attributes. Type checkers get Any as
# base class, so that they do not miss those; at run time there must be none between it and the
# cell.
if TYPE_CHECKING:
    _KerasCell: TypeAlias = Any
else:
    _KerasCell = object


class _TensorCell(_KerasCell):
    """Common base of the cells, mixed in before the Keras cell that it completes."""

    num_gates = 1
    # Name of the class in `ttrnn.engine.recurrence` that computes the same as `step_function`.
    recurrence: ClassVar[str | None] = None
    # Arguments of the Keras cell that the equations fix, so that users cannot give them.
    _fixed_arguments: ClassVar[dict] = {}

    def __init__(
        self,
        units: int,
        *,
        kernel_format: MatrixFormat | dict | None = None,
        recurrent_format: MatrixFormat | dict | None = None,
        joint_format: MatrixFormat | dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(units, **self._fixed_arguments, **kwargs)
        self.kernel_format = as_format(kernel_format, "kernel_format", units)
        self.recurrent_format = as_format(recurrent_format, "recurrent_format", units, units)
        self.joint_format = as_format(joint_format, "joint_format", units)
        if None not in (self.joint_format, self.kernel_format or self.recurrent_format):
            raise ValueError(
                "joint_format is that of both matrices in one. Received kernel_format or "
                "recurrent_format, too; leave it or them out."
            )
        # Those of the whole matrices, gates included; a dense kernel's waits for the features.
        self.gated_kernel_format = self._with_gates(self.kernel_format)
        self.gated_recurrent_format = self._with_gates(self.recurrent_format)
        self.gated_joint_format = self._with_gates(self.joint_format)
        # Keras draws one mask per gate by default; the paper's code shares one among the gates.
        self.dropout_mask_count = None

    def _with_gates(self, given: MatrixFormat | None) -> MatrixFormat | None:
        return None if given is None else given.with_gates(self.num_gates)

    def build(self, input_shape) -> None:
        # Keras's own build, which would add the dense input kernel, is not called.
        if self.gated_kernel_format is None:
            self.gated_kernel_format = DenseMatrix(
                (input_shape[-1],), (self.num_gates * self.units,)
            )
        self.gated_kernel_format.check_input_size(input_shape[-1])
        if self.gated_joint_format is not None:
            rows = input_shape[-1] + self.units
            if self.gated_joint_format.input_size != rows:
                raise ValueError(
                    f"The input_modes of joint_format must multiply to {rows}, for "
                    f"{input_shape[-1]} features and {self.units} units. Received "
                    f"{self.gated_joint_format.input_modes}; choose modes such as "
                    f"{factorize(rows, len(self.gated_joint_format.input_modes))}."
                )
        self.cores = add_cores(self, self.gated_joint_format or self.gated_kernel_format)
        if self.gated_recurrent_format is not None:
            self.recurrent_cores = add_cores(self, self.gated_recurrent_format, "recurrent")
        # The last rows of a joint matrix are the recurrent one.
        elif self.gated_joint_format is None:
            self.recurrent_kernel = self.add_weight(
                shape=(self.units, self.num_gates * self.units),
                name="recurrent_kernel",
                initializer=self.recurrent_initializer,
                regularizer=self.recurrent_regularizer,
                constraint=self.recurrent_constraint,
            )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(self.num_gates * self.units,),
                name="bias",
                initializer=self._draw_bias,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.built = True

    def _draw_bias(self, shape, dtype=None):
        """Initial bias, (gates * units,); the LSTM's forget gate may differ."""
        return self.bias_initializer(shape, dtype=dtype)

    @property
    def num_kernel_params(self) -> int:
        """Number of weights in the input kernel alone, or in the joint matrix."""
        return (self.gated_joint_format or self._built_kernel_format()).num_params

    def _built_kernel_format(self) -> MatrixFormat:
        if self.gated_kernel_format is None:
            raise ValueError(
                "The size of a dense kernel must be known. Received a layer that is not built; "
                "call build() first."
            )
        return self.gated_kernel_format

    @property
    def compression(self) -> Compression:
        """Weights of the dense equivalent over this cell's, for the kernel and the whole cell."""
        kernel, gates = self._built_kernel_format(), self.num_gates * self.units
        dense, dense_recurrent = kernel.input_size * gates, self.units * gates
        bias = gates if self.use_bias else 0
        if self.gated_joint_format is not None:
            both, joint = dense + dense_recurrent, self.gated_joint_format.num_params
            return Compression(kernel=both / joint, layer=(both + bias) / (joint + bias))
        recurrent = dense_recurrent
        if self.gated_recurrent_format is not None:
            recurrent = self.gated_recurrent_format.num_params
        return Compression(
            kernel=dense / kernel.num_params,
            layer=(dense + dense_recurrent + bias) / (kernel.num_params + recurrent + bias),
        )

    def kernel_chains(self) -> list[list]:
        """Input kernel as chains of cores, for products (`MatrixFormat.chains`)."""
        kernel, joint = self._built_kernel_format(), self.gated_joint_format
        if joint is None:
            return kernel.chains(self.cores)
        # The digits of a row run over features and states alike: no core is of one side alone.
        return kernel.chains([full_matrix(joint.chains(self.cores))[: kernel.input_size]])

    def recurrent_chains(self) -> list[list] | None:
        """Recurrent matrix as chains of cores, or None where it is dense."""
        if self.gated_recurrent_format is None:
            return None
        return self.gated_recurrent_format.chains(self.recurrent_cores)

    def full_kernel(self):
        """Compute the dense (features, gates * units) input kernel that the cores stand for."""
        return full_matrix(self.kernel_chains())

    def full_recurrent_kernel(self):
        """Compute the dense (units, gates * units) recurrent matrix."""
        if self.gated_joint_format is not None:
            return full_matrix(self.gated_joint_format.chains(self.cores))[-self.units :]
        chains = self.recurrent_chains()
        return self.recurrent_kernel if chains is None else full_matrix(chains)

    def project(self, inputs, *, training: bool = False):
        """Multiply the input by the kernel and add the bias, for one step or all steps.

        Args:
            inputs: (batch, features) or (batch, time, features).
            training: apply input dropout, with one mask per sequence, fixed over time.

        Returns:
            (batch, gates * units) or (batch, time, gates * units).
        """
        self._built_kernel_format().check_input_size(inputs.shape[-1])
        inputs = ops.cast(inputs, self.compute_dtype)
        if training and self.dropout > 0:
            first = inputs if len(inputs.shape) == 2 else inputs[:, 0]
            mask = self.get_dropout_mask(first)
            inputs = inputs * (mask if len(inputs.shape) == 2 else mask[:, None])
        projected = chains_matmul(inputs, self.kernel_chains(), self.compute_dtype)
        if self.bias is None:
            return projected
        return projected + ops.cast(self.bias, self.compute_dtype)

    def step_function(self, *, training: bool = False) -> Callable:
        """Build the recurrent part of a step, for the time loop.

        Args:
            training: apply recurrent dropout.

        Returns:
            Function of a projected input (batch, gates * units) and a list of states (batch,
            units) to the output (batch, units) and the list of new states.
        """
        raise NotImplementedError

    def call(self, inputs, states, training=False):
        # A Keras cell takes and returns a single state with or without a list around it.
        nested = isinstance(states, (list, tuple))
        if len(inputs.shape) != 2:
            raise ValueError(
                "A cell takes one step, of shape (batch, features). Received inputs of shape "
                f"{tuple(inputs.shape)}; for sequences put the cell into keras.layers.RNN."
            )
        sizes = self.state_size if isinstance(self.state_size, (list, tuple)) else [self.state_size]
        shapes = [state.shape for state in (states if nested else [states])]
        check_states(shapes, sizes, inputs.shape[0], name="states")
        step = self.step_function(training=training)
        output, new_states = step(
            self.project(inputs, training=training), states if nested else [states]
        )
        return output, new_states if nested else new_states[0]

    def _drop_state(self, state, training: bool):
        """Apply recurrent dropout to a state for the products; the carried state stays whole."""
        if not (training and self.recurrent_dropout > 0):
            return state
        return state * self.get_recurrent_dropout_mask(state)

    def get_config(self) -> dict:
        config = super().get_config()
        for name in ("units", *self._fixed_arguments):
            config.pop(name, None)
        serialized = keras.saving.serialize_keras_object
        return config | {
            "units": self.units,
            "kernel_format": serialized(self.kernel_format),
            "recurrent_format": serialized(self.recurrent_format),
            "joint_format": serialized(self.joint_format),
        }


class _TTCell(_TensorCell):
    """Arguments of the cells whose input kernel is a tensor train."""

    def __init__(
        self,
        tt_input_shape: Sequence[int],
        tt_output_shape: Sequence[int],
        tt_ranks: int | Sequence[int],
        **kwargs,
    ) -> None:
        shape = TTShape(tt_input_shape, tt_output_shape, tt_ranks)
        super().__init__(shape.output_size, kernel_format=shape, **kwargs)
        self.tt_input_shape = shape.input_modes
        self.tt_output_shape = shape.output_modes
        # An integer stays one, so that get_config returns what the constructor was given.
        self.tt_ranks = tt_ranks if isinstance(tt_ranks, int) else shape.ranks

    @property
    def tt_shape(self) -> MatrixFormat:
        """Modes and ranks of the kernel, gates included."""
        return self._built_kernel_format()

    @property
    def num_tt_params(self) -> int:
        """Number of weights in the tensor-train kernel alone."""
        return self.num_kernel_params

    def get_config(self) -> dict:
        config = super().get_config()
        # A joint matrix would take the place of the kernel.
        del config["units"], config["kernel_format"], config["joint_format"]
        if self.recurrent_format is None:  # as in files of before there were formats
            del config["recurrent_format"]
        return config | {
            "tt_input_shape": self.tt_input_shape,
            "tt_output_shape": self.tt_output_shape,
            "tt_ranks": self.tt_ranks,
        }


@keras.saving.register_keras_serializable(package="ttrnn")
class TensorSimpleRNNCell(_TensorCell, keras.layers.SimpleRNNCell):
    __doc__ = """Simple recurrent cell whose matrices may be tensor networks.

    h' = activation(x W + b + (h * M) U), where W is the input kernel, U the recurrent matrix, and M
    the recurrent-dropout mask: one (batch, units) mask, fixed over time.
""" + _TENSOR_ARGUMENTS.format(
        keras_cell="SimpleRNNCell", cell="TensorSimpleRNNCell", others=_COMMON
    )

    num_gates = 1
    recurrence = "simple_rnn"

    def step_function(self, *, training: bool = False) -> Callable:
        recurrent_kernel = ops.cast(self.full_recurrent_kernel(), self.compute_dtype)

        def step(projected, states):
            recurrent = ops.matmul(self._drop_state(states[0], training), recurrent_kernel)
            output = self.activation(projected + recurrent)
            return output, [output]

        return step


@keras.saving.register_keras_serializable(package="ttrnn")
class TensorGRUCell(_TensorCell, keras.layers.GRUCell):
    __doc__ = """Gated recurrent cell whose matrices may be tensor networks.

    The reset gate acts before the product:

        z, r = recurrent_activation(x W_zr + b_zr + (h * M) U_zr)
        c    = activation(x W_h + b_h + (r * h * M) U_h)
        h'   = z * h + (1 - z) * c

    in the gate order z, r, h, where W is the input kernel, U the recurrent matrix, and M the
    recurrent-dropout mask: one (batch, units) mask, fixed over time and shared by the gates; the
    carried h is not masked.
    The dense equivalent is `keras.layers.GRUCell(..., reset_after=False)`.
""" + _TENSOR_ARGUMENTS.format(
        keras_cell="GRUCell", cell="TensorGRUCell", others=f"recurrent_activation, {_COMMON}"
    )

    num_gates = 3
    recurrence = "gru"
    _fixed_arguments: ClassVar[dict] = {"reset_after": False}

    def step_function(self, *, training: bool = False) -> Callable:
        units = self.units
        recurrent_kernel = ops.cast(self.full_recurrent_kernel(), self.compute_dtype)
        gates_kernel = recurrent_kernel[:, : 2 * units]
        candidate_kernel = recurrent_kernel[:, 2 * units :]

        def step(projected, states):
            (state,) = states
            dropped = self._drop_state(state, training)
            # Gate order z, r, h: the first two slices are activated in one go. (B, 2 * units)
            gates = self.recurrent_activation(
                projected[:, : 2 * units] + ops.matmul(dropped, gates_kernel)
            )
            update, reset = ops.split(gates, 2, axis=-1)
            # Reset before the product (`reset_after=False`), as in the paper's code.
            candidate = self.activation(
                projected[:, 2 * units :] + ops.matmul(reset * dropped, candidate_kernel)
            )
            output = update * state + (1 - update) * candidate
            return output, [output]

        return step


@keras.saving.register_keras_serializable(package="ttrnn")
class TensorLSTMCell(_TensorCell, keras.layers.LSTMCell):
    __doc__ = """Long short-term memory cell whose matrices may be tensor networks.

        i, f, o = recurrent_activation(x W_ifo + b_ifo + (h * M) U_ifo)
        g       = activation(x W_c + b_c + (h * M) U_c)
        c'      = f * c + i * g
        h'      = o * activation(c')

    in the gate order i, f, c, o, where W is the input kernel, U the recurrent matrix, and M the
    recurrent-dropout mask: one (batch, units) mask, fixed over time and shared by the gates. With
    `unit_forget_bias` the bias starts at [0, 1, 0, 0].
""" + _TENSOR_ARGUMENTS.format(
        keras_cell="LSTMCell",
        cell="TensorLSTMCell",
        others=f"recurrent_activation, unit_forget_bias, {_COMMON}",
    )

    num_gates = 4
    recurrence = "lstm"

    def _draw_bias(self, shape, dtype=None):
        bias = super()._draw_bias(shape, dtype=dtype)
        if not self.unit_forget_bias:
            return bias
        units = self.units
        # Gate order i, f, c, o: the second slice is the forget gate's.
        ones = ops.ones((units,), dtype=bias.dtype)
        return ops.concatenate([bias[:units], ones, bias[2 * units :]])

    def step_function(self, *, training: bool = False) -> Callable:
        units = self.units
        recurrent_kernel = ops.cast(self.full_recurrent_kernel(), self.compute_dtype)

        def step(projected, states):
            state, carry = states
            gates = projected + ops.matmul(self._drop_state(state, training), recurrent_kernel)
            # Gate order i, f, c, o. (B, 4 * units)
            opened = self.recurrent_activation(gates[:, : 2 * units])
            candidate = self.activation(gates[:, 2 * units : 3 * units])
            carry = opened[:, units:] * carry + opened[:, :units] * candidate
            output = self.recurrent_activation(gates[:, 3 * units :]) * self.activation(carry)
            return output, [output, carry]

        return step


@keras.saving.register_keras_serializable(package="ttrnn")
class TTSimpleRNNCell(_TTCell, TensorSimpleRNNCell):
    __doc__ = """Simple recurrent cell with a tensor-train input kernel.

    h' = activation(x W + b + (h * M) U), where W is the tensor train and M the recurrent-dropout
    mask: one (batch, units) mask, fixed over time.
""" + _TT_ARGUMENTS.format(keras_cell="SimpleRNNCell", cell="TTSimpleRNNCell", others=_TT_COMMON)

    recurrence = "simple_rnn"


@keras.saving.register_keras_serializable(package="ttrnn")
class TTGRUCell(_TTCell, TensorGRUCell):
    __doc__ = """Gated recurrent cell with a tensor-train input kernel (reset before the product).

        z, r = recurrent_activation(x W_zr + b_zr + (h * M) U_zr)
        c    = activation(x W_h + b_h + (r * h * M) U_h)
        h'   = z * h + (1 - z) * c

    in the gate order z, r, h, where W is the tensor train and M the recurrent-dropout mask: one
    (batch, units) mask, fixed over time and shared by the gates; the carried h is not masked.
    The dense equivalent is `keras.layers.GRUCell(..., reset_after=False)`.
""" + _TT_ARGUMENTS.format(
        keras_cell="GRUCell", cell="TTGRUCell", others=f"recurrent_activation, {_TT_COMMON}"
    )

    recurrence = "gru"


@keras.saving.register_keras_serializable(package="ttrnn")
class TTLSTMCell(_TTCell, TensorLSTMCell):
    __doc__ = """Long short-term memory cell with a tensor-train input kernel.

        i, f, o = recurrent_activation(x W_ifo + b_ifo + (h * M) U_ifo)
        g       = activation(x W_c + b_c + (h * M) U_c)
        c'      = f * c + i * g
        h'      = o * activation(c')

    in the gate order i, f, c, o, where W is the tensor train and M the recurrent-dropout mask: one
    (batch, units) mask, fixed over time and shared by the gates. With `unit_forget_bias` the bias
    starts at [0, 1, 0, 0].
""" + _TT_ARGUMENTS.format(
        keras_cell="LSTMCell",
        cell="TTLSTMCell",
        others=f"recurrent_activation, unit_forget_bias, {_TT_COMMON}",
    )

    recurrence = "lstm"
