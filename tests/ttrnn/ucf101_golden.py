"""Helpers of the tests of the UCF101 models, with the rules of golden/make_ucf101_models.py."""

import re
from pathlib import Path

import keras
import numpy as np

from tests.golden.weight_rule import value
from ttrnn.models import build_conv3d, build_crnn, build_resnet_crnn
from weights.assign import assign_arrays
from weights.ucf101_models import conv3d_arrays, crnn_arrays, resnet_crnn_arrays

GOLDEN_FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = np.load(GOLDEN_FOLDER / "ucf101_models.npz")
NUM_CLASSES = 5
LENGTHS = (4, 7, 1)
# What differs from the original's sizes: those of what a Linear sees, and the classes.
SMALL_SHAPES = {
    "conv3d.fc1.weight": (256, 48 * 1 * 14 * 18),
    "conv3d.fc3.weight": (NUM_CLASSES, 256),
    "conv3d.fc3.bias": (NUM_CLASSES,),
    "crnn.fc1.weight": (1024, 256 * 2 * 3),
    "decoder.fc2.weight": (NUM_CLASSES, 256),
    "decoder.fc2.bias": (NUM_CLASSES,),
}
# Of ResNet-152's 8 and 36 blocks in layer2 and layer3, here resnet.5 and .6, ResNet-50 has 4 and 6.
BEYOND_50 = re.compile(r"resnet\.(5\.[4-7]|6\.([6-9]|\d\d))\..*")


def clip(number, num_frames, height, width):
    rng = np.random.default_rng([101, number])
    blocks = rng.integers(0, 200, (num_frames, height // 8, width // 8, 3), np.uint8)
    frames = blocks.repeat(8, axis=1).repeat(8, axis=2)
    return frames + rng.integers(0, 56, frames.shape, np.uint8)


def clips(lengths, height, width):
    """Input of a model: clips of the given lengths."""
    frames = [clip(number, length, height, width) for number, length in enumerate(lengths)]
    return {"frames": np.concatenate(frames), "num_frames": np.array(lengths, np.int32)}


def published_state(network, make=value):
    """State dict with the original's keys and shapes, whose arrays `make(key, shape)` makes."""
    shapes = GOLDEN[f"{network}_shapes"]
    return {
        str(key): make(str(key), tuple(int(side) for side in shape if side >= 0))
        for key, shape in zip(GOLDEN[f"{network}_keys"], shapes, strict=True)
    }


def of_shape(key, shape):
    """Array of zeros that takes no memory."""
    return np.broadcast_to(np.float32(0), shape)


def small_state(network, prefix):
    """State dict of make_ucf101_models.py's small network, with the weights of `value`."""
    return {
        key: value(prefix + key, SMALL_SHAPES.get(prefix + key, shape))
        for key, shape in published_state(network, lambda key, shape: shape).items()
        if not BEYOND_50.fullmatch(key)
    }


def small_conv3d(**options):
    model = build_conv3d(NUM_CLASSES, num_frames=10, height=64, width=80, **options)
    assign_arrays(model, conv3d_arrays(small_state("conv3d", "conv3d.")))
    return model


def small_crnn(**options):
    model = build_crnn(NUM_CLASSES, height=64, width=80, **options)
    encoder, decoder = small_state("crnn_encoder", "crnn."), small_state("decoder", "decoder.")
    assign_arrays(model, crnn_arrays(encoder, decoder))
    return model


def small_resnet_crnn(*, inputs="frames", **options):
    model = build_resnet_crnn(NUM_CLASSES, depth=50, inputs=inputs, height=64, width=48, **options)
    encoder = small_state("resnet_encoder", "resnet_crnn.")
    arrays = resnet_crnn_arrays(encoder, small_state("decoder", "decoder."))
    if inputs == "features":
        arrays = {
            name: a for name, a in arrays.items() if name.startswith(("encoder_", "decoder_"))
        }
    assign_arrays(model, arrays)
    return model


def logits(model, inputs, **call):
    """Input of the last softmax."""
    scores = keras.Model(model.inputs, model.get_layer("probabilities").input)
    names = [tensor.name for tensor in model.inputs]
    return numpy(scores([inputs[name] for name in names], **call))


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def check(found, golden, tolerance=1e-4):
    """Check that differences are small compared with the largest value."""
    wanted = GOLDEN[golden]
    np.testing.assert_allclose(numpy(found), wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def check_statistics(norm, before, golden, count, tolerance=1e-3):
    """Check moving statistics after a step; torch divides the variance by count - 1.

    Args:
        norm: the layer.
        before: its variances before the step.
        golden: name of the golden arrays without _mean and _variance.
        count: number of values per channel.
    """
    check(norm.moving_mean, f"{golden}_mean", tolerance)
    kept = norm.momentum * before
    variance = kept + (numpy(norm.moving_variance) - kept) * count / (count - 1)
    check(variance, f"{golden}_variance", tolerance)
