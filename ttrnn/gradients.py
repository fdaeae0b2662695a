"""Descriptions of the frames of clips by gradients, movement and colour in the cells of a grid."""

from __future__ import annotations

import math

import keras
from keras import ops

from ttrnn.engine.clips import clip_of_frames
from ttrnn.shapes import check_frames, checked_frames

NUM_ORIENTATIONS = 8
NUM_CHANNELS = NUM_ORIENTATIONS + 4
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
# Square root of the largest grey value, 255, times this is just below 255.
_MOVEMENT_SCALE = 15.9


@keras.saving.register_keras_serializable(package="ttrnn")
class GradientCells(keras.layers.Layer):
    """Gradients, movement and colour in each cell of a grid over the frames of clips.

    A description has few numbers, hardly depends on light, and has nothing to be trained: a network
    of a few dozen clips learns from it what it cannot learn from pixels. It is itself a small uint8
    picture of 12 channels, which `MeanFrame` and `FrameRNN` take in place of the frame. With the
    grey picture of half the frame's width and height, the channels of a cell are

        0 to 7   histogram h of the directions of its gradients modulo 180 degrees, each weighted by
                 its length and shared by the two nearest directions, as 255 h / sqrt(1 + h.h).
                 Channel b stands for gradients at b * 22.5 degrees.
        8        15.9 times the square root of the mean absolute difference to the clip's mean
                 picture
        9 to 11  mean red, green and blue

    Args:
        cells: number of columns and rows of the grid.

    Input shape:
        frames, uint8 (sum of num_frames, height, width, 3), and num_frames, integers (batch,).

    Output shape:
        uint8 (sum of num_frames, rows, columns, 12).

    Raises:
        ValueError: unless the cells are whole blocks of 2x2 pixels; if the number of frames is not
            the sum of `num_frames`, on TensorFlow InvalidArgumentError.

    Example:
        >>> frames = keras.ops.zeros((5, 120, 160, 3), "uint8")  # clips of 2 and 3 frames
        >>> GradientCells((10, 6))(frames, keras.ops.array([2, 3])).shape
        (5, 6, 10, 12)

    Reference: Dalal, Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005,
    without overlapping blocks; movement and colour are additions.
    """

    def __init__(self, cells: tuple[int, int], **kwargs) -> None:
        super().__init__(**kwargs)
        self.cells = (int(cells[0]), int(cells[1]))

    def call(self, frames, num_frames):
        self._check(frames.shape, num_frames.shape)
        num_frames = ops.cast(num_frames, "int32")
        frames = checked_frames(frames, num_frames)
        colour = reduced(frames)
        grey = _grey(colour)
        clip = clip_of_frames(num_frames, ops.shape(frames)[0])
        batch = ops.shape(num_frames)[0]
        total = ops.segment_sum(grey, clip, batch)
        mean = total / ops.cast(ops.maximum(num_frames, 1), "float32")[:, None, None]
        # Frames that no clip has, which occur where numbers cannot be checked, read the last one's.
        return describe_cells(
            colour, ops.take(mean, ops.minimum(clip, batch - 1), axis=0), self.cells
        )

    def compute_output_spec(self, frames, num_frames):
        self._check(frames.shape, num_frames.shape)
        columns, rows = self.cells
        return keras.KerasTensor((frames.shape[0], rows, columns, NUM_CHANNELS), "uint8")

    def get_config(self) -> dict:
        return super().get_config() | {"cells": list(self.cells)}

    def _check(self, frames_shape, num_frames_shape) -> None:
        check_frames(frames_shape, num_frames_shape)
        height, width = frames_shape[1:3]
        columns, rows = self.cells
        if min(columns, rows) < 1 or width % (2 * columns) or height % (2 * rows):
            raise ValueError(
                "The frame must be cut into cells of whole blocks of 2x2 pixels. Received "
                f"cells={self.cells} for frames of {width}x{height}; give columns and rows that "
                f"divide {width // 2} and {height // 2}."
            )


def reduced(frames):
    """Means of blocks of 2x2 pixels: uint8 (N, H, W, 3) to float32 (N, H / 2, W / 2, 3)."""
    rows = ops.cast(frames, "float32")
    rows = rows[:, ::2] + rows[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) / 4


def grey_image(frames):
    """Grey picture of half the width and height, float32 (N, H / 2, W / 2)."""
    return _grey(reduced(frames))


def describe_cells(colour, mean_grey, cells: tuple[int, int]):
    """Describe the cells of pictures as `GradientCells` does.

    Args:
        colour: result of `reduced`, (N, H, W, 3).
        mean_grey: mean grey picture of each frame's clip, (N, H, W).
        cells: number of columns and rows.

    Returns:
        uint8 (N, rows, columns, 12).
    """
    grey = _grey(colour)
    # At the border the picture is continued by its own edge.
    wide = ops.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="symmetric")
    across = wide[:, 1:-1, 2:] - wide[:, 1:-1, :-2]
    down = wide[:, 2:, 1:-1] - wide[:, :-2, 1:-1]
    length = ops.sqrt(across * across + down * down)
    # Between 0 and 8; 0 and 8 are the same direction.
    direction = ops.arctan2(down, across) * (NUM_ORIENTATIONS / math.pi)
    shares = []
    for number in range(NUM_ORIENTATIONS):
        away = ops.mod(direction - number, NUM_ORIENTATIONS)
        away = ops.minimum(away, NUM_ORIENTATIONS - away)
        shares.append(_cell_means(length * ops.maximum(1 - away, 0), cells))
    histogram = ops.stack(shares, axis=-1)  # (N, rows, columns, 8)
    # The 1 keeps cells without gradients dark: noise has a norm of less.
    histogram /= ops.sqrt(ops.sum(histogram * histogram, axis=-1, keepdims=True) + 1)
    movement = ops.sqrt(_cell_means(ops.abs(grey - mean_grey), cells))[..., None]
    means = [_cell_means(colour[..., channel], cells) for channel in range(3)]
    channels = [255 * histogram, _MOVEMENT_SCALE * movement, ops.stack(means, axis=-1)]
    return ops.cast(ops.round(ops.concatenate(channels, axis=-1)), "uint8")


def _grey(colour):
    return sum(weight * colour[..., channel] for channel, weight in enumerate(_LUMA))


def _cell_means(image, cells: tuple[int, int]):
    """Mean of (N, H, W) over each cell, (N, rows, columns)."""
    columns, rows = cells
    height, width = image.shape[1:]
    blocks = ops.reshape(image, (-1, rows, height // rows, columns, width // columns))
    return ops.mean(blocks, axis=(2, 4))
