"""Small TimeSformer, and clips of three classes that it can learn."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ttrnn.models import build_timesformer

SIZES = {"num_frames": 2, "image_size": 16, "patch_size": 8, "dim": 8, "depth": 3, "heads": 2}
OPTIONS = {**SIZES, "attention": "joint", "seed": 0}  # "divided" takes twice as long to build


@pytest.fixture
def small_model():
    """Function that builds the same model every time: three blocks, three classes."""

    def build(**options):
        keras.utils.set_random_seed(0)
        return build_timesformer(3, **OPTIONS | options)

    return build


@pytest.fixture
def uncompiled():
    """Run training steps eagerly, since compiling a TimeSformer's step takes seconds."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def clips():
    """Frames uint8 (12, 2, 16, 16, 3) and labels (12,); each class has a colour."""
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 3
    frames = rng.integers(0, 60, (12, 2, 16, 16, 3))
    frames[np.arange(12), ..., labels] += 150
    return tf.constant(frames.astype(np.uint8)), tf.constant(labels.astype(np.int32))
