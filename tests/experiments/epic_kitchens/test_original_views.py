"""The recipe `original` from files to views, against the original's own code.

golden/make_timesformer_views.py says how its arrays were made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.clips.prediction.predict import predict_video
from experiments.clips.recipe import Size
from experiments.clips.subsets import open_clips, with_frame_size
from experiments.clips.viewed_model import ClipInputSpec, ViewedModel
from experiments.epic_kitchens.models import make_batches
from experiments.epic_kitchens.recipes import DATASET, EpicKitchensArguments, Recipe
from preprocess.batches.features import FeatureSettings, compute_features
from preprocess.batches.view_batches import PixelViews
from preprocess.batches.views import Crop
from preprocess.shards.reader import Shards
from preprocess.shards.settings import FrameSettings
from preprocess.sources.clips import Clip

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "timesformer_views.npz")
SMALL = ("crop_size=[16,16]", "short_sides=[19,24]", "num_frames=4")


def noise(number: int, size: Size) -> np.ndarray:
    """The script's `image`, BGR."""
    rng = np.random.default_rng([2021, number])
    return rng.integers(0, 256, (size[1], size[0], 3), np.uint8)


def smooth(number: int, size: Size) -> np.ndarray:
    """The script's `smooth_image`, BGR."""
    (width, height), bgr = size, np.empty((size[1], size[0], 3))
    bgr[..., 0] = 255 * (np.arange(width) + 0.5) / width
    bgr[..., 1] = 255 * (np.arange(height)[:, None] + 0.5) / height
    bgr[..., 2] = 20 * number
    return np.rint(bgr).astype(np.uint8)


def write_clip(folder: Path, size: Size, make: Callable[[int, Size], np.ndarray] = noise) -> None:
    """11 pictures, without loss."""
    folder.mkdir(parents=True)
    for number in range(11):
        image = Image.fromarray(np.ascontiguousarray(make(number, size)[..., ::-1]))
        image.save(folder / f"frame_{number + 1:010d}.png")


def golden_levels(name: str) -> np.ndarray:
    """Test views of the script, (3, 4, 16, 16, 3), in RGB levels."""
    golden = GOLDEN[name]  # (3, 3, 4, 16, 16), BGR, normalised
    return (golden[:, ::-1].transpose(0, 2, 3, 4, 1) * 0.225 + 0.45) * 255


def arguments(root: Path, *changes: str) -> EpicKitchensArguments:
    return EpicKitchensArguments(
        videos=root / "videos",
        shards=root / "shards",
        recipe="original",
        size="small",
        set=(*SMALL, *changes),
        jobs=1,
    )


@pytest.mark.parametrize("size", [(57, 32), (32, 57), (40, 40)])
def test_tested_views_are_the_originals(tmp_path: Path, size: Size) -> None:
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
    levels = golden_levels(f"test_{size[0]}x{size[1]}")
    assert np.abs(views - levels.reshape(views.shape)).max() <= 0.51


MIXED: dict[str, Size] = {"a": (57, 32), "b": (57, 32), "c": (32, 57), "d": (40, 40), "e": (45, 17)}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[EpicKitchensArguments, Recipe, Shards]:
    """Smooth clips of four sizes, stored as 57x32."""
    root = tmp_path_factory.mktemp("mixed")
    for name, size in MIXED.items():
        write_clip(root / "videos" / "open" / name, size, smooth)
    given = arguments(root)
    recipe = with_frame_size(DATASET, given, given.made_recipe())
    shards = open_clips(DATASET, given, recipe)
    assert shards.frame_size == (57, 32)
    return given, recipe, shards


def sizes(shards: Shards) -> list[Size]:
    return [MIXED[Path(source).name] for source in shards.sources]


