"""The video classifier: padding, centring, mean frame, dense baseline, saving."""

import keras
import numpy as np
import pytest

from ttrnn.models.video_rnn import CentredPixels, LengthMask, MeanFrame, build_video_rnn

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


def clips(lengths, time=None, *, seed=0, padding=0):
    rng = np.random.default_rng(seed)
    frames = np.full((len(lengths), time or max(lengths), *FRAME), padding, np.uint8)
    for row, length in zip(frames, lengths, strict=True):
        row[:length] = rng.integers(0, 256, (length, *FRAME), np.uint8)
    return {"frames": frames, "num_frames": np.array(lengths, np.int32)}


INPUTS = [
    {"inputs": "raw"},
    {"inputs": "motion"},
    {"inputs": "foreground"},
    {"inputs": "motion", "scene": True},
]


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_padding_never_counts(inputs, cell, pooling):
    """Red when a mask is by value, or the mean frame or the states take padding in."""
    model = build(**inputs, cell=cell, pooling=pooling)
    tight = model(clips([5, 3]))
    loose = model(clips([5, 3], time=11, padding=200))
    np.testing.assert_allclose(tight, loose, atol=1e-6)


def test_a_grey_frame_is_no_padding():
    """Red when a step is masked because every pixel is 128, as in the published code."""
    model = build()
    grey = clips([4])
    grey["frames"][:, -1] = 128
    shorter = {"frames": grey["frames"], "num_frames": np.array([3], np.int32)}
    assert np.abs(np.asarray(model(grey)) - np.asarray(model(shorter))).max() > 1e-6


def test_pixels_are_centred_and_scaled():
    """Red when uint8 wraps around at 128, or frames are flattened in another order."""
    frames = clips([2])["frames"]
    expected = (frames.astype(np.float64) - 128).reshape(1, 2, -1) / 64
    np.testing.assert_allclose(CentredPixels(64.0)(frames), expected, atol=1e-6)


def test_mean_frame_against_numpy():
    """Red when the mean divides by the padded length."""
    pixels = np.random.default_rng(0).normal(size=(2, 6, 10)).astype(np.float32)
    mask = np.arange(6) < np.array([[6], [2]])
    expected = [pixels[0].mean(axis=0), pixels[1, :2].mean(axis=0)]
    np.testing.assert_allclose(MeanFrame()(pixels, mask)[:, 0], expected, atol=1e-6)


def test_length_mask():
    """Red when the comparison is off by one."""
    mask = LengthMask()(np.zeros((2, 3, 1)), np.array([3, 1]))
    np.testing.assert_array_equal(mask, [[True, True, True], [True, False, False]])


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
    pixels = CentredPixels(64.0)(inputs["frames"])
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
