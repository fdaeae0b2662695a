"""Networks that `experiments.bench_tt_ranks` trains and compresses, as rows of its table."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from sklearn.datasets import load_digits

from ttrnn import TTDense

# Modes of both axes of the kernel: four cores, or two.
MODES = (4, 4, 4, 4), (16, 16)
RANKS = (1, 2, 4, 8, 16, 32)
ERRORS = (0.5, 0.2, 0.05)
EPOCHS, EPOCHS_AFTER = 60, 20
_HIDDEN = 256


def measure_rows() -> Iterator[tuple[str, ...]]:
    """Train, compress and train on; yield the cells of each row of the table."""
    train, test = _digits()
    dense = keras.layers.Dense(_HIDDEN, activation="relu", name="middle")
    model = _network(dense)
    _fit(model, train, EPOCHS)
    before = model.get_weights()
    kernel = keras.ops.convert_to_numpy(dense.kernel)
    yield ("dense", "", "", f"{kernel.size:,}", "1", "0", _accuracy(model, test), "")
    for modes in MODES:
        asked: list[dict[str, Any]] = [{"tt_ranks": rank} for rank in RANKS]
        asked += [{"relative_error": error} for error in ERRORS]
        for bound in asked:
            # The training of the row before has changed the layers that both networks share.
            model.set_weights(before)
            yield _row(model, dense, kernel, modes, bound, train, test)


def _row(model, dense, kernel, modes, bound, train, test) -> tuple[str, ...]:
    with warnings.catch_warnings():
        # The warning that a layer grows; the table shows it.
        warnings.simplefilter("ignore", UserWarning)
        layer = TTDense.from_dense(dense, tt_input_shape=modes, tt_output_shape=modes, **bound)
    full = keras.ops.convert_to_numpy(layer.full_kernel())
    error = np.linalg.norm(full - kernel) / np.linalg.norm(kernel)
    compressed = _network(layer)
    # All layers but the compressed one start from the trained weights.
    for mine, theirs in zip(compressed.layers, model.layers, strict=True):
        if mine is not layer:
            mine.set_weights(theirs.get_weights())
    accuracy = _accuracy(compressed, test)
    _fit(compressed, train, EPOCHS_AFTER)
    ((name, value),) = bound.items()
    return (
        " x ".join(map(str, modes)),
        f"{name} {value}",
        "-".join(map(str, layer.tt_shape.ranks)),
        f"{layer.num_tt_params:,}",
        f"{kernel.size / layer.num_tt_params:.1f}",
        f"{error:.3f}",
        accuracy,
        _accuracy(compressed, test),
    )


def _digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    images, labels = load_digits(return_X_y=True)
    images, is_test = (images / 16).astype("float32"), np.arange(len(images)) % 4 == 0
    return (images[~is_test], labels[~is_test]), (images[is_test], labels[is_test])


def _network(middle: Any) -> Any:
    first = keras.layers.Dense(_HIDDEN, activation="relu")
    model = keras.Sequential([keras.Input((64,)), first, middle, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    return model


def _fit(model: Any, data: tuple[np.ndarray, np.ndarray], epochs: int) -> None:
    model.fit(*data, epochs=epochs, batch_size=64, verbose=0)


def _accuracy(model: Any, data: tuple[np.ndarray, np.ndarray]) -> str:
    return f"{model.evaluate(*data, verbose=0)[1]:.3f}"
