"""Labels joined to pictures, split and drawn: what is learnt from, how often, in which order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.clips.images import Box
from experiments.highlights.commands import _with_remembered
from experiments.highlights.commands.arguments import Extract
from experiments.highlights.labels import Interval
from experiments.highlights.training.batches import ImageBatches, draw, drawing_weights
from experiments.highlights.training.data import describe, read_training_data
from experiments.highlights.training.examples import join_labels, make_examples
from tests.experiments.highlights.image_shards import (
    SETTINGS,
    images_of,
    labelled,
    write_all,
    write_shards,
)

TIMES = np.arange(0, 5, 0.5)


def examples_of(folder, clips, times=TIMES):
    shards = write_shards(folder, clips, times)
    return make_examples(join_labels(clips, shards, labels=Path("labels.csv")).clips)


def test_a_highlight_begins_at_its_start_and_ends_before_its_end(tmp_path):
    """Red when a boundary is on the wrong side: start <= time < end."""
    examples = examples_of(tmp_path, [labelled("a", (1.0, 2.0), (3.25, 3.75))])
    np.testing.assert_array_equal(examples.time[examples.label == 1], [1.0, 1.5, 3.5])
    assert len(examples) == len(TIMES)


def test_settings_of_the_pictures_that_are_there_are_taken(tmp_path, capsys):
    """Red when a second `extract` asks for the default's size, or a typed flag does not win."""
    shards = tmp_path / "shards"
    write_shards(shards, [labelled("a", (1.0, 2.0))], TIMES)
    typed = ["extract", "labels.csv", str(shards), "--fps", "4"]
    command = _with_remembered(Extract(Path("labels.csv"), shards, fps=4.0), typed)
    assert (command.side, command.fps, command.labels) == (32, 4.0, Path("labels.csv"))
    assert "nothing else is said: side." in capsys.readouterr().out
    anew = Extract(Path("labels.csv"), shards, overwrite=True)
    assert _with_remembered(anew, typed) == anew


def test_unknown_moments_are_left_out(tmp_path):
    """Red when what nobody labelled is taken for no highlight."""
    clip = labelled("a", (1.0, 2.0), negatives=(Interval(3.0, 3.5),), rest_known=False)
    examples = examples_of(tmp_path, [clip])
    np.testing.assert_array_equal(examples.time, [1.0, 1.5, 3.0])
    np.testing.assert_array_equal(examples.label, [1, 1, 0])
    np.testing.assert_array_equal(examples.hard, [False, False, True])
    np.testing.assert_array_equal(examples.frame, [2, 3, 6])


def test_pictures_and_labels_belong_together(tmp_path):
    """Red when frames are counted among the known ones, or clips change places."""
    clips = [
        labelled("b", (0.0, 1.0)),
        labelled("a", (1.0, 2.0), rest_known=False),
        labelled("c", (3.0, 9.0)),
    ]
    examples = examples_of(tmp_path, clips)
    expected = np.concatenate(
        [
            images_of(clips[0], TIMES),
            images_of(clips[1], TIMES)[2:4],
            images_of(clips[2], TIMES),
        ]
    )
    for kept in (2**30, 0):  # from memory and from the disk
        batches = ImageBatches(
            examples, SETTINGS.frame_shape, batch_size=8, seed=0, max_bytes_in_memory=kept
        )
        given_batches = list(batches.in_order().as_numpy_iterator())
        np.testing.assert_array_equal(np.concatenate([b[0] for b in given_batches]), expected)
        labels = np.concatenate([b[1] for b in given_batches])
        np.testing.assert_array_equal(labels, examples.label)
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(batches.image(11), expected[11])


def test_an_epoch_follows_from_the_seed_alone(tmp_path):
    """Red when the order or a change depends on what was asked before, or on where pictures lie."""

    def noisy(image, rng):
        return np.full_like(image, rng.integers(256))

    examples = examples_of(tmp_path, [labelled("a", (1.0, 2.0)), labelled("b", (2.0, 3.0))])
    weights = np.where(examples.label == 1, 2.0, 0.75)

    def epoch(number, **options):
        batches = ImageBatches(
            examples,
            SETTINGS.frame_shape,
            batch_size=8,
            seed=4,
            weights=weights,
            change=noisy,
            **options,
        )
        pairs = list(batches.shuffled(number).as_numpy_iterator())
        return np.concatenate([p for p, _ in pairs]), np.concatenate([y for _, y in pairs])

    first = epoch(3)
    for again in (epoch(3), epoch(3, max_bytes_in_memory=0)):
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], epoch(4)[0])
    assert len(first[1]) == len(examples)
    drawn_twice = len(np.unique(first[0][first[1] == 1][:, 0, 0, 0]))
    assert drawn_twice == 8  # each draw of a picture is changed by itself


def test_training_does_not_alter_what_is_kept(tmp_path):
    """Red when a change is made in place: a picture would be changed more in each epoch."""
    examples = examples_of(tmp_path, [labelled("a", (1.0, 2.0))])
    batches = ImageBatches(
        *(examples, SETTINGS.frame_shape),
        batch_size=8,
        seed=0,
        change=lambda image, rng: 255 - image,
    )
    before = batches.image(0).copy()
    list(batches.shuffled(0))
    np.testing.assert_array_equal(batches.image(0), before)


