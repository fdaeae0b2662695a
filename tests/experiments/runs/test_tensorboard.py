"""Events for TensorBoard, read back by TensorFlow's own reader."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from experiments.runs.tensorboard import EventWriter


def read(run_dir):
    """(step, tag) to value of the run's events: numbers, and pictures (H, W, 3)."""
    (file,) = (run_dir / "tensorboard").iterdir()
    first, *events = tf.compat.v1.train.summary_iterator(str(file))
    assert first.file_version == "brain.Event:2"
    found = {}
    for event in events:
        for value in event.summary.value:
            image = value.image
            if value.WhichOneof("value") == "image":
                pixels = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), 1)
                assert pixels.shape == (image.height, image.width, 3)
                found[event.step, value.tag] = pixels
            else:
                found[event.step, value.tag] = value.simple_value
    return found


def test_epochs_and_pictures(tmp_path):
    """Red when an epoch is lost or told twice, also by a resumed run, or pictures are others."""
    rows = [
        {"epoch": number, "train_loss": 1 / number, "validation_loss": 2.0, "data_wait_share": 0.25}
        for number in (1, 2, 3)
    ]
    stopped = EventWriter(tmp_path)
    stopped.add_epochs(rows[:1])
    stopped.add_epochs(rows[:2])
    assert len(read(tmp_path)) == 6  # while it is being written
    resumed = EventWriter(tmp_path)
    resumed.add_epochs(rows)
    picture = np.random.default_rng(0).integers(0, 255, (6, 9, 3), np.uint8)
    (tmp_path / "strips").mkdir()
    cv2.imwrite(str(tmp_path / "confusion_matrix.png"), picture)
    cv2.imwrite(str(tmp_path / "strips" / "00001.png"), 255 - picture)
    resumed.add_test()
    resumed.close()
    found = read(tmp_path)
    np.testing.assert_array_equal(found.pop((3, "confusion_matrix")), picture)
    np.testing.assert_array_equal(found.pop((3, "strips/00001")), 255 - picture)
    assert found == {
        (row["epoch"], tag): pytest.approx(row[name])
        for row in rows
        for tag, name in [
            ("loss/train", "train_loss"),
            ("loss/validation", "validation_loss"),
            ("data_wait_share", "data_wait_share"),
        ]
    }
