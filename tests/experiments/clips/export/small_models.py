"""Small models of every kind, with outputs that differ from clip to clip."""

import keras
import numpy as np

from experiments.clips.viewed_model import ClipInputSpec
from preprocess.batches.views import CropChoice, FrameChoice
from preprocess.shards.settings import FrameSettings
from ttrnn.models import (
    build_conv3d,
    build_crnn,
    build_resnet_crnn,
    build_timesformer,
    build_video_rnn,
)
from ttrnn.models.conv3d import EqualClips
from ttrnn.models.resnet import BLOCKS

NAMES = ("fall", "jump", "run", "walk")


def lively(model, factor):
    """Give a model larger kernels, and biases and statistics other than 0 and 1."""
    random = np.random.default_rng(0)
    for variable in model.weights:
        array = variable.numpy()
        if array.dtype != np.float32:
            continue
        if "variance" in variable.path:
            array = array * random.uniform(0.5, 2, array.shape)
        elif array.ndim < 2:
            array = array + 0.1 * random.standard_normal(array.shape)
        else:
            array = factor * array
        variable.assign(array)
    return model


def input_spec(size, num_frames, *, exact, stored=None):
    return ClipInputSpec(
        NAMES,
        FrameSettings(stored or size),
        FrameChoice(num_frames, start="first", exact=exact),
        CropChoice(size),
        usual_frames=num_frames,
    )


def recurrent(cell="gru", *, tt_ranks=3, dense=False, **options):
    modes = ((576,), (12,)) if dense else ((8, 8, 9), (4, 4, 2))
    if "gradient_cells" in options:
        modes = ((4, 4, 9), (4, 4, 2))  # of 4 x 3 cells
    return build_video_rnn(
        *((12, 16, 3), len(NAMES)),
        cell=cell,
        tt_input_shape=modes[0],
        tt_output_shape=modes[1],
        tt_ranks=1 if dense else tt_ranks,
        pixel_scale=64.0,
        seed=0,
        **options,
    )


def timesformer(attention):
    model = build_timesformer(
        len(NAMES),
        num_frames=3,
        image_size=16,
        patch_size=8,
        dim=12,
        depth=2,
        heads=3,
        attention=attention,
        position_stddev=0.5,
        seed=0,
        name="timesformer",
    )
    frames = keras.Input((16, 16, 3), dtype="uint8", name="frames")
    num_frames = keras.Input((), dtype="int32", name="num_frames")
    clips = EqualClips(3, name="clips")(frames, num_frames)
    return keras.Model({"frames": frames, "num_frames": num_frames}, model(clips))


def resnet_crnn():
    """ResNet-18 with one block in each layer instead of two, before the recurrent network."""
    usual = BLOCKS[18]
    BLOCKS[18] = (1, 1, 1, 1)
    try:
        return build_resnet_crnn(len(NAMES), depth=18, height=32, width=32, seed=0)
    finally:
        BLOCKS[18] = usual


def conv3d(**options):
    return build_conv3d(len(NAMES), num_frames=9, height=20, width=24, seed=0, **options)


CLIP_MODELS = {
    "tt-gru": (lambda: lively(recurrent(), 1.7), input_spec((16, 12), 10, exact=False)),
    "tt-gru tuned": (
        lambda: lively(recurrent(inputs="foreground", scene=True, pooling="mean"), 1.7),
        input_spec((16, 12), 10, exact=False),
    ),
    "tt-gru cells": (
        lambda: lively(
            recurrent(gradient_cells=(4, 3), inputs="foreground", scene=True, pooling="mean"), 1.7
        ),
        input_spec((16, 12), 10, exact=False),
    ),
    "tt-gru motion": (
        lambda: lively(recurrent(inputs="motion"), 1.7),
        input_spec((16, 12), 10, exact=False),
    ),
    "tt-lstm": (lambda: lively(recurrent("lstm"), 1.7), input_spec((16, 12), 10, exact=False)),
    "tt-rnn": (lambda: lively(recurrent("rnn"), 1.7), input_spec((16, 12), 10, exact=False)),
    "gru": (lambda: lively(recurrent(dense=True), 1), input_spec((16, 12), 10, exact=False)),
    "conv3d": (lambda: lively(conv3d(), 3), input_spec((24, 20), 9, exact=True)),
    "conv3d-gap": (
        lambda: lively(conv3d(head="gap", channels=3), 4),
        input_spec((24, 20), 9, exact=True),
    ),
    "crnn": (
        lambda: lively(build_crnn(len(NAMES), height=33, width=33, seed=0), 3.5),
        input_spec((33, 33), 6, exact=False),
    ),
    "resnet-crnn": (
        lambda: lively(resnet_crnn(), 3),
        input_spec((32, 32), 4, exact=False),
    ),
    "divided": (lambda: lively(timesformer("divided"), 3), input_spec((16, 16), 3, exact=True)),
    "joint": (lambda: lively(timesformer("joint"), 3), input_spec((16, 16), 3, exact=True)),
    "space": (lambda: lively(timesformer("space"), 3), input_spec((16, 16), 3, exact=True)),
}
