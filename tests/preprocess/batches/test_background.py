"""One pipeline for all epochs: each run has its own batches, and nothing grows."""

from __future__ import annotations

import gc
from itertools import islice

import numpy as np
import pytest
import tensorflow as tf

from preprocess.batches.background import Background, Stream


@pytest.fixture
def background() -> Background:
    return Background((), (tf.int64,), lambda numbers: tf.ensure_shape(numbers, (None,)))


def run(background: Background, first: int, factor: int = 1) -> Stream:
    """Five batches of two numbers."""
    plan = [np.array([first + i, first + i + 1]) for i in range(0, 10, 2)]
    return Stream(background, plan, lambda entry: (entry * factor,))


def numbers(batches) -> list[int]:
    return np.concatenate([batch.numpy() for batch in batches]).tolist()


def test_runs_at_the_same_time_do_not_mix(background) -> None:
    """Red if a run takes another's plan, or another's way to load."""
    one, two = iter(run(background, 0)), iter(run(background, 100, factor=-1))
    mixed = [batch for pair in zip(one, two, strict=True) for batch in pair]
    assert numbers(mixed[::2]) == list(range(10))
    assert numbers(mixed[1::2]) == [-number for number in range(100, 110)]


def test_a_run_can_be_left_and_begun_again(background) -> None:
    stream = run(background, 0)
    assert numbers(islice(stream, 2)) == [0, 1, 2, 3]
    assert numbers(stream) == numbers(stream) == list(range(10))
    assert numbers(run(background, 50)) == list(range(50, 60))


def test_an_error_of_loading_reaches_who_asks(background) -> None:
    def fail(entry):
        raise ValueError("no such clip")

    with pytest.raises(tf.errors.InvalidArgumentError, match="no such clip"):
        list(Stream(background, [np.zeros(2, np.int64)], fail))
    assert numbers(run(background, 0)) == list(range(10))


def test_an_empty_plan_has_no_batches(background) -> None:
    assert list(Stream(background, [], lambda entry: (entry,))) == []


def test_many_runs_take_no_more_than_few(background) -> None:
    """Red if each epoch leaves functions, or its plan, behind."""

    def objects_after(runs: int) -> int:
        for first in range(runs):
            numbers(run(background, first))
        gc.collect()
        return len(gc.get_objects())

    objects_after(5)
    before = objects_after(1)
    assert objects_after(40) - before < 200  # a pipeline of its own took 47 each
