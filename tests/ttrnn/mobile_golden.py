"""Helpers of the tests of mobile networks, with the rules of golden/make_mobile_networks.py."""

import zlib
from pathlib import Path

import numpy as np

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "mobile_networks.npz")
SEED = 2018


def value(key, shape):
    """As in make_mobile_networks.py."""
    rng = np.random.default_rng([SEED, zlib.crc32(key.encode())])
    word = key.rpartition(".")[2]
    if word == "num_batches_tracked":
        return np.array(1)
    if word == "running_var" or (word == "weight" and len(shape) == 1):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    scale = 0.2 if len(shape) == 1 else np.prod(shape[1:]) ** -0.5
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def images(height, width):
    """As in make_mobile_networks.py."""
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng([SEED, height, width])
    rings = (y - height // 2) ** 2 + (x - width // 3) ** 2
    plain = [
        (y // 14 + x // 14) % 2 * 200,
        np.sqrt(rings).astype(int) // 6 % 2 * 180,
        np.maximum(y % 16 < 2, x % 16 < 2) * 160,
    ]
    blocks = rng.integers(0, 200, (height // 16 + 1, width // 16 + 1, 3))
    colours = blocks.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    tints = rng.integers(0, 30, (3, 1, 1, 3))
    made = [one[..., None] + tint for one, tint in zip(plain, tints, strict=True)] + [colours]
    return (np.stack(made) + rng.integers(0, 20, (4, height, width, 3))).astype(np.uint8)


def torch_state(network, make=value):
    """What torch's state_dict() would give, by its own keys and shapes."""
    return {
        str(key): make(str(key), tuple(int(side) for side in shape if side >= 0))
        for key, shape in zip(GOLDEN[f"{network}_keys"], GOLDEN[f"{network}_shapes"], strict=True)
    }
