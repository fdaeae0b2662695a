"""The recipe `original` from files to views, against the original's own code.

golden/make_timesformer_views.py says how its arrays were made.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.clips.subsets import open_clips, with_frame_size
from experiments.epic_kitchens.arguments import DATASET, Arguments
from experiments.epic_kitchens.job import make_batches
from preprocess.shards.settings import FrameSettings
from preprocess.sources.clips import Clip

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "timesformer_views.npz")
SMALL = ("crop_size=[16,16]", "short_sides=[19,24]", "num_frames=4")


def write_clip(folder: Path, size: tuple[int, int]) -> None:
    """11 pictures by the script's rule, without loss."""
    folder.mkdir(parents=True)
    for number in range(11):
        rng = np.random.default_rng([2021, number])
        bgr = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
        picture = Image.fromarray(np.ascontiguousarray(bgr[..., ::-1]))
        picture.save(folder / f"frame_{number + 1:010d}.png")


def arguments(root: Path, *changes: str) -> Arguments:
    return Arguments(
        videos=root / "videos",
        shards=root / "shards",
        recipe="original",
        size="small",
        set=(*SMALL, *changes),
        jobs=1,
    )


@pytest.mark.parametrize("size", [(57, 32), (32, 57), (40, 40)])
def test_tested_views_are_the_originals(tmp_path: Path, size: tuple[int, int]) -> None:
    """Red when frames are stored in another shape than their own, when the short side is not that
    of the crop, or when a frame is that of another segment."""
    write_clip(tmp_path / "videos" / "open" / "clip", size)
    given = arguments(tmp_path)
    recipe = with_frame_size(DATASET, given, given.made_recipe())
    shards = open_clips(DATASET, given, recipe)
    assert shards.frame_size == size
    batches = make_batches(given, recipe, shards).with_views(recipe.places)
    _, stream = batches.by_length([0])
    views = np.concatenate([np.asarray(inputs["frames"]) for inputs, _ in stream])
    golden = GOLDEN[f"test_{size[0]}x{size[1]}"]  # (3, 3, 4, 16, 16), BGR, normalised
    levels = (golden[:, ::-1].transpose(0, 2, 3, 4, 1) * 0.225 + 0.45) * 255
    assert np.abs(views - levels.reshape(views.shape)).max() <= 0.51


def test_other_shapes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Red when the first clip's size is taken, or clips are stretched without a word."""
    for name, size in (("a", (40, 40)), ("b", (57, 32)), ("c", (57, 32))):
        write_clip(tmp_path / "videos" / "open" / name, size)
    given = arguments(tmp_path)
    assert with_frame_size(DATASET, given, given.made_recipe()).frame_size == (57, 32)
    told = capsys.readouterr()
    assert "Frames are stored as 57x32" in told.out
    assert "1 of 3 clips have pictures of another size than 57x32" in told.err


def test_a_size_is_of_the_classes_asked_for_and_each_video_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when a class in its common spelling matches nothing, or each row opens its video."""
    write_clip(tmp_path / "a", (57, 32))
    write_clip(tmp_path / "b", (40, 40))
    rows = ["a,HandstandPushups,0,1", "a,HandstandPushups,1,2", "b,Archery,,"]
    listed = tmp_path / "clips.csv"
    listed.write_text("\n".join(["video,label,start_frame,stop_frame", *rows]))
    opened: list[Path] = []
    whole = FrameSettings.open

    def counted(self: FrameSettings, clip: Clip, *, threads: int) -> Any:
        opened.append(clip.path)
        return whole(self, clip, threads=threads)

    monkeypatch.setattr(FrameSettings, "open", counted)
    given = replace(arguments(tmp_path), videos=listed, classes=("HandStandPushups",))
    assert with_frame_size(DATASET, given, given.made_recipe()).frame_size == (57, 32)
    assert [path.name for path in opened] == ["a"]


def test_a_size_can_be_stated(tmp_path: Path) -> None:
    write_clip(tmp_path / "videos" / "open" / "clip", (57, 32))
    given = arguments(tmp_path, "frame_size=[40,24]")
    assert with_frame_size(DATASET, given, given.made_recipe()).frame_size == (40, 24)


def test_shards_that_were_made_otherwise_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip(tmp_path / "videos" / "open" / "clip", (40, 40))
    given = arguments(tmp_path)
    open_clips(DATASET, given, with_frame_size(DATASET, given, given.made_recipe()))
    other = Arguments(
        shards=tmp_path / "shards",
        recipe="original",
        size="small",
        set=(*SMALL, "interpolation=pillow"),
    )
    capsys.readouterr()
    recipe = with_frame_size(DATASET, other, other.made_recipe())
    assert recipe.frame_size == (40, 40)
    open_clips(DATASET, other, recipe)
    assert "interpolation=linear; the recipe extracts with interpolation=pillow" in (
        capsys.readouterr().err
    )
