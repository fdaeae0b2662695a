"""Settings and fixtures of all tests."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from preprocess.workers import child_process
from tests.demo_set import SHARED_FOLDER
from tests.fork_server import ForkedProcess

# Property tests try the same examples in every run, so that a red one is red for everybody, and
# take the time that they need: a slow machine is no fault of the code.
settings.register_profile(
    "same examples",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("same examples")

# Some tests import ONNX Runtime before anything of ours: see experiments/__init__.py.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# A shell that starts the suite in the background lets it ignore SIGINT, and so would all commands
# that tests interrupt: what is ignored is inherited, a handler is not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Files that take longest, longest first. They are begun first, so that no processor waits for one
# of them in the end; a list that is out of date costs time and nothing else.
LONGEST_FILES = (
    "experiments/ucf101/test_job.py",
    "experiments/training/test_distribution.py",
    "ttrnn/test_rnn.py",
    "experiments/classify/test_command.py",
    "ttrnn/engine/test_exporting.py",
    "experiments/models/test_image_models.py",
    "experiments/highlights/test_run_command.py",
    "experiments/test_ucf11_features.py",
    "experiments/highlights/test_run_scoring.py",
    "experiments/highlights/review/test_review_browser.py",
    "experiments/epic_kitchens/test_job.py",
    "preprocess/extraction/test_interruption.py",
    "full_disk/test_full_disk.py",
    "experiments/training/test_loop.py",
    "ttrnn/test_backends.py",
    "endurance/test_endurance.py",
    "experiments/highlights/test_opening.py",
    "experiments/highlights/test_synthetic_stream.py",
    "experiments/test_scaling.py",
    "experiments/test_ucf11.py",
    "weights/test_ucf101_weights.py",
    "preprocess/extraction/test_extract.py",
    "experiments/training/test_deterministic.py",
    "killing/test_killing.py",
    "experiments/highlights/test_training_job.py",
    "experiments/highlights/test_render.py",
    "test_architecture.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Give all processes of this session one folder for the demo set."""
    if SHARED_FOLDER not in os.environ:  # else it is a process that the session has started
        folder = tempfile.TemporaryDirectory(prefix="demo-set-")
        os.environ[SHARED_FOLDER] = folder.name
        config.add_cleanup(folder.cleanup)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first; the order within a file stays."""
    tests = Path(__file__).parent
    places = {tests / name: place for place, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """Let no garbage collection go over TensorFlow and all tests again and again."""
    gc.collect()
    gc.freeze()


def _seed() -> None:
    """Start the random numbers that are drawn where no seed is passed, as Keras does for weights.

    Without it a test that needs weights with some effect fails once in a hundred runs.
    """
    random.seed(0)
    np.random.seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup() -> None:
    """Seed before every fixture, also one that is shared by many tests."""
    _seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """Seed before every test."""
    _seed()


@pytest.fixture(scope="session", autouse=True)
def forked_decoders() -> Iterator[None]:
    """Fork the decoders that tests of this process start: hundreds would import OpenCV anew.

    Commands that tests run as processes of their own start theirs as a user's do, and so do tests
    with the fixture `executed_decoders`.
    """
    forking = SimpleNamespace(**{**vars(subprocess), "Popen": ForkedProcess})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child_process, "subprocess", forking)
        yield


@pytest.fixture
def executed_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start decoders as the product does: fresh interpreters, children of this process."""
    monkeypatch.setattr(child_process, "subprocess", subprocess)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Restore signal handlers: the alarm of a command that was stopped here would end all tests."""
    dropping = sys.unraisablehook
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    if signal.getsignal(signal.SIGALRM) is not before[signal.SIGALRM]:
        signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)
    sys.unraisablehook = dropping
