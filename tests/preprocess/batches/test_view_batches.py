"""Batches of views: each clip as often as asked, and what the shards hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from preprocess import Shards, open_shards
from preprocess.batches.augment import Augmentation
from preprocess.batches.features import FeatureSettings, FeatureViews, compute_features
from preprocess.batches.rand_augment import RandAugment
from preprocess.batches.views import CropChoice, FrameChoice, Views
from preprocess.extraction.extract import extract
from preprocess.shards.settings import FrameSettings

view_batches = pytest.importorskip(
    "preprocess.batches.view_batches", reason="TensorFlow is not installed"
)
CROPS = CropChoice((10, 8), largest_zoom=1.2, mirror=True)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    from preprocess.sources.synthetic import render_dataset

    root = tmp_path_factory.mktemp("views")
    render_dataset(root / "videos", groups_per_class=1, clips_per_group=1, jobs=1, progress=False)
    extract(root / "videos", root / "shards", FrameSettings(size=(16, 12)), jobs=1)
    return open_shards(root / "shards")


def batches_of(shards: Shards, *, exact: bool = True, **options: object) -> object:
    source = view_batches.PixelViews(shards, CROPS, changes=options.pop("changes", ()))
    choice = FrameChoice(50, exact=exact)
    return view_batches.ViewBatches(source, choice, **{"batch_size": 4, "seed": 3, **options})


def rows(stream: object) -> list[tuple[np.ndarray, int]]:
    """The views one by one, with their labels."""
    found = []
    for inputs, labels in stream.as_numpy_iterator():
        ends = np.cumsum(inputs["num_frames"])
        found += list(zip(np.split(inputs["frames"], ends[:-1]), labels.tolist(), strict=True))
    return found


def test_test_views_are_what_the_shards_hold(shards: Shards) -> None:
    """Red when frames and crops of a view are another's, or labels and clips part ways."""
    views = Views(2, 3)
    order, stream = batches_of(shards, exact=False, views=views).by_length(range(len(shards)))
    assert Counter(order.tolist()) == Counter(dict.fromkeys(range(len(shards)), 6))
    seen: Counter[int] = Counter()
    for position, (frames, label) in zip(order.tolist(), rows(stream), strict=True):
        place, crop = list(views)[seen[position]]
        seen[position] += 1
        clip = shards[position]
        chosen = FrameChoice(50, exact=False).tested(clip.num_frames, place, 2)
        left = (0, 3, 6)[crop]
        expected = clip.frames[chosen][:, 2:10, left : left + 10]
        np.testing.assert_array_equal(frames, expected)
        assert label == clip.label


@pytest.mark.parametrize("changes", [(), (Augmentation(contrast=0.5), RandAugment())])
def test_training_views_follow_from_seed_and_epoch(shards: Shards, changes: tuple) -> None:
    """Red when an epoch repeats the one before, or differs when it is asked again."""
    batches = batches_of(shards, changes=changes)
    clips = range(len(shards))
    first, again, other = (rows(batches.shuffled(clips, epoch)) for epoch in (0, 0, 1))
    assert sorted(label for _, label in first) == sorted(shards.labels)
    assert all(frames.shape == (50, 8, 10, 3) for frames, _ in first)
    for (a, label_a), (b, label_b) in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
        assert label_a == label_b
    assert any(not np.array_equal(a, b) for (a, _), (b, _) in zip(first, other, strict=True))


def test_an_augmented_view_differs_from_the_plain_one(shards: Shards) -> None:
    plain = rows(batches_of(shards).shuffled([0], 0))[0][0]
    lit = rows(batches_of(shards, changes=[Augmentation(brightness=50.0)]).shuffled([0], 0))[0][0]
    assert plain.shape == lit.shape
    assert not np.array_equal(plain, lit)


class Means:
    """A network whose features are the means of the channels; it counts its frames."""

    def __init__(self) -> None:
        self.num_frames = 0

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        self.num_frames += len(frames)
        return frames.mean(axis=(1, 2), dtype=np.float32)


def settings(network: str = "means", crop: int = 0, num_crops: int = 1) -> FeatureSettings:
    return FeatureSettings(network, 3, CropChoice((8, 8)), crop, num_crops)


def test_features_are_those_of_the_frames(shards: Shards, tmp_path: Path) -> None:
    """Red when features of one clip are given for another, or of another crop."""
    clips = [0, 3, 4]
    stores = [
        compute_features(tmp_path, shards, clips, settings(crop=crop, num_crops=3), Means())
        for crop in range(3)
    ]
    source = FeatureViews(shards, stores, 3)
    frames = np.array([5, 2, 7])
    for crop, left in enumerate((0, 4, 8)):
        seen = shards[3].frames[frames][:, 2:10, left : left + 8]
        found = source.load(3, frames, np.array(source.tested(3, crop, 3)))
        np.testing.assert_allclose(found, Means()(seen))
    assert source.drawn(3, np.random.default_rng(0)) == source.tested(3, 0, 1) == (1,)


def test_features_are_computed_once(shards: Shards, tmp_path: Path) -> None:
    """Red when a second run computes again, or takes those of other weights or another crop."""
    clips, network = range(len(shards)), Means()
    compute_features(tmp_path, shards, clips, settings(), network)
    assert network.num_frames == shards.num_frames.sum()
    compute_features(tmp_path, shards, clips, settings(), network)
    assert network.num_frames == shards.num_frames.sum()
    for changed in (settings("others"), settings(num_crops=3)):
        network = Means()
        compute_features(tmp_path, shards, clips, changed, network)
        assert network.num_frames == shards.num_frames.sum()


def test_a_stopped_computation_goes_on(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when a stop loses what was finished, or leaves half a file under its name."""
    monkeypatch.setattr("preprocess.batches.features._CLIPS_A_FILE", 2)
    clips, network = range(6), Means()

    def stopping(frames: np.ndarray) -> np.ndarray:
        if network.num_frames > shards.num_frames[:4].sum():
            raise KeyboardInterrupt
        return network(frames)

    with pytest.raises(KeyboardInterrupt):
        compute_features(tmp_path, shards, clips, settings(), stopping)
    assert len(list(tmp_path.rglob("*.npy"))) == 2
    network = Means()
    store = compute_features(tmp_path, shards, clips, settings(), network)
    assert network.num_frames == shards.num_frames[4:6].sum()
    np.testing.assert_allclose(store[5].read(), Means()(shards[5].frames[:, 2:10, 4:12]))
    assert not list(tmp_path.rglob("*.tmp"))


def test_feature_views_come_in_batches(shards: Shards, tmp_path: Path) -> None:
    store = compute_features(tmp_path, shards, range(4), settings(), Means())
    source = FeatureViews(shards, [store], 3)
    batches = view_batches.ViewBatches(source, FrameChoice(6, "segments"), batch_size=3, seed=0)
    order, stream = batches.by_length(range(4))
    (first, _), *_ = stream.as_numpy_iterator()
    assert first["features"].shape == (18, 3)
    assert first["num_frames"].tolist() == [6, 6, 6]
    chosen = FrameChoice(6, "segments").tested(int(shards.num_frames[order[0]]), 0, 1)
    np.testing.assert_array_equal(first["features"][:6], store[int(order[0])].read()[chosen])
