"""The video classifier: padding, centring, mean frame, dense baseline, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.grids import slow
from ttrnn import TTGRU
from ttrnn.frames import FrameRNN, MeanFrame
from ttrnn.models.video_rnn import build_video_rnn

FRAME = (4, 6, 3)  # 72 values


def build(**changes):
    options = {
        "cell": "gru",
        "tt_input_shape": (8, 9),
        "tt_output_shape": (4, 4),
        "tt_ranks": 3,
        "inputs": "raw",
        "pixel_scale": 64.0,
        "seed": 1,
        **changes,
    }
    return build_video_rnn(FRAME, 5, **options)


def clips(lengths, *, seed=0):
    frames = [
        np.random.default_rng([seed, k]).integers(0, 256, (length, *FRAME), np.uint8)
        for k, length in enumerate(lengths)
    ]
    return {"frames": np.concatenate(frames), "num_frames": np.array(lengths, np.int32)}


INPUTS = [
    {"inputs": "raw"},
    {"inputs": "motion"},
    {"inputs": "foreground"},
    {"inputs": "motion", "scene": True},
]


def networks():
    """Every combination; the quick ones have each kind of inputs, each cell and each pooling."""
    for place, inputs in enumerate(INPUTS):
        for number, cell in enumerate(("rnn", "gru", "lstm")):
            for turn, pooling in enumerate(("last", "mean")):
                is_quick = number == place % 3 and turn == place % 2
                marks = [] if is_quick else [pytest.mark.slow]
                yield pytest.param(inputs, cell, pooling, marks=marks)


@pytest.mark.parametrize(("inputs", "cell", "pooling"), networks())
def test_a_clip_alone_or_among_others(inputs, cell, pooling):
    """Red when clips of a batch are told apart wrongly: by the mean frame, the steps, the pooling.

    More frames than the engine takes at a time, and the longest clip in the middle.
    """
    model = build(**inputs, cell=cell, pooling=pooling)
    lengths = [5, 70, 1, 33]
    together = clips(lengths)
    alone, start = [], 0
    for length in lengths:
        one = {
            "frames": together["frames"][start : start + length],
            "num_frames": np.array([length], np.int32),
        }
        alone.append(np.asarray(model(one))[0])
        start += length
    np.testing.assert_allclose(model(together), alone, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "pooling"),
    [
        *(("raw", "last"), ("motion", "mean"), ("foreground", "last")),
        *slow(("raw", "mean"), ("motion", "last"), ("foreground", "mean")),
    ],
)
def test_against_the_plain_layers(inputs, pooling):
    """The same from padded float pixels and keras.layers.RNN over the cell; gradients too.

    Red when frames are flattened in another order, uint8 wraps around at 128, the mean is of the
    batch, or a frame's gradient reaches another step.
    """
    model = build(inputs=inputs, pooling=pooling)
    lengths, frame_size = [5, 40, 1], 72
    batch = clips(lengths)
    layer = model.get_layer("gru").rnn
    plain = keras.layers.RNN(layer.cell, return_sequences=pooling == "mean")
    padded = np.zeros((3, 40, frame_size), np.float32)
    for row, clip in zip(padded, np.split(batch["frames"], np.cumsum(lengths)[:-1]), strict=True):
        pixels = (clip.reshape(len(clip), -1).astype(np.float64) - 128) / 64
        if inputs != "raw":
            pixels = pixels - pixels.mean(axis=0)
        row[: len(clip)] = np.abs(pixels) if inputs == "foreground" else pixels
    mask = np.arange(40) < np.array(lengths)[:, None]

    def expected():
        states = plain(padded, mask=mask)
        if pooling == "mean":
            states = tf.reduce_sum(states * mask[:, :, None], 1) / np.c_[lengths].astype("float32")
        return model.get_layer("probabilities")(states)

    weights = model.trainable_variables
    results = []
    for run in (lambda: model(batch), expected):
        with tf.GradientTape() as tape:
            probabilities = run()
            loss = tf.reduce_sum(probabilities[:, 0] ** 2)
        results.append([probabilities, *tape.gradient(loss, [w.value for w in weights])])
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_a_grey_frame_is_no_padding():
    """Red when a step is masked because every pixel is 128, as in the published code."""
    model = build()
    grey = clips([4])
    grey["frames"][-1] = 128
    shorter = {"frames": grey["frames"][:3], "num_frames": np.array([3], np.int32)}
    assert np.abs(np.asarray(model(grey)) - np.asarray(model(shorter))).max() > 1e-6


def test_mean_frame_against_numpy():
    """Red when a clip's frames beyond the first 32, or a neighbour's, are counted wrongly."""
    batch = clips([6, 70, 32, 1])
    split = np.split(batch["frames"], [6, 76, 108])
    expected = [(clip.reshape(len(clip), -1).mean(axis=0) - 128) / 64 for clip in split]
    mean = MeanFrame(64.0)(batch["frames"], batch["num_frames"])
    np.testing.assert_allclose(mean, expected, atol=1e-5)


def test_motion_ignores_a_constant_background():
    """Red when the mean frame is not taken from the clip itself."""
    model = build(inputs="motion")
    one = clips([6])
    one["frames"] = one["frames"] // 2
    other = {**one, "frames": one["frames"] + 100}
    np.testing.assert_allclose(model(one), model(other), atol=1e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_one_mode_is_the_dense_baseline(cell):
    """Red when a single core of rank 1 is anything but keras's own layer."""
    model = build(cell=cell, tt_input_shape=(72,), tt_output_shape=(16,), tt_ranks=1)
    inputs = clips([5])
    tensor_train = model.get_layer(cell)
    options = {"reset_after": False} if cell == "gru" else {}
    dense = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[cell](16, **options)
    pixels = (inputs["frames"].reshape(1, 5, -1) - np.float32(128)) / 64
    dense.build(pixels.shape)
    cores, *others = tensor_train.get_weights()
    dense.set_weights([cores[0, :, :, 0], *others])
    state = np.asarray(dense(pixels))
    kernel, bias = model.get_layer("probabilities").get_weights()
    scores = np.exp(state @ kernel + bias)
    np.testing.assert_allclose(model(inputs), scores / scores.sum(), atol=1e-5)


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_saved_and_loaded_it_says_the_same(tmp_path, inputs, policy):
    """Red when a layer of the model is not registered or loses an argument."""
    model = build(**inputs, dtype=policy)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(clips([5, 2])), loaded(clips([5, 2])))


def test_probabilities_are_float32_under_bfloat16():
    """Red when the softmax is taken in bfloat16: probabilities then miss 1 by a percent."""
    probabilities = build(dtype="mixed_bfloat16")(clips([5, 2]))
    assert keras.backend.standardize_dtype(probabilities.dtype) == "float32"
    np.testing.assert_allclose(np.sum(probabilities, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "argument", [{"cell": "transformer"}, {"inputs": "flow"}, {"pooling": "max"}]
)
def test_unknown_choices_are_named(argument):
    with pytest.raises(ValueError, match=next(iter(argument.values()))):
        build(**argument)


def test_a_layer_that_goes_backwards_is_refused():
    """Red when it is taken, and then runs forwards on TensorFlow and backwards elsewhere."""
    with pytest.raises(ValueError, match="must go forwards"):
        FrameRNN(TTGRU((8, 9), (4, 4), tt_ranks=3, go_backwards=True))
