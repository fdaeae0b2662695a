"""Recurrent layers whose matrices are tensor networks.

The inputs of all steps are multiplied by the kernel before the time loop; only the recurrent
part runs inside the loop. The result equals that of `keras.layers.RNN` over the layer's cell.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops, tree

from ttrnn.cells import (
    TensorGRUCell,
    TensorLSTMCell,
    TensorSimpleRNNCell,
    TTGRUCell,
    TTLSTMCell,
    TTSimpleRNNCell,
)
from ttrnn.engine.contraction import DEFAULT_MAX_ACTIVATION_BYTES, Plan, core_shapes_of, plan
from ttrnn.engine.exporting import check_onnx_sequences, is_exporting
from ttrnn.engine.time_loop import exported_time_loop, time_loop
from ttrnn.formats.base import Compression, MatrixFormat
from ttrnn.shapes import check_mask, check_sequences, check_states, full_mask, full_states

if keras.backend.backend() == "tensorflow":
    from ttrnn.engine.compiled import can_run, run_sequences

_TT_ARGUMENTS = """
    Args:
        tt_input_shape: input modes m_1..m_d; their product is the number of features.
        tt_output_shape: output modes n_1..n_d; their product is the number of units.
        tt_ranks: one integer for every inner rank, or r_0..r_d with ones at both ends.
        return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask:
            as in `keras.layers.RNN`.
        max_activation_bytes: on TensorFlow, the largest memory that the product of inputs and
            tensor train keeps for its backward pass; results beyond it are computed again.
        activity_regularizer, name, dtype, trainable: as in any Keras layer.
        **cell_kwargs: every argument of `ttrnn.{cell}`: kernel_initializer,
            recurrent_activation, dropout, recurrent_dropout, seed and so on.

    Input shape:
        (batch, time, prod(tt_input_shape)), with an optional boolean mask (batch, time): a masked
        step carries the state over, so padding at either end changes nothing. A mask (1, time) or
        initial states (1, units) apply to every sequence.

    Output shape:
        (batch, units), or (batch, time, units) with `return_sequences`; with `return_state`
        followed by the final states, each (batch, units).

    Raises:
        ValueError: if modes and ranks do not fit each other or the number of features, or a mask or
            an initial state does not fit the sequences. On TensorFlow InvalidArgumentError where
            the sizes are known only when the graph runs.

    Example:
        >>> layer = {layer}((8, 20, 20, 18), (4, 4, 4, 4), 4, recurrent_dropout=0.25)
        >>> layer(keras.ops.zeros((2, 7, 57600))).shape
        (2, 256)

    Reference: Yang, Krompass, Tresp, ICML 2017, arXiv 1707.01786, section 3.
"""
_TENSOR_ARGUMENTS = """
    Args:
        units: size of the state.
        kernel_format: format of the input kernel without gates, of output size `units`, such as
            `ttrnn.TensorRing(...)`; None for a dense kernel.
        recurrent_format: format of the recurrent matrix without gates, of input and output size
            `units`; None for a dense matrix.
        joint_format: in place of both, format of the matrix of [x, h] without gates, of input size
            features + `units`; the kernel's initializer draws it. It is merged once a batch.
        return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask:
            as in `keras.layers.RNN`.
        max_activation_bytes: on TensorFlow, the largest memory that the product of inputs and
            kernel keeps for its backward pass; results beyond it are computed again.
        activity_regularizer, name, dtype, trainable: as in any Keras layer.
        **cell_kwargs: every argument of `ttrnn.{cell}`: kernel_initializer,
            recurrent_activation, dropout, recurrent_dropout, seed and so on.

    Input shape:
        (batch, time, features), with an optional boolean mask (batch, time): a masked step carries
        the state over, so padding at either end changes nothing. A mask (1, time) or initial states
        (1, units) apply to every sequence.

    Output shape:
        (batch, units), or (batch, time, units) with `return_sequences`; with `return_state`
        followed by the final states, each (batch, units).

    Raises:
        ValueError: if a format does not fit units or features, or a mask or an initial state does
            not fit the sequences. On TensorFlow InvalidArgumentError where the sizes are known only
            when the graph runs.

    Example:
        >>> layer = {layer}(256, kernel_format=CP((120, 480), (16, 16), 8))
        >>> layer(keras.ops.zeros((2, 7, 57600))).shape
        (2, 256)

    Reference: `docs/formats.md` names the papers of each format.
