"""Classes come equally often, clips of a class too, and the generator alone decides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.training.finetuning import balanced


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 10**6))
def test_classes_and_their_clips_come_equally_often(labels, seed):
    """Red when a clip of no part is drawn, an epoch is longer or shorter, a class comes twice
    more often than another, or one clip of a class stands for all of it."""
    rng = np.random.default_rng(seed)
    labels = np.array(labels)
    clips = np.flatnonzero(rng.random(len(labels)) < 0.7)
    clips = clips if len(clips) else np.arange(len(labels))
    drawn = balanced(labels, clips, np.random.default_rng(seed))
    assert len(drawn) == len(clips)
    assert set(drawn) <= set(clips)
    classes = np.unique(labels[clips])
    assert np.ptp([(labels[drawn] == label).sum() for label in classes]) <= 1
    for label in classes:
        members = clips[labels[clips] == label]
        assert np.ptp([(drawn == clip).sum() for clip in members]) <= 1


def test_the_generator_decides():
    """Red when the order is by class, or the global generator is used."""
    labels = np.repeat([0, 1], [90, 10])
    clips = np.arange(100)
    one, again, other = (balanced(labels, clips, np.random.default_rng(s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert 30 < np.count_nonzero(np.diff(labels[one])) < 70  # 49.5 on average; 1 by class


def test_a_large_class_is_seen_in_turn():
    """Red when the same clips of it are left out in every epoch."""
    labels, clips = np.repeat([0, 1], [90, 10]), np.arange(100)
    epochs = [balanced(labels, clips, np.random.default_rng([0, epoch])) for epoch in range(12)]
    assert set(np.concatenate(epochs)) == set(clips)


def test_which_class_comes_once_more_is_drawn():
    """Red when it is always the first one."""
    labels = np.arange(10) % 3
    often = {
        int(np.bincount(labels[balanced(labels, np.arange(10), np.random.default_rng(s))]).argmax())
        for s in range(30)
    }
    assert often == {0, 1, 2}


def test_no_clips_are_refused():
    with pytest.raises(ValueError, match="Received none"):
        balanced(np.array([0, 1]), [], np.random.default_rng(0))
