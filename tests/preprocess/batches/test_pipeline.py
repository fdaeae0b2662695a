"""Batches: every clip once, like lengths together, padding known by length, order from the seed."""

import gc
import threading
from collections import deque
from functools import partial
from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess import open_shards
from preprocess.batches.planning import plan_batches
from preprocess.errors import ShardError
from preprocess.extraction.extract import extract
from preprocess.shards.settings import FrameSettings
from tests.processes import wait_until

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
    plan = plan_batches(np.array(lengths), clips, batch_size, rng=rng)
    assert sorted(np.concatenate(plan)) == list(clips)
    assert all(1 <= len(batch) <= batch_size for batch in plan)


def test_clips_of_like_length_go_together():
    """Red when batches are cut before they are sorted: padding then grows several times."""
    lengths = np.random.default_rng(0).integers(20, 900, size=512)
    plan = plan_batches(lengths, np.arange(512), 16, rng=np.random.default_rng(1))
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
    (inputs, _), *_ = stream
    assert inputs["frames"].dtype.name == "uint8"


def stream_of(first: int, change=np.positive) -> pipeline.Stream:
    """Five batches of two numbers, each the result of `change`, loaded in two pieces."""

    def load(entry: np.ndarray) -> pipeline.Loading:
        batch = np.full_like(entry, -1)
        pieces = [partial(fill, batch[i : i + 1], entry[i : i + 1]) for i in range(2)]
        return pipeline.Loading(batch, pieces)

    def fill(batch: np.ndarray, entry: np.ndarray) -> None:
        batch[:] = change(entry)

    return pipeline.Stream([np.array([first + i, first + i + 1]) for i in range(0, 10, 2)], load)


def numbers(batches) -> list[int]:
    return np.concatenate([np.asarray(batch) for batch in batches]).tolist()


def loading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "load-batches" in thread.name]


def test_runs_at_the_same_time_do_not_mix() -> None:
    """Red if a run takes another's plan, or another's way to load."""
    one, two = iter(stream_of(0)), iter(stream_of(100, np.negative))
    mixed = [batch for pair in zip(one, two, strict=True) for batch in pair]
    assert numbers(mixed[::2]) == list(range(10))
    assert numbers(mixed[1::2]) == [-number for number in range(100, 110)]


def test_a_run_can_be_left_and_begun_again() -> None:
    """Red if a stream can be gone through once alone, or goes on where another was left."""
    stream = stream_of(0)
    assert numbers(islice(stream, 2)) == [0, 1, 2, 3]
    assert numbers(stream) == numbers(stream) == list(range(10))
    assert numbers(stream_of(50)) == list(range(50, 60))


def test_an_error_of_loading_reaches_who_asks() -> None:
    """Red if it is raised early, is another, which would not be printed as a line, or is lost."""

    def change(entry: np.ndarray) -> np.ndarray:
        if entry[0] == 5:
            raise ShardError("no such clip")
        return entry

    batches, found = iter(stream_of(0, change)), []
    with pytest.raises(ShardError, match="no such clip"):
        found.extend(batch.numpy().tolist() for batch in batches)
    assert found == [[0, 1], [2, 3]]
    assert not loading_threads()


def test_an_empty_plan_has_no_batches() -> None:
    assert list(pipeline.Stream([], pipeline.Loading)) == []


def test_the_next_batches_are_loaded_while_one_is_worked_on() -> None:
    """Red if the model waits for each batch, or if more than two wait in memory."""
    begun = []

    def change(entry: np.ndarray) -> np.ndarray:
        begun.append(int(entry[0]))
        return entry

    batches = iter(stream_of(0, change))
    next(batches)
    wait_until(lambda: len(begun) == 6, "the batches ahead")
    next(batches)
    wait_until(lambda: len(begun) == 8, "the batch after them")
    batches.close()
    assert sorted(begun) == list(range(8))


