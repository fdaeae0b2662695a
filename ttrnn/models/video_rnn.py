"""Recurrent network over the raw pixels of a video: frames in, class probabilities out."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from ttrnn.dense import TensorDense, TTDense
from ttrnn.formats.base import MatrixFormat
from ttrnn.frames import FrameRNN, MeanFrame
from ttrnn.gradients import GradientCells
from ttrnn.rnn import TTGRU, TTLSTM, TensorGRU, TensorLSTM, TensorSimpleRNN, TTSimpleRNN

# Name of a layer without recurrence in the place of a cell.
MLP = "mlp"
CELLS = {"rnn": TTSimpleRNN, "gru": TTGRU, "lstm": TTLSTM}
# The same cells with matrices of any format.
_TENSOR_CELLS = {"rnn": TensorSimpleRNN, "gru": TensorGRU, "lstm": TensorLSTM}


def recurrent_layer(
    cell: str,
    *,
    tt_input_shape: Sequence[int] = (),
    tt_output_shape: Sequence[int] = (),
    tt_ranks: int | Sequence[int] = 1,
    units: int | None = None,
    kernel_format: MatrixFormat | None = None,
    recurrent_format: MatrixFormat | None = None,
    joint_format: MatrixFormat | None = None,
    **options,
) -> keras.layers.RNN:
    """Build the recurrent layer of a classifier: with a tensor train, or with any formats.

    Args:
        cell: "rnn", "gru" or "lstm".
        tt_input_shape, tt_output_shape, tt_ranks: of a tensor train, where `units` is None.
        units: size of the state of a layer with formats.
        kernel_format, recurrent_format, joint_format: see `ttrnn.TensorGRU`.
        **options: further arguments of the layer.
    """
    if units is None:
        return CELLS[cell](tt_input_shape, tt_output_shape, tt_ranks, **options)
    return _TENSOR_CELLS[cell](
        units,
        kernel_format=kernel_format,
        recurrent_format=recurrent_format,
        joint_format=joint_format,
        **options,
    )


def build_video_rnn(
    frame_shape: tuple[int, int, int],
    num_classes: int,
    *,
    cell: str = "gru",
    tt_input_shape: Sequence[int] = (),
    tt_output_shape: Sequence[int] = (),
    tt_ranks: int | Sequence[int] = 1,
    units: int | None = None,
    kernel_format: MatrixFormat | None = None,
    recurrent_format: MatrixFormat | None = None,
    joint_format: MatrixFormat | None = None,
    scene_format: MatrixFormat | None = None,
    gradient_cells: tuple[int, int] | None = None,
    inputs: str = "raw",
    scene: bool = False,
    pooling: str = "last",
    pixel_scale: float = 1.0,
    head_l2: float = 0.0,
    head_dropout: float = 0.0,
    scene_dropout: float = 0.5,
    several_labels: bool = False,
    dtype: str | None = None,
    seed: int | None = None,
    **rnn_kwargs,
) -> keras.Model:
    """Build the classifier of Yang et al. 2017: pixels, recurrent layer, softmax.

    Args:
        frame_shape: (height, width, 3) of a frame.
        num_classes: number of classes.
        cell: "rnn", "gru" or "lstm".
        tt_input_shape: modes of a frame's height * width * 3 values, or of the rows * columns * 12
            of `gradient_cells`. One mode alone, `(height * width * 3,)`, is the dense layer.
        tt_output_shape, tt_ranks: see `ttrnn.TTGRU`.
        units, kernel_format, recurrent_format, joint_format: in place of the tensor train, see
            `ttrnn.TensorGRU`.
        scene_format: format of the scene's kernel; by default `kernel_format`.
        gradient_cells: columns and rows of a grid: the network sees `ttrnn.gradients.GradientCells`
            of the frames in place of pixels. None for pixels.
        inputs: input of the recurrent layer: "raw", the pixels; "motion", the pixels minus the
            clip's mean frame; "foreground", the absolute values of that.
        scene: also give the classifier the clip's mean frame, through a layer with such a kernel.
        pooling: input of the classifier: the "last" state, or the "mean" of the states over time.
        pixel_scale: divisor of the centred pixels (pixel - 128).
        head_l2: L2 penalty on the output kernel.
        head_dropout: dropout before the output layer.
        scene_dropout: probability of hiding a training clip's mean frame.
        several_labels: a clip may be of several classes: a sigmoid in place of the softmax.
        dtype: policy of every layer, such as "mixed_bfloat16"; the softmax is float32.
        seed: seed of dropout and of the output kernel; the recurrent layer's weights follow
            `keras.utils.set_random_seed`.
        **rnn_kwargs: further arguments of the recurrent layer.

    Returns:
        A model of {"frames": uint8 (sum of num_frames, height, width, 3), "num_frames": int32
        (batch,)} to probabilities (batch, num_classes): the clips of a batch end to end, without
        padding.

    Raises:
        ValueError: for an unknown `cell`, `inputs` or `pooling`.

    Example:
        >>> model = build_video_rnn(
        ...     (120, 160, 3), 11, tt_input_shape=(8, 20, 20, 18), tt_output_shape=(4, 4, 4, 4),
        ...     tt_ranks=4,
        ... )
        >>> clips = {"frames": np.zeros((5, 120, 160, 3), "uint8"), "num_frames": np.array([2, 3])}
        >>> model(clips).shape
        (2, 11)

    Reference: Yang, Krompass, Tresp, ICML 2017, arXiv 1707.01786; `gradient_cells`, `inputs`,
    `scene` and `pooling` are additions.
    """
    if cell not in CELLS:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}. Received {cell!r}.")
    if pooling not in ("last", "mean"):
        raise ValueError(f"pooling must be last or mean. Received {pooling!r}.")
    frames = keras.Input(frame_shape, dtype="uint8", name="frames")
    num_frames = keras.Input((), dtype="int32", name="num_frames")
    pixels = _cells_or_pixels(frames, num_frames, gradient_cells)
    seen = [pixels, num_frames]
    # Both the scene and the motion need the clip's mean frame: one layer computes it for both.
    if scene or inputs != "raw":
        mean = MeanFrame(pixel_scale, dtype=dtype, name="mean_frame")(pixels, num_frames)
    if inputs != "raw":
        seen.append(mean)
    layer = recurrent_layer(
        cell,
        tt_input_shape=tt_input_shape,
        tt_output_shape=tt_output_shape,
        tt_ranks=tt_ranks,
        units=units,
        kernel_format=kernel_format,
        recurrent_format=recurrent_format,
        joint_format=joint_format,
        return_sequences=pooling == "mean",
        dtype=dtype,
        seed=seed,
        **rnn_kwargs,
    )
    state = FrameRNN(layer, inputs=inputs, scale=pixel_scale, dtype=dtype, name=cell)(*seen)
    # The time loop follows what moves, this branch the background that it may leave out.
    if scene:
        options = {
            "activation": "tanh",
            "kernel_initializer": rnn_kwargs.get("kernel_initializer", "glorot_uniform"),
            "dtype": dtype,
            "name": "scene",
        }
        if units is None:
            gist = TTDense(tt_input_shape, tt_output_shape, tt_ranks, **options)(mean)
        else:
            gist = TensorDense(units, scene_format or kernel_format, **options)(mean)
        # A noise shape of (batch, 1) hides the whole scene of a clip, so that the network cannot
        # learn the training clips' backgrounds by heart.
        gist = keras.layers.Dropout(
            scene_dropout, noise_shape=(None, 1), seed=seed, dtype=dtype, name="scene_dropout"
        )(gist)
        state = keras.layers.Concatenate(dtype=dtype, name="motion_and_scene")([state, gist])
    state = keras.layers.Dropout(head_dropout, seed=seed, dtype=dtype, name="head_dropout")(state)
    outputs = _probabilities(num_classes, head_l2, several_labels, seed)(state)
    return keras.Model({"frames": frames, "num_frames": num_frames}, outputs, name=f"video_{cell}")


def build_mean_mlp(
    frame_shape: tuple[int, int, int],
    num_classes: int,
    *,
    units: int,
    kernel_format: MatrixFormat | None = None,
    gradient_cells: tuple[int, int] | None = None,
    pixel_scale: float = 1.0,
    head_l2: float = 0.0,
    head_dropout: float = 0.0,
    several_labels: bool = False,
    kernel_initializer="glorot_uniform",
    dtype: str | None = None,
    seed: int | None = None,
) -> keras.Model:
    """Build a classifier without recurrence: a clip's mean frame, a layer, softmax.

    With a tensor train it stands for the TT-MLP of Yang et al. 2017, of which the sources at hand
    give the accuracy alone. The mean frame as input, tanh, and as many units as the recurrent layer
    has are choices of ours.

    Args:
        frame_shape, num_classes, gradient_cells, pixel_scale, head_l2, head_dropout,
            several_labels, dtype, seed: those of `build_video_rnn`.
        units: number of units.
        kernel_format: format of the kernel of height * width * 3 rows, or rows * columns * 12 with
            `gradient_cells`; None for a dense one.
        kernel_initializer: see `ttrnn.TensorDense`.

    Returns:
        A model of the inputs and outputs of `build_video_rnn`.

    Example:
        >>> from ttrnn import CP
        >>> model = build_mean_mlp((4, 6, 3), 11, units=16, kernel_format=CP((8, 9), (4, 4), 3))
        >>> clips = {"frames": np.zeros((5, 4, 6, 3), "uint8"), "num_frames": np.array([2, 3])}
        >>> model(clips).shape
        (2, 11)

    Reference: Yang, Krompass, Tresp, ICML 2017, arXiv 1707.01786, section 4.
    """
    frames = keras.Input(frame_shape, dtype="uint8", name="frames")
    num_frames = keras.Input((), dtype="int32", name="num_frames")
    pixels = _cells_or_pixels(frames, num_frames, gradient_cells)
    x = MeanFrame(pixel_scale, dtype=dtype, name="mean_frame")(pixels, num_frames)
    x = TensorDense(
        units,
        kernel_format,
        activation="tanh",
        kernel_initializer=kernel_initializer,
        dtype=dtype,
        name=MLP,
    )(x)
    x = keras.layers.Dropout(head_dropout, seed=seed, dtype=dtype, name="head_dropout")(x)
    outputs = _probabilities(num_classes, head_l2, several_labels, seed)(x)
    return keras.Model({"frames": frames, "num_frames": num_frames}, outputs, name="video_mlp")


def _cells_or_pixels(frames, num_frames, gradient_cells: tuple[int, int] | None):
    """Return what the network sees of frames: the frames, or descriptions of their cells."""
    if gradient_cells is None:
        return frames
    return GradientCells(gradient_cells, name="gradient_cells")(frames, num_frames)


def _probabilities(
    num_classes: int, head_l2: float, several_labels: bool, seed: int | None
) -> keras.layers.Dense:
    """Output layer."""
    return keras.layers.Dense(
        num_classes,
        activation="sigmoid" if several_labels else "softmax",
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        kernel_regularizer=keras.regularizers.L2(head_l2) if head_l2 else None,
        dtype="float32",
        name="probabilities",
    )
