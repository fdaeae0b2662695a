"""Seed of the weights, and pictures, of mobile_networks.npz, for its script and for the tests."""

import numpy as np

SEED = 2018


def images(height, width):
    """Chequers, rings, a grid and blocks of colours, uint8 (4, height, width, 3)."""
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