def test_clips_of_several_sizes_are_tested_in_their_own_shape(
    mixed: tuple[EpicKitchensArguments, Recipe, Shards],
) -> None:
    """Red when a clip is seen in the shape of the stored frames, or in another clip's.

    What was scaled twice is up to 3 levels off at the edges; a stretched picture, 30 or more.
    """
    given, recipe, shards = mixed
    batches = make_batches(given, recipe, shards).with_views(recipe.places)
    order, stream = batches.by_length(range(len(shards)))
    views = np.concatenate([np.asarray(inputs["frames"]) for inputs, _ in stream])
    views = views.reshape(len(order), 4, 16, 16, 3)
    for clip, (width, height) in enumerate(sizes(shards)):
        levels = golden_levels(f"smooth_{width}x{height}")
        assert np.abs(views[order == clip] - levels).max() <= 3
    wide, high = (golden_levels(f"smooth_{name}") for name in ("57x32", "32x57"))
    assert np.abs(wide - high).max() > 30


def test_clips_of_several_sizes_are_trained_on_in_their_own_shape(
    mixed: tuple[EpicKitchensArguments, Recipe, Shards],
) -> None:
    """Red when a training crop is drawn from the shape of the stored frames."""
    _, recipe, shards = mixed
    source, rng = PixelViews(shards, recipe.crops), np.random.default_rng(0)
    for clip, (width, height) in enumerate(sizes(shards)):
        crops = [Crop(*source.drawn(clip, rng)[:-1]) for _ in range(1500)]
        of_22 = [crop for crop in crops if min(crop.scaled_width, crop.scaled_height) == 22]
        drawn_from = (max(crop.top for crop in of_22) + 1, max(crop.left for crop in of_22) + 1)
        assert drawn_from == tuple(GOLDEN[f"offsets_{width}x{height}"])


def test_a_model_sees_videos_of_several_sizes_in_their_own_shape(
    mixed: tuple[EpicKitchensArguments, Recipe, Shards],
) -> None:
    """Red when predictions stretch a video to the shape of the frames that were trained on."""

    class Shown(ViewedModel):
        """A model whose answer is what it was shown."""

        def probabilities(self, views: list[np.ndarray]) -> np.ndarray:
            shown.extend(views)
            return np.ones((len(views), 1), np.float32)

    shown: list[np.ndarray] = []
    given, recipe, _ = mixed
    input_spec = ClipInputSpec(
        ("open",), recipe.settings(), recipe.choice(), recipe.crops, usual_frames=11
    )
    model = Shown(input_spec, recipe.places)
    assert given.videos is not None
    for name, (width, height) in MIXED.items():
        shown.clear()
        predict_video(model, given.videos / "open" / name)
        assert np.abs(shown - golden_levels(f"smooth_{width}x{height}")).max() <= 3


def test_features_are_of_clips_in_their_own_shape(
    mixed: tuple[EpicKitchensArguments, Recipe, Shards], tmp_path: Path
) -> None:
    """Red when features are computed of stretched pictures, or those of a crop of the first clip's
    shape are taken for all."""
    _, recipe, shards = mixed

    def middle_column(frames: np.ndarray) -> np.ndarray:
        return frames[:, :, 8].reshape(len(frames), -1).astype(np.float32)

    clips = range(len(shards))
    settings = FeatureSettings("middle column", 48, recipe.crops, crop=0, num_crops=3)
    store = compute_features(tmp_path, shards, clips, settings, middle_column)
    frames = recipe.choice().tested(11, 0, 1)
    for clip, (width, height) in enumerate(sizes(shards)):
        levels = golden_levels(f"smooth_{width}x{height}")[0, :, :, 8]
        assert np.abs(store[clip].read()[frames].reshape(levels.shape) - levels).max() <= 3


def test_other_shapes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Red when the first clip's size is taken, or clips are scaled twice without a word."""
    for name, size in (("a", (40, 40)), ("b", (57, 32)), ("c", (57, 32))):
        write_clip(tmp_path / "videos" / "open" / name, size)
    given = arguments(tmp_path)
    assert with_frame_size(DATASET, given, given.made_recipe()).frame_size == (57, 32)
    captured = capsys.readouterr()
    assert "Frames are stored as 57x32" in captured.out
    assert "1 of 3 clips have pictures of another size than 57x32" in captured.err


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
    other = EpicKitchensArguments(
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
