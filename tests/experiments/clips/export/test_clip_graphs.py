"""Graphs of models of clips in ONNX Runtime, against Keras with clips end to end."""

import numpy as np
import onnx
import onnxruntime
import pytest

from experiments.clips.export.subjects import ClipSubject
from tests.experiments.clips.export.small_models import CLIP_MODELS, input_spec, recurrent
from tests.grids import slow


def run(proto, clips):
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    return session.run(["probabilities"], {"clips": clips})[0]


def by_keras(model, clips):
    """Clips end to end, as the training has them."""
    batch, length = clips.shape[:2]
    inputs = {
        "frames": clips.reshape(-1, *clips.shape[2:]),
        "num_frames": np.full(batch, length, np.int32),
    }
    return model(inputs, training=False).numpy()


def noise(batch, length, shape):
    """Clips that differ: each of a colour of its own, with noise."""
    random = np.random.default_rng(length)
    colours = random.integers(0, 200, (batch, 1, 1, 1, 3))
    return (colours + random.integers(0, 56, (batch, length, *shape))).astype(np.uint8)


# The quick ones hold every kind of layer: cells of Keras and of ours, convolutions over time, and
# attention. A ResNet is exported in test_image_graphs.py, a plain TTGRU below.
ALIKE = ("tt-gru", "tt-gru motion", "tt-rnn", "conv3d-gap", "resnet-crnn", "joint", "space")


@pytest.mark.parametrize(
    "name", [*(name for name in CLIP_MODELS if name not in ALIKE), *slow(*ALIKE)]
)
def test_any_batch_gives_keras_probabilities(name):
    """Red when time is read as batch, a mask or an activation is another, or a weight is lost."""
    make, about = CLIP_MODELS[name]
    model = make()
    subject = ClipSubject(model, about)
    proto = subject.graph()
    onnx.checker.check_model(proto)
    length, fixed = about.choice.num_frames, about.choice.exact
    for batch, frames in [(1, length), (3, length), (5, length if fixed else length // 2), (2, 1)]:
        if fixed and frames != length:
            continue
        clips = noise(batch, frames, (*about.crops.size[::-1], 3))
        expected = by_keras(model, clips)
        np.testing.assert_allclose(run(proto, clips), expected, atol=1e-5)
        np.testing.assert_allclose(subject.predict(clips), expected, atol=1e-5)
        if batch > 2:
            assert np.ptp(expected, axis=0).max() > 0.01  # or agreement would tell nothing


def test_the_input_says_what_may_vary():
    """Red when a graph's batch or number of frames is fixed, or varies where it must not."""
    shapes = {}
    for name in ("tt-gru", "conv3d"):
        make, about = CLIP_MODELS[name]
        (clips,) = ClipSubject(make(), about).graph().graph.input
        sizes = clips.type.tensor_type.shape.dim
        shapes[name] = [size.dim_param or size.dim_value for size in sizes]
    assert shapes == {"tt-gru": ["batch", "frames", 12, 16, 3], "conv3d": ["batch", 9, 20, 24, 3]}


def test_bfloat16_is_exported_in_float32():
    """Red when a model is exported in half precision, with other weights, or without a word."""
    half = recurrent(dtype="mixed_bfloat16")
    plain = recurrent()
    plain.set_weights(half.get_weights())
    subject = ClipSubject(half, input_spec((16, 12), 10, exact=False))
    (note,) = subject.notes
    assert "rebuilt" in note
    clips = noise(3, 10, (12, 16, 3))
    expected = by_keras(plain, clips)
    assert np.abs(by_keras(half, clips) - expected).max() > 1e-4
    np.testing.assert_allclose(run(subject.graph(), clips), expected, atol=1e-5)
    assert ClipSubject(plain, subject._keras.input_spec).notes == ()
