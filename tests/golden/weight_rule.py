"""Rule that makes the weights of golden arrays, for their scripts and for the tests."""

import zlib

import numpy as np


def value(key, shape, *, seed=2015):
    """Weight of a key: variances and scales about 1, the rest about 0, scaled by the fan-in."""
    rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
    word = key.rpartition(".")[2]
    if word == "num_batches_tracked":
        return np.array(1)
    if word == "running_var" or (word == "weight" and len(shape) == 1):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    scale = 0.2 if len(shape) == 1 else np.prod(shape[1:]) ** -0.5
    return (scale * rng.standard_normal(shape)).astype(np.float32)
