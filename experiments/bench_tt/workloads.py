"""What is timed: batches of clips, and a training step of each system on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FRAME_SHAPE = (120, 160, 3)
MODES = ((8, 20, 20, 18), (4, 4, 4, 4), 4)
UNITS = 256
NUM_CLASSES = 11
TRAINING_CLIPS = 1280  # four fifths of UCF11
SYSTEMS = ("stepwise", "dense", "engine float32", "engine bfloat16")
# A loop takes the same time for every step, so that long batches can be counted up from shorter
# ones: (steps, frames) timed at most. The stepwise loop keeps 0.4 MB a frame for its backward pass,
# keras.layers.GRU a gradient of the whole kernel, 0.18 GB, for every step.
_TIMED = {
    "stepwise": (150, 2400),
    "dense": (20, 1280),
    "engine float32": (1492, 14400),
    "engine bfloat16": (1492, 14400),
}


@dataclass(frozen=True)
class Case:
    """A kind of batch."""

    lengths: str
    """"full": every clip is as long as the longest; "ucf11": UCF11's distribution."""
    maxlen: int
    batch_size: int


def clip_lengths(case: Case, num_clips: int = TRAINING_CLIPS) -> np.ndarray:
    """Frames of so many clips. UCF11's are about 200 on average, 900 at most: drawn from a gamma
    distribution of that mean."""
    if case.lengths == "full":
        return np.full(num_clips, case.maxlen)
    lengths = np.random.default_rng(0).gamma(3.2, 62.0, num_clips)
    return np.minimum(np.clip(lengths, 30, 900).astype(int), case.maxlen)


def sample_batches(case: Case, num_batches: int) -> list[np.ndarray]:
    """Lengths of the clips of a few batches, as training would see them."""
    from preprocess.batches.pipeline import plan_batches

    lengths = clip_lengths(case)
    rng = np.random.default_rng(1)
    plan = plan_batches(lengths, np.arange(len(lengths)), case.batch_size, rng=rng)
    plan = sorted(plan, key=lambda batch: lengths[batch].sum())
    middles = (np.arange(num_batches) + 0.5) * len(plan) / num_batches
    return [lengths[plan[int(middle)]] for middle in middles]


def timed_lengths(system: str, case: Case, lengths: np.ndarray) -> np.ndarray:
    """The lengths a system really computes on: padded ones all alike, and no more than timed."""
    if not system.startswith("engine"):
        lengths = np.full(len(lengths), case.maxlen)
    steps, frames = _TIMED[system]
    return np.minimum(lengths, min(steps, frames // len(lengths)))


def build_step(system: str) -> Callable:
    """A function (frames uint8 (N, 120, 160, 3), lengths int32 (B,)) -> loss that trains once."""
    import keras
    import tensorflow as tf

    policy = "mixed_bfloat16" if system.endswith("bfloat16") else "float32"
    state_of = _engine(policy) if system.startswith("engine") else _padded(system)
    head = keras.layers.Dense(NUM_CLASSES, dtype="float32")
    head.build((None, UNITS))
    optimizer = keras.optimizers.Adam(1e-4)
    variables = [*state_of.layer.trainable_variables, *head.trainable_variables]
    optimizer.build(variables)

    @tf.function(reduce_retracing=True)
    def step(frames, lengths):
        labels = tf.range(tf.size(lengths)) % NUM_CLASSES
        with tf.GradientTape() as tape:
            scores = head(state_of(frames, lengths))
            loss = tf.reduce_mean(
                keras.losses.sparse_categorical_crossentropy(labels, scores, from_logits=True)
            )
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return step


class _State:
    """(frames, lengths) -> the last state of every clip, and the layer that gives it."""

    def __init__(self, layer, call: Callable) -> None:
        self.layer = layer
        self._call = call

    def __call__(self, frames, lengths):
        return self._call(frames, lengths)


def _engine(policy: str) -> _State:
    from ttrnn import TTGRU
    from ttrnn.frames import FrameRNN

    layer = FrameRNN(TTGRU(*MODES, recurrent_dropout=0.25, dtype=policy), dtype=policy)
    layer.build((None, *FRAME_SHAPE))
    return _State(layer, lambda frames, lengths: layer(frames, lengths, training=True))


def _padded(system: str) -> _State:
    import keras
    import tensorflow as tf

    from ttrnn import TTGRUCell

    if system == "dense":
        layer = keras.layers.GRU(UNITS, reset_after=False, recurrent_dropout=0.25)
    else:
        layer = keras.layers.RNN(published_cell(TTGRUCell)(*MODES, recurrent_dropout=0.25))
    features = int(np.prod(FRAME_SHAPE))
    layer.build((None, None, features))

    def call(frames, lengths):  # all lengths are alike
        pixels = tf.reshape(tf.cast(frames, tf.float32) - 128, (tf.size(lengths), -1, features))
        return layer(pixels, training=True)

    return _State(layer, call)


def published_cell(cell_class: type) -> type:
    """A cell that contracts its cores as the published code does: one by one, last to first."""
    from keras import ops

    class PublishedCell(cell_class):
        def project(self, inputs, *, training=False):
            state, after = inputs, 1
            for core in reversed(self.cores):
                rank, m, n, rank_next = core.shape
                kernel = ops.reshape(ops.transpose(core, (1, 3, 0, 2)), (m * rank_next, rank * n))
                state = ops.reshape(state, (-1, m * rank_next, after))
                state = ops.reshape(ops.transpose(state, (0, 2, 1)), (-1, m * rank_next))
                state = ops.reshape(ops.matmul(state, kernel), (-1, after, rank * n))
                state = ops.transpose(state, (0, 2, 1))
                after *= n
            return ops.reshape(state, (-1, after)) + self.bias

    return PublishedCell
