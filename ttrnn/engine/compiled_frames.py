"""The frame layers on TensorFlow: pixels are made of bytes a few frames at a time, by XLA."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import tensorflow as tf

from ttrnn.engine.compiled import run_frames
from ttrnn.frames import seen_pixels

_FRAMES_AT_A_TIME = 32


def mean_pixels(frames: tf.Tensor, num_frames: tf.Tensor, scale: float) -> tf.Tensor:
    """The mean pixels of each clip, float32 (batch, features); of no frames, zeros."""
    first = tf.cumsum(num_frames, exclusive=True)
    size = math.prod(frames.shape[1:])
    last_frame = tf.maximum(tf.shape(frames)[0] - 1, 0)

    def clip_mean(clip):
        def add(start, total):
            rows = tf.minimum(first[clip] + start + tf.range(_FRAMES_AT_A_TIME), last_frame)
            some = tf.reshape(tf.gather(frames, rows), (_FRAMES_AT_A_TIME, size))
            return start + _FRAMES_AT_A_TIME, total + _sum_of_first(some, num_frames[clip] - start)

        _, total = tf.while_loop(
            lambda start, _: start < num_frames[clip],
            add,
            (0, tf.zeros(size)),
            parallel_iterations=1,
        )
        count = tf.cast(tf.maximum(num_frames[clip], 1), tf.float32)
        mean = (total / count - 128) * (1 / scale)
        return tf.where(num_frames[clip] > 0, mean, 0.0)

    return tf.map_fn(clip_mean, tf.range(tf.size(num_frames)), fn_output_signature=tf.float32)


@tf.function(jit_compile=True)
def _sum_of_first(rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    wanted = tf.cast(tf.range(rows.shape[0]) < count, tf.float32)
    return tf.reduce_sum(tf.cast(rows, tf.float32) * wanted[:, None], axis=0)


def pooled_state(layer, frames, num_frames, mean, *, training: bool) -> tf.Tensor:
    """What a FrameRNN gives, (batch, units)."""
    cell, num_clips = layer.rnn.cell, tf.size(num_frames)
    dropped = None
    if training and cell.dropout > 0:
        size = math.prod(frames.shape[1:])
        dropped = cell.get_dropout_mask(tf.ones((num_clips, size), layer.compute_dtype))
    outputs, clip = run_frames(
        cell,
        frames,
        num_frames,
        prepare=_prepare(layer.inputs, layer.scale, layer.compute_dtype),
        context=(tf.repeat(tf.range(num_clips), num_frames), mean, dropped),
        return_all_outputs=layer.rnn.return_sequences,
        training=training,
        max_activation_bytes=layer.rnn.max_activation_bytes,
    )
    cell.reset_dropout_mask()
    cell.reset_recurrent_dropout_mask()
    if layer.rnn.return_sequences:
        total = tf.math.unsorted_segment_sum(outputs, clip, num_clips)
        outputs = total / tf.cast(tf.maximum(num_frames, 1), total.dtype)[:, None]
    return tf.cast(outputs, layer.compute_dtype)


@functools.cache
def _prepare(inputs: str, scale: float, dtype: str) -> Callable:
    """Makes what the layer sees of a chunk's frames, as `projection.project` calls for."""

    @tf.function(jit_compile=True)
    def compiled(part, clips, mean, dropped):
        mean = None if mean is None else tf.gather(mean, clips)
        seen = seen_pixels(part, mean, inputs=inputs, scale=scale)
        if dropped is not None:
            seen *= tf.cast(tf.gather(dropped, clips), seen.dtype)
        return tf.cast(seen, dtype)

    def prepare(part, rows, clip_of_frame, mean, dropped):
        return compiled(part, tf.gather(clip_of_frame, rows), mean, dropped)

    return prepare