"""


class _ProjectedRNN(keras.layers.RNN):
    """Common base of the layers: a Keras RNN that projects all steps before its loop."""

    cell_class: type

    def __init__(
        self,
        *cell_args,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        max_activation_bytes: int = DEFAULT_MAX_ACTIVATION_BYTES,
        activity_regularizer=None,
        name: str | None = None,
        dtype=None,
        trainable: bool = True,
        **cell_kwargs,
    ) -> None:
        cell = self.cell_class(*cell_args, dtype=dtype, trainable=trainable, **cell_kwargs)
        super().__init__(
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            zero_output_for_mask=zero_output_for_mask,
            activity_regularizer=activity_regularizer,
            name=name,
            dtype=dtype,
            trainable=trainable,
        )
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.max_activation_bytes = max_activation_bytes
        # XLA needs fixed sizes. TensorFlow's fast path packs the valid steps of a batch, whose
        # number is not one; the portable loop of the other backends computes on every step.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    @property
    def is_compiled(self) -> bool:
        """True if the layer runs on TensorFlow's fast path (`ttrnn.engine.compiled`).

        It runs `ttrnn.engine.time_loop` instead on other backends, with `unroll`, during export,
        and with an activation whose derivative is not known to be elementwise.
        """
        if keras.backend.backend() != "tensorflow" or self.unroll or is_exporting():
            return False
        return can_run(self.cell)

    @property
    def units(self) -> int:
        """Size of the state."""
        return self.cell.units

    @property
    def num_kernel_params(self) -> int:
        """Number of weights in the input kernel alone, or in the joint matrix."""
        return self.cell.num_kernel_params

    @property
    def compression(self) -> Compression:
        """Weights of the dense equivalent over this layer's, for the kernel and the whole layer."""
        return self.cell.compression

    def plans(self, rows: int | None = None) -> list[Plan]:
        """Plans of the product with the input kernel, one for each chain that it is the sum of.

        Args:
            rows: number of vectors, batch times steps; None for any.
        """
        dtype = self.cell.compute_dtype
        return [plan(core_shapes_of(chain), rows, dtype) for chain in self.cell.kernel_chains()]

    def compute_output_spec(self, sequences, initial_state=None, mask=None, training=False):
        check_sequences(sequences.shape)
        if mask is not None:
            check_mask(mask.shape, sequences.shape)
        if initial_state is not None:
            shapes = [state.shape for state in tree.flatten(initial_state)]
            check_states(shapes, self.state_size, sequences.shape[0])
        return super().compute_output_spec(
            sequences, initial_state=initial_state, mask=mask, training=training
        )

    def build(self, sequences_shape, initial_state_shape=None) -> None:
        super().build(sequences_shape, initial_state_shape=initial_state_shape)
        # PyTorch's ONNX exporter records one number of steps; `check_onnx_sequences` asks for this.
        self._is_length_fixed = sequences_shape[1] is not None

    def call(self, sequences, initial_state=None, mask=None, training=False):
        check_sequences(sequences.shape)
        check_onnx_sequences(sequences.shape, is_length_fixed=self._is_length_fixed)
        if mask is not None:
            mask = full_mask(mask, sequences)
        if initial_state is not None:
            states = tree.flatten(initial_state)
            initial_state = full_states(states, self.state_size, sequences)
        return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        # The method that `keras.layers.RNN.call` delegates the time loop to. The base class keeps
        # state handling, dropout masks and the shape of the result.
        states = (
            list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        )
        options = {
            "mask": mask,
            "go_backwards": self.go_backwards,
            "zero_output_for_mask": self.zero_output_for_mask,
            "return_all_outputs": self.return_sequences,
        }
        if self.is_compiled:
            return run_sequences(
                self.cell,
                sequences,
                states,
                training=training,
                max_activation_bytes=self.max_activation_bytes,
                **options,
            )
        if self.stateful and keras.backend.backend() == "torch":
            # Keras's `call` then overwrites the old states in place, which backpropagation needs.
            states = [ops.copy(state) for state in states]
        projected = self.cell.project(sequences, training=training)  # (B, T, gates * units)
        return self.run_projected(projected, states, training=training, **options)

    def run_projected(self, projected, states: list, *, training: bool, **options):
        """Run the recurrent part over projected inputs, without the fast path.

        Args:
            projected: what `cell.project` returns of all steps, (batch, time, gates * units).
            states: initial states, (batch, units) each.
            training: apply recurrent dropout.
            **options: mask and options of `ttrnn.engine.time_loop.time_loop`.

        Returns:
            Last output, outputs and final states, as `time_loop` returns them.
        """
        step = self.cell.step_function(training=training)
        if is_exporting() and not self.unroll:
            return exported_time_loop(step, projected, states, **options)
        return time_loop(step, projected, states, unroll=self.unroll, **options)

    def get_config(self) -> dict:
        # Flat, as the constructor takes them: the cell's arguments stand beside the layer's, and
        # where both have one of a name (name, dtype, trainable) the layer's counts.
        config = super().get_config()
        del config["cell"]
        cell_config = self.cell.get_config()
        for name in ("name", "dtype", "trainable"):
            cell_config.pop(name, None)
        regularizer = keras.regularizers.serialize(self.activity_regularizer)
        return (
            cell_config
            | config
            | {
                "activity_regularizer": regularizer,
                "max_activation_bytes": self.max_activation_bytes,
            }
        )

    @classmethod
    def from_config(cls, config: dict) -> _ProjectedRNN:
        return cls(**config)