@settings(deadline=None)
@given(st.lists(st.floats(0.05, 20), min_size=1, max_size=60), st.integers(0, 5))
def test_each_is_drawn_by_its_weight(weights, seed):
    """Red when one is drawn more than a whole time too often or too seldom."""
    weights = np.array(weights) / np.mean(weights)
    drawn = draw(weights, np.random.default_rng(seed))
    counts = np.bincount(drawn, minlength=len(weights))
    assert len(drawn) == len(weights)
    assert (np.abs(counts - weights) < 1 + 1e-6).all()


def test_equal_weights_draw_each_once():
    drawn = draw(np.ones(500), np.random.default_rng(0))
    assert sorted(drawn) == list(range(500))
    assert list(drawn) != list(range(500))


def test_rare_highlights_and_hard_negatives_are_drawn_more_often(tmp_path):
    """Red when the share wanted is one of weights to others, or hard ones count as highlights."""
    clip = labelled("a", (1.0, 2.0), negatives=(Interval(2.0, 3.0),))
    examples = examples_of(tmp_path, [clip])  # 2 highlights, 2 hard and 6 other negatives
    weights = drawing_weights(examples, least_share=0.25, hard_negative_weight=2.0)
    assert weights.mean() == pytest.approx(1)
    assert weights[examples.label == 1].sum() == pytest.approx(0.25 * 10)
    easy = weights[(examples.label == 0) & ~examples.hard]
    np.testing.assert_allclose(weights[examples.hard], 2 * easy[0])
    plain = drawing_weights(examples, least_share=0.0, hard_negative_weight=1.0)
    np.testing.assert_allclose(plain, 1)


CLIPS = [labelled(f"clip{i}", (1.0, 2.5), group=f"group{i // 2}") for i in range(8)]


def test_the_split_leaks_no_group(tmp_path):
    """Red when frames or clips are split in place of groups."""
    labels, shards = write_all(tmp_path, CLIPS, TIMES)
    for seed in range(4):
        data = read_training_data(labels, shards, validation_share=0.25, seed=seed)
        assert not set(data.train.groups) & set(data.validation.groups)
        assert len(data.train) + len(data.validation) == 8 * len(TIMES)
        assert len(data.validation) == 2 * len(TIMES)
    assert data.box == CLIPS[0].box
    assert describe("training", data.train) == (
        "training: 6 clips of 3 groups, 60 pictures, 18 of highlights (30%; 9 of 30 s)"
    )


def test_what_is_passed_over_is_told(tmp_path):
    blank = labelled("blank", rest_known=False)
    labels, shards = write_all(tmp_path, [*CLIPS, blank], TIMES)
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join(line for line in lines if not line.startswith("clip0")) + "\n")
    data = read_training_data(labels, shards, validation_share=0.25, seed=0)
    assert any("1 clip of" in note and "not in" in note for note in data.notes)
    assert any("1 clip" in note and "says nothing" in note for note in data.notes)
    assert all("blank" not in clip.source for clip in data.train.clips + data.validation.clips)


def test_missing_clips_are_told_with_the_remedy(tmp_path):
    labels, shards = write_all(tmp_path, CLIPS, TIMES)
    with labels.open("a") as file:
        file.write("new.mp4,0,0,1,1,1,2,highlight,other\n")
    with pytest.raises(ValueError, match=r"1 of 9 .*new\.mp4.*highlights extract .*labels\.csv"):
        read_training_data(labels, shards, validation_share=0.25, seed=0)
    data = read_training_data(labels, shards, validation_share=0.25, seed=0, allow_failures=True)
    assert any("1 labelled clip" in note and "without pictures" in note for note in data.notes)


@pytest.mark.parametrize(
    "change",
    [{"box": Box(0, 0, 0.5, 0.5)}, {"rest_known": False}],
    ids=["another box", "other stretches"],
)
def test_pictures_of_other_labels_are_refused(change, tmp_path):
    """Red when a box that was moved after the extraction is trained with the old pictures."""
    labels, shards = write_all(tmp_path, CLIPS, TIMES)
    moved = [replace(CLIPS[0], **change), *CLIPS[1:]]
    (tmp_path / "new").mkdir()
    write_all(tmp_path / "new", moved, TIMES)
    (tmp_path / "labels.csv").write_bytes((tmp_path / "new" / "labels.csv").read_bytes())
    with pytest.raises(ValueError, match=r"labels have changed.*clip0\.mp4.*highlights extract"):
        read_training_data(labels, shards, validation_share=0.25, seed=0)


def test_both_parts_need_both_classes(tmp_path):
    clips = [labelled("a", (0.0, 9.0)), labelled("b"), labelled("c")]
    labels, shards = write_all(tmp_path, clips, TIMES)
    with pytest.raises(ValueError, match="validation part needs pictures of highlights"):
        read_training_data(labels, shards, validation_share=0.3, seed=0)
