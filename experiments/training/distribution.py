"""Training on several machines, or GPUs: each step's clips are dealt out, the gradients summed.

What is learned is what one process learns from the same batches, but for rounding, and for
dropout, whose masks are the same on all replicas.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from common.errors import InputError
from experiments.runs.run import FREE_TO_CHANGE, RunError
from preprocess.batches.planning import ReplicaShard
from preprocess.system.stopping import ending_at_once

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Kind = Literal["workers", "gpus"]
_EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True)
class Task:
    """Which worker of how many this process is; the first one writes what a run leaves."""

    index: int = 0
    count: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether it is the first."""
        return self.index == 0


def read_task(kind: Kind | None, out: Path | None) -> Task:
    """This process's place among the workers, as the variable TF_CONFIG says.

    Args:
        kind: of distribution; without workers, this process is all there is.
        out: the run's directory, if named; workers must name it.

    Raises:
        InputError: if there is no GPU, or workers are asked for, but TF_CONFIG does not say where,
            or `out` is None.
    """
    if kind == "gpus":
        _require_gpus()
    if kind != "workers":
        return Task()
    if out is None:
        raise InputError(
            "--distribute workers needs --out: the directory of the run, which all workers share."
        )
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        task = Task(config["task"]["index"], len(config["cluster"]["worker"]))
        fits = config["task"]["type"] == "worker" and 0 <= task.index < task.count
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise InputError(
            "--distribute workers needs the variable TF_CONFIG, on each machine with its own "
            f"index, such as {_EXAMPLE}. Received {text!r}."
        )
    return task


def _require_gpus() -> None:
    """Raise ValueError without GPUs. TensorFlow is asked in a process of its own, for this one has
    clips to extract first, without it."""
    program = (
        "import sys; from experiments.process.runtime import has_gpus; sys.exit(not has_gpus())"
    )
    if subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode:
        raise InputError("--distribute gpus needs GPUs that TensorFlow can use; it finds none.")


class Distribution:
    """The replicas of a model, and what they have in common.

    Args:
        strategy: TensorFlow's; each machine, or GPU, holds a replica.
        is_chief: whether this process writes what a run leaves.
    """

    def __init__(self, strategy: tf.distribute.Strategy, *, is_chief: bool = True) -> None:
        self.strategy = strategy
        self.is_chief = is_chief
        count = strategy.num_replicas_in_sync
        num_here = len(strategy.extended.worker_devices)
        first = _first_replica(strategy) if count > num_here else 0
        self.shares = tuple(ReplicaShard(first + number, count) for number in range(num_here))
        """What the replicas of this process get of each batch."""
        self._sum: Callable | None = None

    @property
    def process_share(self) -> ReplicaShard:
        """What this process gets of the batches of an evaluation."""
        num_here = len(self.shares)
        return ReplicaShard(self.shares[0].index // num_here, self.shares[0].count // num_here)

    def dealt(self, batches: Callable[[ReplicaShard], Iterable[Any]]) -> Iterable[tuple[Any, ...]]:
        """Batches as `Classifier` takes them: of each, the parts of the replicas here."""
        return zip(*(batches(share) for share in self.shares), strict=True)

    def gathered(self, value: float) -> list[float]:
        """A number of each process, known to all; waits for all."""
        share = self.process_share
        placed = np.zeros(share.count, np.float64)
        placed[share.index] = value
        return self._summed(placed).tolist()

    def require_same(self, words: str, what: str) -> None:
        """Raise RunError unless all workers have been given the same."""
        if len(set(self.gathered(zlib.crc32(words.encode())))) > 1:
            raise RunError(f"All workers must have the same {what}; here it is: {words}")

    def joined(self, rows: np.ndarray) -> np.ndarray:
        """Rows (N, C) of all processes, one after the other, known to all.

        Args:
            rows: float32 (n, C) of this process.
        """
        counts = np.array(self.gathered(len(rows)), int)
        start = int(counts[: self.process_share.index].sum())
        placed = np.zeros((counts.sum(), rows.shape[1]), np.float64)
        placed[start : start + len(rows)] = rows
        return self._summed(placed).astype(np.float32)

    def _summed(self, placed: np.ndarray) -> np.ndarray:
        """The sum over all processes."""
        import tensorflow as tf

        if self._sum is None:

            def add(value: tf.Tensor) -> tf.Tensor:
                context = tf.distribute.get_replica_context()
                return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))

            self._sum = tf.function(
                lambda value: self.strategy.run(add, args=(value,)), reduce_retracing=True
            )
        summed = self._sum(tf.constant(placed))
        first = self.strategy.experimental_local_results(summed)[0]
        return first.numpy() / len(self.shares)

    def prepare(self, model: keras.Model) -> keras.Model:
        """Let the batch normalisations see the whole batch, and not only their replica's part."""
        for layer in _normalizations(model):
            layer.synchronized = True
        return model

    @contextmanager
    def chief_first(self) -> Iterator[None]:
        """What the chief leaves for all, the others find."""
        if not self.is_chief:
            self.gathered(0)
        yield
        if self.is_chief:
            self.gathered(0)

    @contextmanager
    def failures_told(self) -> Iterator[None]:
        """A worker that is gone, as an error in words.

        Raises:
            RunError: if the others cannot be reached.
        """
        import tensorflow as tf

        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
            raise RunError(
                "Another worker of this job has ended, or cannot be reached: see what it said. "
                "Then start all of them again with --resume: they go on from the last checkpoint."
            ) from error


def open_distribution(
    kind: Kind | None, task: Task, settings: Mapping[str, Any]
) -> Distribution | None:
    """Join the other workers, or take all GPUs. Call it before TensorFlow has computed anything.

    Args:
        kind: workers, those of TF_CONFIG; gpus, all of this machine; or None.
        task: from `read_task`.
        settings: of the run, which must be those of all workers.

    Raises:
        RunError: if workers differ in their settings.
    """
    import tensorflow as tf

    if kind is None:
        return None
    if kind == "gpus":
        return Distribution(tf.distribute.MirroredStrategy())
    with ending_at_once():  # TensorFlow waits without ever asking Python for signals
        place = f"worker {task.index + 1} of {task.count}"
        print(f"{place}, waiting for the others; Ctrl-C ends it at once", flush=True)
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    distribution = Distribution(strategy, is_chief=task.is_chief)
    shared = {name: value for name, value in settings.items() if name not in FREE_TO_CHANGE}
    distribution.require_same(json.dumps(shared, default=str, sort_keys=True), "settings")
    return distribution


def scope_of(distribution: Distribution | None) -> AbstractContextManager[Any]:
    """Where a model and its optimizer are made."""
    return nullcontext() if distribution is None else distribution.strategy.scope()


@contextmanager
def saved_alone(model: keras.Model) -> Iterator[None]:
    """What is saved meanwhile needs no other replicas when it is loaded."""
    layers = [layer for layer in _normalizations(model) if layer.synchronized]
    for layer in layers:
        layer.synchronized = False
    try:
        yield
    finally:
        for layer in layers:
            layer.synchronized = True


def _normalizations(model: keras.Model) -> Sequence[Any]:
    import keras

    layers = model._flatten_layers()
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


def _first_replica(strategy: tf.distribute.Strategy) -> int:
    """Number of the first replica of this process."""
    task = strategy.cluster_resolver.task_id
    return task * len(strategy.extended.worker_devices)
