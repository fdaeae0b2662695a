"""Arguments that do not fit each other are refused, where Keras's own layers refuse them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_check import CELLS, FEATURES, KINDS, MODES, UNITS, dense_twin, inputs, make

import ttrnn
from ttrnn.frames import FrameRNN, MeanFrame
from ttrnn.models.alexnet import GroupedConv2D
from ttrnn.models.conv3d import EqualClips, Grey
from ttrnn.models.crnn import PadClips
from ttrnn.models.space_time import SelfAttention, SpaceTimeBlock, SpaceTimeEmbedding

BATCH, TIME = 3, 7
X = inputs(BATCH, TIME, FEATURES)
WRONG_MASKS = [(3, 6), (3, 8), (2, 7), (4, 7), (7,), (), (3, 1), (3, 0), (3, 7, 6), (7, 3)]
# Paths through a TensorFlow layer: packed, Keras's loop, unrolled.
PATHS = {"packed": {}, "loop": {"activation": "softmax"}, "unrolled": {"unroll": True}}


def some_mask(*shape):
    return np.random.default_rng(2).random(shape) > 0.3


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_of_another_shape_is_refused(kind, path):
    """Red where 6 steps for 7 give numbers, or 2 rows for 3 fewer rows."""
    layer, *weights = make(kind, X.shape)
    dense = dense_twin(kind, *weights)
    layer = layer if path == "packed" else make(kind, X.shape, **PATHS[path])[0]
    for shape in WRONG_MASKS:
        mask = tf.constant(some_mask(*shape))
        with pytest.raises(ValueError, match="mask must have the shape") as refused:
            layer(X, mask=mask)
        assert str(shape) in str(refused.value)
        with pytest.raises(Exception):  # noqa: B017, PT011 - Keras has no one class for it
            dense(X, mask=mask)


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("shape", [(3, 7, 1), (1, 7), (3, 7)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_that_keras_takes_gives_keras_numbers(kind, shape, sequences):
    """Red where one mask for all sequences leaves one of them."""
    layer, *weights = make(kind, X.shape, return_sequences=sequences)
    mask = some_mask(*shape)
    expected = dense_twin(kind, *weights, return_sequences=sequences)(X, mask=tf.constant(mask))
    for array in (mask, mask.astype("float32"), mask.astype("int8")):
        np.testing.assert_allclose(layer(X, mask=tf.constant(array)), expected, atol=1e-5)


@pytest.mark.parametrize("path", PATHS)
def test_a_mask_is_compared_when_the_graph_runs(path):
    """Of sizes that nobody knows before: red where only static shapes are looked at."""
    layer, *_ = make("gru", X.shape, **PATHS[path])
    time = TIME if path == "unrolled" else None
    call = tf.function(
        lambda x, mask: layer(x, mask=mask),
        input_signature=[
            tf.TensorSpec((None, time, FEATURES)),
            tf.TensorSpec((None, None), tf.bool),
        ],
    )
    fits = some_mask(BATCH, TIME)
    np.testing.assert_allclose(call(X, fits), layer(X, mask=tf.constant(fits)), atol=1e-6)
    for shape in [(3, 6), (3, 8), (2, 7), (3, 1)]:
        with pytest.raises(tf.errors.InvalidArgumentError, match="mask must have the shape"):
            call(X, some_mask(*shape))


def test_a_functional_model_refuses_what_cannot_fit():
    """When it is built, not when it runs. Keras's own layers wait."""
    x = keras.Input((TIME, FEATURES))
    with pytest.raises(ValueError, match="mask must have the shape"):
        ttrnn.TTGRU(**MODES)(x, mask=keras.Input((TIME - 1,), dtype="bool"))
    with pytest.raises(ValueError, match="initial_state must hold 2"):
        ttrnn.TTLSTM(**MODES)(x, initial_state=[keras.Input((UNITS,))])
    fits = ttrnn.TTLSTM(**MODES, return_state=True)(
        keras.Input((None, FEATURES)),
        mask=keras.Input((None,), dtype="bool"),
        initial_state=[keras.Input((UNITS,)), keras.Input((UNITS,))],
    )
    assert [tuple(state.shape) for state in fits] == [(None, UNITS)] * 3


def wrong_states(kind):
    """Shapes of initial states: of another batch, width, rank or number."""
    right, count = (BATCH, UNITS), 2 if kind == "lstm" else 1
    wrong = [(BATCH, 5), (2, UNITS), (4, UNITS), (UNITS,), (BATCH, UNITS, 1), (BATCH, 2 * UNITS)]
    yield from ([right] * (count - 1) + [shape] for shape in wrong)
    yield from ([right] * number for number in range(4) if number != count)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_initial_state_of_another_shape_is_refused(kind, path):
    """Red where 4 states for 3 sequences leave one out, as the packed path once did."""
    layer, *_ = make(kind, X.shape, **PATHS[path])
    for shapes in wrong_states(kind):
        states = [np.zeros(shape, "float32") for shape in shapes]
        with pytest.raises(ValueError, match="initial_state must hold"):
            layer(X, initial_state=states)


@pytest.mark.parametrize("kind", KINDS)
def test_one_state_for_all_gives_keras_numbers(kind):
    layer, *weights = make(kind, X.shape)
    states = [tf.constant(inputs(1, UNITS, seed=seed)) for seed in range(1 + (kind == "lstm"))]
    expected = dense_twin(kind, *weights)(X, initial_state=states)
    np.testing.assert_allclose(layer(X, initial_state=states), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 6), (3, 7, 6, 1), (3, 7, 5), (3, 0, 6)])
