"""Measure what TT ranks cost and keep: a trained dense layer compressed by TT-SVD, then trained.

    python -m experiments.bench_tt_ranks

A network 64 -> 256 -> 256 -> 10 learns scikit-learn's handwritten digits, 1,797 images of 8 x 8, of
which every fourth is for the test. `TTDense.from_dense` compresses its middle layer, a 256 x 256
kernel. The table has the accuracies before and after 20 more epochs of the whole network. It is
printed as Markdown; docs/log.md has its rows.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import tyro

from common.command_line import parse_arguments
from experiments.benchmarks import carry_out
from experiments.process import runtime

# Modes of both axes of the kernel: four cores, or two.
MODES = (4, 4, 4, 4), (16, 16)
RANKS = (1, 2, 4, 8, 16, 32)
ERRORS = (0.5, 0.2, 0.05)
EPOCHS, EPOCHS_AFTER = 60, 20
_HIDDEN = 256


@dataclass(frozen=True)
class Arguments:
    """What ranks cost and keep: a trained dense layer compressed by TT-SVD, then trained on.

    Prints a Markdown table; docs/log.md explains it. It takes some minutes.
    """

    threads: Annotated[str, tyro.conf.arg(metavar="auto|INTRA,INTER")] = "auto"
    """TensorFlow's thread pools."""


def main(args: list[str]) -> int:
    """Run the command line and return the exit code."""
    prog = "python -m experiments.bench_tt_ranks"
    arguments = parse_arguments(Arguments, prog=prog, args=args)
    return carry_out(lambda: _print_table(arguments))


def _print_table(arguments: Arguments) -> None:
    runtime.configure(runtime.choose_threads(arguments.threads), seed=0)
    print("| modes | asked for | ranks | weights | times fewer | error | accuracy | trained on |")
    print("|---|---|---|--:|--:|--:|--:|--:|")
    for cells in _rows():
        print(f"| {' | '.join(cells)} |", flush=True)


def _rows() -> Iterator[tuple[str, ...]]:
    import keras

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
    import keras

    from ttrnn import TTDense

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
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images, is_test = (images / 16).astype("float32"), np.arange(len(images)) % 4 == 0
    return (images[~is_test], labels[~is_test]), (images[is_test], labels[is_test])


def _network(middle: Any) -> Any:
    import keras

    first = keras.layers.Dense(_HIDDEN, activation="relu")
    model = keras.Sequential([keras.Input((64,)), first, middle, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    return model


def _fit(model: Any, data: tuple[np.ndarray, np.ndarray], epochs: int) -> None:
    model.fit(*data, epochs=epochs, batch_size=64, verbose=0)


def _accuracy(model: Any, data: tuple[np.ndarray, np.ndarray]) -> str:
    return f"{model.evaluate(*data, verbose=0)[1]:.3f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
