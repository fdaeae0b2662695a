"""The same seed and threads: the same weights, to the last bit."""

from __future__ import annotations

import numpy as np

from preprocess import FrameSettings
from preprocess.extraction.extract import extract
from tests.experiments.training.two_workers import start, variables
from tests.processes import PATIENCE_SECONDS


def test_the_same_seed_gives_the_same_bits(videos, tmp_path) -> None:
    """Red if anything is drawn without the seed, or summed in the order in which threads end."""
    settings = FrameSettings(size=(40, 30), max_frames=12)
    extract(videos, tmp_path / "shards", settings, jobs=1, dataset="demo")
    args = ("--shards", tmp_path / "shards", "--maxlen", 12, "--epochs", 2, "--threads", "2,2")
    kept = {name: tmp_path / f"{name}.npz" for name in ("first", "second", "other")}
    seeds = {"first": 0, "second": 0, "other": 1}
    runs = [
        start("experiments.ucf11", path, *args, "--out", name, "--seed", seeds[name])
        for name, path in kept.items()
    ]
    for run in runs:
        text = run.communicate(timeout=PATIENCE_SECONDS)[1]
        assert run.returncode == 0, text
    first, second, other = (variables(path) for path in kept.values())
    for mine, same in zip(first, second, strict=True):
        np.testing.assert_array_equal(mine, same)
    assert any(np.any(mine != foreign) for mine, foreign in zip(first, other, strict=True))
