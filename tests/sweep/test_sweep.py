"""The quick part of the sweep: one or two videos of each kind through each command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.sweep.__main__ import sweep
from tests.sweep.readings import COMMANDS, Reading, cells_of, differences, numbers_in
from tests.sweep.specimens import QUICK, Specimen, SpecimenMaker, names, numbered


@pytest.fixture(scope="module")
def specimens(tmp_path_factory: pytest.TempPathFactory) -> list[Specimen]:
    maker = SpecimenMaker(tmp_path_factory.mktemp("videos"))
    return [maker.make(name) for name in QUICK]


@pytest.mark.parametrize("command", COMMANDS)
def test_videos_are_read_as_ffmpeg_reads_them(
    command: str, specimens: list[Specimen], tmp_path: Path
) -> None:
    """Red when interlaced pictures are black, mirrored ones upside down, or times begin again."""
    assert sweep(specimens, [command], tmp_path) == []


def test_the_quick_part_is_a_part() -> None:
    assert set(QUICK) <= set(names())


def test_pictures_show_their_numbers() -> None:
    assert numbers_in(cells_of(numbered(7, 300))) == tuple(range(7, 307))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frames: frames[:-1], "29 frames, ffmpeg reads 30"),
        (lambda frames: frames[:, ::-1], "frame 1 is off"),
        (lambda frames: frames[:, :, ::-1], "frame 1 is off"),
        (lambda frames: frames[..., ::-1], "frame 0 is off"),
        (lambda frames: np.concatenate([frames[:3], frames[2:-1]]), "it looks most like 2"),
        (lambda frames: frames * np.array([1] * 20 + [0] * 10, np.uint8)[:, None, None, None],
         "frame 20 is off"),
    ],
)  # fmt: skip
def test_differences_are_seen(change, message: str) -> None:
    """Red when the comparison is blind: to lost, mirrored, swapped, repeated or black frames."""
    frames = numbered(0, 30)
    times = np.arange(30) / 25
    expected = Reading(cells_of(frames), times)
    changed = np.ascontiguousarray(change(frames))
    found = Reading(cells_of(changed), times[: len(changed)])
    assert message in differences(Specimen(Path("x")), expected, found)


def test_times_are_compared() -> None:
    cells = cells_of(numbered(0, 30))
    expected, late = np.arange(30) / 25, np.arange(30) / 25
    late[20:] += 0.02
    found = differences(Specimen(Path("x")), Reading(cells, expected), Reading(cells, late))
    assert found == "frame 20 is +0.020 s off"
