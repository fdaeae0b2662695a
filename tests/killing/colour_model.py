"""`python -m tests.killing.colour_model FILE.keras`: saves a model of an image's mean colour."""

import sys
from pathlib import Path

import numpy as np


def save_colour_model(path: Path) -> None:
    """Save a model of 32x32 images, 0 to 1, to probabilities of four colours, and labels.txt."""
    import keras

    inputs = keras.Input((32, 32, 3))
    mean = keras.layers.GlobalAveragePooling2D()(inputs)
    layer = keras.layers.Dense(4, activation="softmax", name="colour")
    model = keras.Model(inputs, layer(mean))
    kernel = 6 * np.array([[1, -1, -1, 0.2], [-1, 1, -1, 0.2], [-1, -1, 1, 0.2]], np.float32)
    layer.set_weights([kernel, np.zeros(4, np.float32)])
    model.save(path)
    path.with_name("labels.txt").write_text("red\ngreen\nblue\nwhite\n")


if __name__ == "__main__":
    save_colour_model(Path(sys.argv[1]))
