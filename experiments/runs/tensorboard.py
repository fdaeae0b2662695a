"""Events of a run for TensorBoard, in the run's directory; nothing is sent anywhere.

TensorBoard itself need not be installed to write them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from experiments.runs.strips import FOLDER as STRIPS

FOLDER = "tensorboard"
_MAX_STRIPS = 12  # a page of TensorBoard's images


class EventWriter:
    """Writer of a run's events: scalars of the epochs, and pictures of the test.

    A resumed run begins a new file with all its epochs, in place of the one it had.

    Args:
        run_dir: directory of the run.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        folder = run_dir / FOLDER
        folder.mkdir(exist_ok=True)
        for earlier in folder.glob("events.out.tfevents.*"):
            earlier.unlink()
        # An event file is a TFRecord file of events, known by its name, and the first tells its
        # version. TensorFlow's own writers of summaries need TensorBoard.
        self._file = tf.io.TFRecordWriter(
            str(folder / f"events.out.tfevents.{int(time.time()):010d}.ttrnn")
        )
        self._num_epochs = 0
        self._write(tf.compat.v1.Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add_epochs(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Add the epochs that are not there yet.

        Args:
            rows: all epochs so far, as rows of metrics.csv.
        """
        for row in rows[self._num_epochs :]:
            values = [
                tf.compat.v1.Summary.Value(tag=tag_of(name), simple_value=value)
                for name, value in row.items()
                if name != "epoch"
            ]
            self._add(values, int(row["epoch"]))
        self._num_epochs = len(rows)

    def add_test(self) -> None:
        """Add the confusion matrix, and strips of the first test clips, as the report has them."""
        files = [self._run_dir / "confusion_matrix.png"]
        files += sorted((self._run_dir / STRIPS).glob("*.*"))[:_MAX_STRIPS]
        for file in files:
            if not file.exists():
                continue
            content = file.read_bytes()
            pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            assert pixels is not None, file  # the run has just written it
            height, width, _ = pixels.shape
            image = tf.compat.v1.Summary.Image(
                height=height, width=width, colorspace=3, encoded_image_string=content
            )
            parent = f"{STRIPS}/" if file.parent.name == STRIPS else ""
            value = tf.compat.v1.Summary.Value(tag=f"{parent}{file.stem}", image=image)
            self._add([value], self._num_epochs)

    def _add(self, values: list, step: int) -> None:
        summary = tf.compat.v1.Summary(value=values)
        self._write(tf.compat.v1.Event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event: tf.compat.v1.Event) -> None:
        self._file.write(event.SerializeToString())
        # After every epoch, for a person may watch.
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def tag_of(name: str) -> str:
    """Tag of a column: loss/train beside loss/validation, which share a group of charts."""
    part, _, quantity = name.partition("_")
    return f"{quantity}/{part}" if part in ("train", "validation") else name
