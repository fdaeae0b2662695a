"""Stored features of a frozen network: which rows are a clip's, and what damaged files do."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from preprocess.batches.features import FeatureStore, _file
from preprocess.errors import ShardError

NUM_FRAMES = np.arange(1, 21)  # of twenty clips, which fill one file of sixteen and begin another
POSITIONS = 3 * np.arange(20)


@pytest.fixture
def features() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(length, 5)).astype(np.float32) for length in NUM_FRAMES]


@pytest.fixture
def folder(features: list[np.ndarray], tmp_path: Path) -> Path:
    for number, clips in enumerate((features[:16], features[16:])):
        np.save(_file(tmp_path, number), np.concatenate(clips))
    return tmp_path


def test_each_clip_has_its_rows(folder: Path, features: list[np.ndarray]) -> None:
    store = FeatureStore(folder, POSITIONS, NUM_FRAMES)
    for position, expected in zip(POSITIONS.tolist(), features, strict=True):
        np.testing.assert_array_equal(store[position].read(), expected)
        part = store[position].read(start=1, max_frames=2)
        np.testing.assert_array_equal(part, expected[1:3])
    with pytest.raises(KeyError):
        store[1]


def test_no_header_is_parsed_once_training_has_begun(
    folder: Path, features: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when reading in a thread parses text, in which Python 3.11 fails now and then."""

    def parse(*_: object) -> None:
        raise SystemError("AST constructor recursion depth mismatch")

    store = FeatureStore(folder, POSITIONS, NUM_FRAMES)
    monkeypatch.setattr(ast, "literal_eval", parse)
    np.testing.assert_array_equal(store[57].read(), features[19])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (np.zeros((136, 5)), "must be float32. Received float64"),
        (np.full(3, None, object), "allow_pickle=False|Array can't be memory-mapped"),
        (b"\x93NUMPY", "EOF|expected"),
        (None, "No such file"),
    ],
)
def test_damaged_files_are_refused_at_once(
    folder: Path, content: np.ndarray | bytes | None, reason: str
) -> None:
    file = _file(folder, 0)
    file.unlink()
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        np.save(file, content, allow_pickle=True)
    with pytest.raises(ShardError, match=rf"damaged or gone: .*({reason}).*Remove"):
        FeatureStore(folder, POSITIONS, NUM_FRAMES)


def test_a_file_that_is_cut_off_while_it_is_used_is_refused(folder: Path) -> None:
    store = FeatureStore(folder, POSITIONS, NUM_FRAMES)
    file = _file(folder, 1)
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ShardError, match="damaged or gone"):
        store[57].read()