class _TensorRNN(_ProjectedRNN):
    """Arguments of the layers whose matrices have any formats."""

    def __init__(
        self,
        units: int,
        *,
        kernel_format: MatrixFormat | dict | None = None,
        recurrent_format: MatrixFormat | dict | None = None,
        joint_format: MatrixFormat | dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(
            units,
            kernel_format=kernel_format,
            recurrent_format=recurrent_format,
            joint_format=joint_format,
            **kwargs,
        )


class _TTRNN(_ProjectedRNN):
    """Arguments of the layers whose input kernel is a tensor train."""

    def __init__(
        self,
        tt_input_shape: Sequence[int],
        tt_output_shape: Sequence[int],
        tt_ranks: int | Sequence[int],
        **kwargs,
    ) -> None:
        super().__init__(tt_input_shape, tt_output_shape, tt_ranks, **kwargs)

    @property
    def num_tt_params(self) -> int:
        """Number of weights in the tensor-train kernel alone."""
        return self.num_kernel_params


@keras.saving.register_keras_serializable(package="ttrnn")
class TensorSimpleRNN(_TensorRNN):
    __doc__ = """Simple recurrent layer whose matrices may be tensor networks.

    h_t = activation(x_t W + b + (h_{t-1} * M) U), where W is the input kernel, U the recurrent
    matrix, and M the recurrent-dropout mask; see `ttrnn.TensorSimpleRNNCell`. The dense equivalent
    is `keras.layers.SimpleRNN`.
""" + _TENSOR_ARGUMENTS.format(layer="TensorSimpleRNN", cell="TensorSimpleRNNCell").replace(
        "recurrent_activation, ", ""
    )

    cell_class = TensorSimpleRNNCell


@keras.saving.register_keras_serializable(package="ttrnn")
class TensorGRU(_TensorRNN):
    __doc__ = """Gated recurrent layer whose matrices may be tensor networks.

        z_t, r_t = recurrent_activation(x_t W_zr + b_zr + (h_{t-1} * M) U_zr)
        c_t      = activation(x_t W_h + b_h + (r_t * h_{t-1} * M) U_h)
        h_t      = z_t * h_{t-1} + (1 - z_t) * c_t

    where W is the input kernel, U the recurrent matrix, and M the recurrent-dropout mask; see
    `ttrnn.TensorGRUCell`. The dense equivalent is `keras.layers.GRU(units, reset_after=False)`.
""" + _TENSOR_ARGUMENTS.format(layer="TensorGRU", cell="TensorGRUCell")

    cell_class = TensorGRUCell


@keras.saving.register_keras_serializable(package="ttrnn")
class TensorLSTM(_TensorRNN):
    __doc__ = """Long short-term memory layer whose matrices may be tensor networks.

        i_t, f_t, o_t = recurrent_activation(x_t W_ifo + b_ifo + (h_{t-1} * M) U_ifo)
        g_t           = activation(x_t W_c + b_c + (h_{t-1} * M) U_c)
        c_t           = f_t * c_{t-1} + i_t * g_t
        h_t           = o_t * activation(c_t)

    where W is the input kernel, U the recurrent matrix, and M the recurrent-dropout mask; see
    `ttrnn.TensorLSTMCell`. The dense equivalent is `keras.layers.LSTM`.
""" + _TENSOR_ARGUMENTS.format(layer="TensorLSTM", cell="TensorLSTMCell")

    cell_class = TensorLSTMCell


@keras.saving.register_keras_serializable(package="ttrnn")
class TTSimpleRNN(_TTRNN):
    __doc__ = """Simple recurrent layer with a tensor-train input kernel.

    h_t = activation(x_t W + b + (h_{t-1} * M) U), where W is the tensor train and M the
    recurrent-dropout mask; see `ttrnn.TTSimpleRNNCell`. The dense equivalent is
    `keras.layers.SimpleRNN`.
""" + _TT_ARGUMENTS.format(layer="TTSimpleRNN", cell="TTSimpleRNNCell").replace(
        "recurrent_activation, ", ""
    )

    cell_class = TTSimpleRNNCell


@keras.saving.register_keras_serializable(package="ttrnn")
class TTGRU(_TTRNN):
    __doc__ = """Gated recurrent layer with a tensor-train input kernel.

        z_t, r_t = recurrent_activation(x_t W_zr + b_zr + (h_{t-1} * M) U_zr)
        c_t      = activation(x_t W_h + b_h + (r_t * h_{t-1} * M) U_h)
        h_t      = z_t * h_{t-1} + (1 - z_t) * c_t

    where W is the tensor train and M the recurrent-dropout mask; see `ttrnn.TTGRUCell`. The dense
    equivalent is `keras.layers.GRU(units, reset_after=False)`.
""" + _TT_ARGUMENTS.format(layer="TTGRU", cell="TTGRUCell")

    cell_class = TTGRUCell


@keras.saving.register_keras_serializable(package="ttrnn")
class TTLSTM(_TTRNN):
    __doc__ = """Long short-term memory layer with a tensor-train input kernel.

        i_t, f_t, o_t = recurrent_activation(x_t W_ifo + b_ifo + (h_{t-1} * M) U_ifo)
        g_t           = activation(x_t W_c + b_c + (h_{t-1} * M) U_c)
        c_t           = f_t * c_{t-1} + i_t * g_t
        h_t           = o_t * activation(c_t)

    where W is the tensor train and M the recurrent-dropout mask; see `ttrnn.TTLSTMCell`. The dense
    equivalent is `keras.layers.LSTM`.
""" + _TT_ARGUMENTS.format(layer="TTLSTM", cell="TTLSTMCell")

    cell_class = TTLSTMCell
