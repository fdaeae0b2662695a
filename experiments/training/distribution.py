"""Training on several machines or GPUs: clips of a step are dealt out, gradients summed.

The weights become those that one process learns from the same batches, except for rounding, and
for dropout, whose masks are the same on all replicas.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from experiments.runs.run import FREE_TO_CHANGE, RunError
from experiments.training.tasks import WORKER_LOST, Kind, Task
from preprocess.batches.planning import ReplicaShard
from preprocess.system.stopping import ending_at_once


class Distribution:
    """The replicas of a model, and the exchange of values between their processes.

    Args:
        strategy: TensorFlow's strategy; each machine, or GPU, holds a replica.
        is_chief: whether this process writes the files of a run.
    """

    def __init__(self, strategy: tf.distribute.Strategy, *, is_chief: bool = True) -> None:
        self.strategy = strategy
        self.is_chief = is_chief
        count = strategy.num_replicas_in_sync
        num_here = len(strategy.extended.worker_devices)
        # Replicas are numbered over all processes, those of one process in a row.
        first = _first_replica(strategy) if count > num_here else 0
        self.replica_shards = tuple(
            ReplicaShard(first + number, count) for number in range(num_here)
        )
        """Parts of each batch that the replicas of this process take."""
        # Compiled when it is first needed, see `_summed`.
        self._sum: Callable | None = None

    @property
    def process_shard(self) -> ReplicaShard:
        """Part of the evaluation batches that this process takes, all its replicas together."""
        num_here = len(self.replica_shards)
        # All processes have equally many replicas.
        return ReplicaShard(
            self.replica_shards[0].index // num_here, self.replica_shards[0].count // num_here
        )

    def dealt(self, batches: Callable[[ReplicaShard], Iterable[Any]]) -> Iterable[tuple[Any, ...]]:
        """Deal out batches as `Classifier.train_replica_shards` takes them.

        Args:
            batches: makes the batches of one replica.

        Returns:
            For each step a tuple with one part for each replica of this process.
        """
        # Each replica's stream leaves out the clips of the others; every stream has as many
        # batches.
        return zip(*(batches(shard) for shard in self.replica_shards), strict=True)

    def gathered(self, value: float) -> list[float]:
        """Gather one number from each process, in their order; waits for all of them."""
        shard = self.process_shard
        # Each process fills its own place, so that the sum over processes is the list of all
        # numbers.
        placed = np.zeros(shard.count, np.float64)
        placed[shard.index] = value
        return self._summed(placed).tolist()

    def require_same(self, text: str, what: str) -> None:
        """Raise RunError unless `text` is the same text in all workers.

        Args:
            text: the text to compare.
            what: what the text stands for, for the message.
        """
        # Only numbers are exchanged, hence a checksum. float64 holds its 32 bits exactly.
        if len(set(self.gathered(zlib.crc32(text.encode())))) > 1:
            raise RunError(f"All workers must have the same {what}; here it is: {text}")

    def joined(self, rows: np.ndarray) -> np.ndarray:
        """Join the rows of all processes, one process after the other.

        Args:
            rows: rows of this process, float32 (n, C).

        Returns:
            The rows of all, float32 (N, C), the same in each process.
        """
        counts = np.array(self.gathered(len(rows)), int)
        # As in `gathered`: each process fills its rows of an array of zeros, and the sum joins
        # them.
        start = int(counts[: self.process_shard.index].sum())
        placed = np.zeros((counts.sum(), rows.shape[1]), np.float64)
        placed[start : start + len(rows)] = rows
        return self._summed(placed).astype(np.float32)

    def _summed(self, placed: np.ndarray) -> np.ndarray:
        """Sum arrays of one shape over all processes."""
        if self._sum is None:

            def add(value: tf.Tensor) -> tf.Tensor:
                context = tf.distribute.get_replica_context()
                return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))

            # Arrays come in several lengths; without relaxed shapes each would be traced anew.
            self._sum = tf.function(
                lambda value: self.strategy.run(add, args=(value,)), reduce_retracing=True
            )
        summed = self._sum(tf.constant(placed))
        first = self.strategy.experimental_local_results(summed)[0]
        # Each replica of a process adds the same array once, so that the sum counts it as often as
        # the process has replicas.
        return first.numpy() / len(self.replica_shards)

    def prepare(self, model: keras.Model) -> keras.Model:
        """Let batch normalisations take their statistics from the batch of all replicas."""
        for layer in _normalizations(model):
            layer.synchronized = True
        return model

    @contextmanager
    def chief_first(self) -> Iterator[None]:
        """Run a block in the chief first, and in the other workers once it is done there."""
        # `gathered` waits for all processes, and so serves as a barrier. The others wait in front
        # of the block until the chief arrives behind its own.
        if not self.is_chief:
            self.gathered(0)
        yield
        if self.is_chief:
            self.gathered(0)

    @contextmanager
    def explain_failures(self) -> Iterator[None]:
        """Turn TensorFlow's errors about a lost worker into a message that says what to do.

        Raises:
            RunError: if another worker cannot be reached.
        """
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
            raise RunError(
                f"{WORKER_LOST}, or cannot be reached: see what it said. "
                "Then start all of them again with --resume: they go on from the last checkpoint."
            ) from error


def open_distribution(
    kind: Kind | None, task: Task, settings: Mapping[str, Any]
) -> Distribution | None:
    """Join the other workers, or take all GPUs; to be called before TensorFlow computes anything.

    Args:
        kind: "workers" for those of TF_CONFIG, "gpus" for all of this machine, or None.
        task: from `read_task`.
        settings: settings of the run, which must be the same in all workers.

    Returns:
        The distribution; None without a kind.

    Raises:
        RunError: if workers differ in their settings.
    """
    if kind is None:
        return None
    if kind == "gpus":
        return Distribution(tf.distribute.MirroredStrategy())
    # TensorFlow waits for the other workers without ever asking Python for signals.
    with ending_at_once():
        place = f"worker {task.index + 1} of {task.count}"
        print(f"{place}, waiting for the others; Ctrl-C ends it at once", flush=True)
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    distribution = Distribution(strategy, is_chief=task.is_chief)
    # Workers may differ in what does not change the result, such as their threads.
    shared = {name: value for name, value in settings.items() if name not in FREE_TO_CHANGE}
    distribution.require_same(json.dumps(shared, default=str, sort_keys=True), "settings")
    return distribution


def scope_of(distribution: Distribution | None) -> AbstractContextManager[Any]:
    """Scope in which a model and its optimizer must be built."""
    return nullcontext() if distribution is None else distribution.strategy.scope()


@contextmanager
def saved_alone(model: keras.Model) -> Iterator[None]:
    """Save a model in this block so that it loads without other replicas."""
    # `synchronized` is part of a layer's saved configuration.
    layers = [layer for layer in _normalizations(model) if layer.synchronized]
    for layer in layers:
        layer.synchronized = False
    try:
        yield
    finally:
        for layer in layers:
            layer.synchronized = True


def _normalizations(model: keras.Model) -> Sequence[Any]:
    # Models inside the model included, which `model.layers` does not open.
    layers = model._flatten_layers()
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


def _first_replica(strategy: tf.distribute.Strategy) -> int:
    """Number of the first replica of this process."""
    task = strategy.cluster_resolver.task_id
    return task * len(strategy.extended.worker_devices)
