"""Several replicas in one process, as GPUs are: two logical devices of the processor."""

from __future__ import annotations

from tests import processes

_PROGRAM = """
import keras
import numpy as np
import tensorflow as tf

processor = tf.config.list_physical_devices("CPU")[0]
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(processor, halves)

from experiments.training.distribution import Distribution, scope_of
from experiments.training.loop import Classifier

def trained(distribution):
    keras.utils.set_random_seed(0)
    with scope_of(distribution):
        inputs = keras.Input((6,))
        hidden = keras.layers.BatchNormalization()(keras.layers.Dense(8, "relu")(inputs))
        outputs = keras.layers.Dense(3, "softmax", kernel_regularizer="l2")(hidden)
        model = keras.Model(inputs, outputs)
        optimizer = keras.optimizers.AdamW(1e-2, global_clipnorm=0.1)
        classifier = Classifier(model, optimizer, distribution=distribution, label_smoothing=0.1)
    numbers = np.random.default_rng(0)
    for size in (7, 8, 1, 7):
        images = numbers.normal(size=(size, 6)).astype("f4")
        labels = numbers.integers(0, 3, size).astype("i4")
        shards = ((images, labels),)
        if distribution is not None:
            shards = tuple((images[i::2], labels[i::2]) for i in range(2))
            if size == 1:
                shards = (shards[0], (images, -np.ones(1, "i4")))
        tensors = tuple((tf.constant(x), tf.constant(y)) for x, y in shards)
        step = classifier.train_replica_shards(tensors)
        assert step.num_clips == step.num_frames == size, step
    return step, [variable.numpy() for variable in classifier.variables]

one, ours = trained(None)
distribution = Distribution(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
two, theirs = trained(distribution)
np.testing.assert_allclose(one, two, atol=1e-5)
for mine, other in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(mine, other, atol=1e-4)
assert [shard.index for shard in distribution.replica_shards] == [0, 1]
assert distribution.process_shard.count == 1
assert distribution.gathered(7.0) == [7.0]
np.testing.assert_array_equal(distribution.joined(np.eye(3, 2, dtype="f4")), np.eye(3, 2))
print("same")
"""


def test_two_replicas_learn_what_one_does() -> None:
    """Red if parts of unlike size weigh alike, an idle clip counts, weights are decayed twice, or
    batches are normalised, or gradients clipped, by the part."""
    done = processes.run(["-c", _PROGRAM])
    assert done.stdout == "same\n", done.stderr
