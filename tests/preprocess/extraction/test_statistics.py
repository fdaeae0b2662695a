"""The statistics, against figures worked out by hand."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from preprocess import FrameSettings, open_shards
from preprocess.extraction.extract import extract
from preprocess.extraction.statistics import (
    format_statistics,
    length_statistics,
    plot_lengths,
    summarize,
    truncate,
    write_statistics,
)


def test_summary() -> None:
    found = asdict(summarize([10, 20, 30, 40, 100]))
    expected = {
        "num_clips": 5,
        "min": 10,
        "mean": 40.0,
        "median": 30.0,
        "p5": 12.0,
        "p25": 20.0,
        "p75": 40.0,
        "p95": 88.0,
        "max": 100,
    }
    assert found == pytest.approx(expected)


def test_truncation() -> None:
    found = truncate([50, 200, 250, 500], 200, frame_size=(160, 120))
    assert found.num_truncated == 2  # 200 frames just fit
    assert found.frames_kept == pytest.approx(650 / 1000)
    assert found.padding == pytest.approx(150 / 800)
    assert found.uint8_bytes == 4 * 200 * 57600
    assert found.float32_bytes == 4 * found.uint8_bytes


def test_statistics_of_shards(videos: Path, tmp_path: Path) -> None:
    extract(videos, tmp_path, FrameSettings(size=(32, 24)), jobs=1)
    shards = open_shards(tmp_path)
    statistics = length_statistics(shards)
    assert statistics.overall.num_clips == 12
    assert {name: row.min for name, row in statistics.by_class.items()} == {
        "biking": 10,
        "walking": 16,
    }
    assert [row.maxlen for row in statistics.truncations] == [200, 450, 900, 1492]

    saved = json.loads(write_statistics(statistics, tmp_path).read_text())
    assert saved["overall"]["max"] == 21
    assert saved["by_class"]["walking"]["num_clips"] == 6
    assert saved["truncations"][0]["float32_bytes"] == 12 * 200 * 32 * 24 * 3 * 4

    table = format_statistics(statistics)
    assert [line.split()[0] for line in table.splitlines()[1:4]] == ["biking", "walking", "all"]
    assert plot_lengths(shards, statistics, tmp_path).read_bytes().startswith(b"\x89PNG")
