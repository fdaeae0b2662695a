"""The layers on JAX and PyTorch, each in a process of its own: a process has one Keras backend."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import backend_check
import numpy as np
import pytest

from tests.grids import slow
from tests.processes import PATIENCE_SECONDS

SCRIPT = Path(__file__).with_name("backend_check.py")


@pytest.fixture(scope="module")
def numbers_of_tensorflow(tmp_path_factory):
    """Folder with the weights and predictions that the script compares its own with."""
    folder = tmp_path_factory.mktemp("fitted")
    for name, (model, batches) in backend_check.models().items():
        np.savez(folder / f"{name}.npz", *backend_check.fitted(model, batches))
    return folder


@pytest.mark.parametrize("flags", [[], *slow(["--all"])])
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backend_equals_the_oracle(backend, flags, numbers_of_tensorflow):
    """Red for a TensorFlow call, or an operation that only one backend takes, in the layers.

    Also where a model is not compiled on JAX, or not to TensorFlow's numbers.
    """
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": root}
    # Hundreds of small functions are compiled, and each runs a few times.
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    environment["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"  # takes half the time again
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--fitted", str(numbers_of_tensorflow), *flags],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1] == "equal"


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("rnn", {}),
        ("lstm", {"unroll": True}),
        ("gru", {"go_backwards": True}),
        *slow(("gru", {}), ("lstm", {})),
        *slow(("rnn", {"unroll": True}), ("gru", {"unroll": True})),
        *slow(("rnn", {"go_backwards": True}), ("lstm", {"go_backwards": True})),
    ],
)
def test_stateful_layers_train_as_keras_rnn(kind, options):
    """On TensorFlow; the script does the same on the others."""
    backend_check.check_stateful(kind, **options)


def test_unrolled_backwards():
    backend_check.check_unrolled()
