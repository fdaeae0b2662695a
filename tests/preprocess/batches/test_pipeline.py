"""Batches: every clip once, like lengths together, padding known by length, order from the seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess import open_shards
from preprocess.extraction.extract import extract
from preprocess.shards.settings import FrameSettings

pipeline = pytest.importorskip("preprocess.batches.pipeline", reason="TensorFlow is not installed")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    from preprocess.sources.synthetic import render_dataset

    root = tmp_path_factory.mktemp("pipeline")
    render_dataset(root / "videos", groups_per_class=1, clips_per_group=1, jobs=1, progress=False)
    extract(root / "videos", root / "shards", FrameSettings(size=(16, 12)), jobs=1)
    return open_shards(root / "shards")


def batches_of(shards, **changes):
    options = {"batch_size": 4, "maxlen": 45, "stride": 2, "seed": 3, **changes}
    return pipeline.ClipBatches(shards, **options)


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=80),
    st.integers(1, 9),
    st.one_of(st.none(), st.integers(0, 5)),
)
def test_a_plan_holds_every_clip_once(lengths, batch_size, seed):
    """Red when a window or the last, smaller batch is dropped or repeated."""
    rng = None if seed is None else np.random.default_rng(seed)
    clips = np.arange(len(lengths))
    plan = pipeline.plan_batches(np.array(lengths), clips, batch_size, rng=rng)
    assert sorted(np.concatenate(plan)) == list(clips)
    assert all(1 <= len(batch) <= batch_size for batch in plan)


def test_clips_of_like_length_go_together():
    """Red when batches are cut before they are sorted: padding then grows several times."""
    lengths = np.random.default_rng(0).integers(20, 900, size=512)
    plan = pipeline.plan_batches(lengths, np.arange(512), 16, rng=np.random.default_rng(1))
    padded = sum(len(batch) * lengths[batch].max() for batch in plan)
    assert padded / lengths.sum() < 1.15


def test_batches_hold_the_frames_of_the_shards(shards):
    """Red when stride or maxlen are applied in the wrong order, or labels and clips part ways."""
    order, stream = batches_of(shards).by_length(np.arange(len(shards)))
    position = 0
    for inputs, labels in stream.as_numpy_iterator():
        start = 0
        for length, label in zip(inputs["num_frames"], labels, strict=True):
            clip = shards[int(order[position])]
            expected = clip.frames[::2][:45]
            np.testing.assert_array_equal(inputs["frames"][start : start + length], expected)
            assert label == clip.label
            start += length
            position += 1
        assert start == len(inputs["frames"])
    assert position == len(shards)


def test_an_epoch_follows_from_seed_and_epoch_alone(shards):
    """Red when a generator's state is carried from epoch to epoch: resuming would differ."""

    def labels(epoch, seed=3):
        stream = batches_of(shards, seed=seed).shuffled(np.arange(len(shards)), epoch)
        return np.concatenate([labels for _, labels in stream.as_numpy_iterator()]).tolist()

    assert labels(1) == labels(1)
    assert labels(1) != labels(2)
    assert labels(1) != labels(1, seed=4)


def test_frames_stay_uint8(shards):
    """Red when a batch is scaled or cast before the model: four times the memory."""
    _, stream = batches_of(shards).by_length(np.arange(2))
    assert stream.background.dataset.element_spec[0]["frames"].dtype.name == "uint8"


def test_nothing_keeps_an_epoch_from_ending(shards):
    """Red when tf.data's tuning thread runs again, for which an iterator waits up to 20 s."""
    batches = batches_of(shards).shuffled(np.arange(len(shards)), 0)
    assert batches.background.dataset.options().autotune.enabled is False