def test_few_bytes_are_loaded_ahead(monkeypatch) -> None:
    """Red if long clips fill the memory with batches that nobody needs yet."""
    begun = []
    monkeypatch.setattr(pipeline, "_BYTES_AHEAD", 17)  # a batch is two numbers of 8 bytes
    batches = iter(stream_of(0, lambda entry: begun.append(int(entry[0])) or entry))
    next(batches)
    wait_until(lambda: len(begun) == 4, "the batch ahead")
    batches.close()
    assert sorted(begun) == list(range(4))


def test_memory_is_used_again_once_nobody_has_it() -> None:
    """Red if each batch touches new memory, or one is overwritten that somebody still reads."""
    buffers = pipeline.Buffers()

    def place(array: np.ndarray) -> int:
        return array.__array_interface__["data"][0]

    first = buffers.array((5, 4), np.float32)
    before, view = place(first), first[2:, 1]
    assert before % 64 == 0
    del first
    second = buffers.array((5, 4), np.float32)
    assert place(second) != before
    del view
    assert place(buffers.array((3, 3), np.uint8)) == before  # a smaller one fits, too
    tensor = pipeline._as_tensor(second)
    before = place(second)
    second[:] = 7
    del second
    third = buffers.array((5, 4), np.float32)
    fourth = buffers.array((5, 4), np.float32)
    assert before not in (place(third), place(fourth))
    third[:] = fourth[:] = 1
    assert (tensor.numpy() == 7).all()  # and so the tensor was no copy
    del tensor
    gc.collect()
    assert place(buffers.array((5, 4), np.float32)) == before


def test_memory_is_that_of_the_arrays_in_use() -> None:
    """Red if memory of every size that was ever asked for is kept, or the lowest gap is not used.

    Arrays of 1 to 100 KB live at a time, 200 KB together at most and up to 11 of them: with a piece
    of memory for each they would take 1 MB in the end.
    """
    buffers = pipeline.Buffers()
    rng = np.random.default_rng(0)
    alive: deque[np.ndarray] = deque()
    begins, ends, in_use = [], [], []
    for size in rng.integers(1000, 100_000, 300):
        while sum(array.nbytes for array in alive) > 100_000:
            alive.popleft()
        alive.append(buffers.array((size,), np.uint8))
        begins.append(alive[-1].__array_interface__["data"][0])
        ends.append(begins[-1] + int(size))
        in_use.append(sum(array.nbytes for array in alive))
    assert max(ends) - min(begins) < 1.6 * max(in_use)


def test_arrays_of_any_size_are_given() -> None:
    """Red if an array that is larger than the reserve, or one array too many, is refused."""
    buffers = pipeline.Buffers()
    kept = [buffers.array((pipeline._RESERVED_BYTES // 3,), np.uint8) for _ in range(4)]
    kept.append(buffers.array((pipeline._RESERVED_BYTES // 2 + 1,), np.uint8))
    places = sorted((array.__array_interface__["data"][0], array.nbytes) for array in kept)
    for (start, size), (following, _) in pairwise(places):
        assert start + size <= following


@pytest.mark.parametrize("error", [GeneratorExit, KeyboardInterrupt, RuntimeError])
def test_no_thread_is_left_behind(error) -> None:
    """Red if an epoch that ends, is left or is interrupted leaves a thread that loads on."""
    assert numbers(stream_of(0)) == list(range(10))
    assert not loading_threads()
    batches = iter(stream_of(0))
    next(batches)
    assert loading_threads()
    with pytest.raises(error):
        batches.throw(error)
    assert not loading_threads()


def test_an_interrupt_while_a_batch_is_waited_for() -> None:
    """Red if it leaves a thread that loads on, or is lost."""

    def load(entry: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(stream_of(0, load))
    assert not loading_threads()


def test_many_runs_take_no_more_than_few() -> None:
    """Red if each epoch leaves its thread, or its plan, behind."""

    def objects_after(runs: int) -> int:
        for first in range(runs):
            numbers(stream_of(first))
        gc.collect()
        return len(gc.get_objects())

    objects_after(5)
    before = objects_after(1)
    assert objects_after(40) - before < 200
