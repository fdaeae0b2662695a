"""`python -m tests.sweep.cell_model FILE.keras`: saves a model of mean colours of 4 x 4 cells."""

import sys
from pathlib import Path

import numpy as np

from tests.sweep.readings import LOGIT_SCALE


def save_cell_model(path: Path) -> None:
    """Save a model of images (48, 64, 3), 0 to 1, to probabilities of 48 classes and labels.txt."""
    import keras

    inputs = keras.Input((48, 64, 3))
    cells = keras.layers.Flatten()(keras.layers.AveragePooling2D((12, 16))(inputs))
    layer = keras.layers.Dense(48, activation="softmax", name="cells")
    model = keras.Model(inputs, layer(cells))
    layer.set_weights([LOGIT_SCALE * np.eye(48, dtype=np.float32), np.zeros(48, np.float32)])
    model.save(path)
    path.with_name("labels.txt").write_text("".join(f"{number}\n" for number in range(48)))


if __name__ == "__main__":
    save_cell_model(Path(sys.argv[1]))