def test_sequences_of_another_shape_are_refused(kind, shape):
    layer, *_ = make(kind, X.shape)
    with pytest.raises(ValueError):  # noqa: PT011 - Keras's own words for the rank
        layer(np.zeros(shape, "float32"))


def test_no_sequences_give_no_rows():
    layer, *_ = make("gru", X.shape)
    assert layer(X[:0]).shape == (0, UNITS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_takes_one_step(kind):
    """Red for sequences: the gates were then cut from the time axis."""
    cell = CELLS[kind](**MODES)
    cell.build((None, FEATURES))
    right = [np.zeros((BATCH, UNITS), "float32")] * (2 if kind == "lstm" else 1)
    with pytest.raises(ValueError, match="A cell takes one step"):
        cell(X, right)
    for shapes in wrong_states(kind):
        with pytest.raises(ValueError, match="states must hold"):
            cell(X[:, 0], [np.zeros(shape, "float32") for shape in shapes])


@pytest.mark.parametrize("shape", [(FEATURES,), (2, 5), (2, FEATURES, 1)])
def test_a_dense_layer_refuses_what_keras_refuses(shape):
    layer, twin = ttrnn.TTDense(**MODES), keras.layers.Dense(UNITS)
    for each in (layer, twin):
        each(np.zeros((2, FEATURES), "float32"))
        with pytest.raises(ValueError):  # noqa: PT011 - Keras's own words for the rank
            each(np.zeros(shape, "float32"))


CLIPS = np.random.default_rng(3).integers(0, 256, (5, 2, 3, 1), np.uint8)  # (frames, H, W, C)


def frame_layers():
    """Layers of (frames, num_frames), with the numbers that fit the 5 frames."""
    gru = ttrnn.TTGRU(**MODES)
    return {
        "mean": (MeanFrame(), [2, 3]),
        "rnn": (FrameRNN(gru), [2, 3]),
        "pooled": (FrameRNN(ttrnn.TTGRU(**MODES, return_sequences=True)), [2, 3]),
        "pad": (PadClips(), [2, 3]),
        "equal": (EqualClips(5), [5]),
    }


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", frame_layers())
def test_as_many_frames_as_the_clips_have(name, compiled):
    """Red where frames that no clip has are passed over, or a last one is taken twice."""
    layer, fits = frame_layers()[name]
    layer(CLIPS, np.array(fits, np.int32))
    call = layer
    if compiled:
        specs = [tf.TensorSpec((None, 2, 3, 1), tf.uint8), tf.TensorSpec((None,), tf.int32)]
        call = tf.function(lambda *values: layer(*values), input_signature=specs)
        call(CLIPS, np.array(fits, np.int32))
    message = r"num_frames must|clip must have 5"
    for numbers in ([2, 2], [2, 4], [6, -1], [1, 1, 1], [5, 5]):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            call(CLIPS, np.array(numbers, np.int32))


@pytest.mark.parametrize("name", frame_layers())
def test_frames_are_end_to_end(name):
    layer, fits = frame_layers()[name]
    with pytest.raises(ValueError, match="Clips laid end to end"):
        layer(CLIPS, np.array([fits], np.int32))


def test_a_clip_without_frames():
    """Its mean and its state are zeros, and the clips after it are not moved."""
    numbers = np.array([2, 0, 3], np.int32)
    mean = np.asarray(MeanFrame()(CLIPS, numbers))
    flat = CLIPS.reshape(5, -1).astype("float64") - 128
    expected = [flat[:2].mean(0), np.zeros(6), flat[2:].mean(0)]
    np.testing.assert_allclose(mean, expected, atol=1e-4)
    layer = FrameRNN(ttrnn.TTGRU(**MODES))
    state = np.asarray(layer(CLIPS, numbers))
    assert (state[1] == 0).all()
    np.testing.assert_allclose(state[2:], layer(CLIPS[2:], np.array([3], np.int32)), atol=1e-6)


@pytest.mark.parametrize("mean", [None, (1, 6), (2, 5)])
def test_motion_needs_the_mean_of_each_clip(mean):
    layer = FrameRNN(ttrnn.TTGRU(**MODES), inputs="motion")
    means = None if mean is None else np.zeros(mean, "float32")
    with pytest.raises(ValueError, match="needs each clip's mean pixels"):
        layer(CLIPS, np.array([2, 3], np.int32), means)


@pytest.mark.parametrize(
    ("layer", "fits", "others"),
    [
        (Grey(), (2, 4, 4, 3), [(2, 4, 4, 6), (2, 4, 4, 1)]),
        (GroupedConv2D(4, 3, groups=2), (1, 5, 5, 4), [(1, 5, 5, 2), (5, 5, 4)]),
        (SelfAttention(2), (1, 2, 3, 4), [(1, 2, 3, 6), (2, 3, 4)]),
        (SpaceTimeBlock(2, 8, num_frames=2), (2, 1, 7, 4), [(2, 1, 8, 4), (2, 1, 13, 4)]),
        # Twice the width once gave twice the clips.
        (SpaceTimeEmbedding(4, 2), (2, 3, 4, 4, 3), [(2, 3, 4, 8, 3), (2, 2, 4, 4, 3)]),
    ],
)
def test_layers_of_the_models(layer, fits, others):
    layer(np.zeros(fits, "float32"))
    for shape in others:
        with pytest.raises(ValueError, match="incompatible"):
            layer(np.zeros(shape, "float32"))


def test_patches_are_as_many_in_each_frame():
    with pytest.raises(ValueError, match="as many patches in each of its 4 frames"):
        SpaceTimeBlock(2, 8, num_frames=4).build((None, 1, 7, 4))
