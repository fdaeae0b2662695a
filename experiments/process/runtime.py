"""Set up the process: thread pools, logging, seeds and signals.

No other module touches any of them. They must be set before TensorFlow's first operation.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from common.errors import InputError, did_you_mean
from common.formatting import plural
from experiments.process.recommendations import find_recommendation
from preprocess.system.machine import Machine, multiplies_bfloat16, read_machine
from preprocess.video.ffmpeg import captured_stderr

MANY = 2**16
"""Number of pieces of a work that can be cut at will, such as a tensor train's product."""
# Independent pieces in which a kind of work comes. Batches of pictures: each takes memory, some
# 0.3 GB of AlexNet's activations.
_PIECES = {"tt-train": MANY, "alexnet": 8, "resnet": 8, "classify": 8}
# See `_keep_freed_memory`.
_THREADS_A_HEAP = 8
# On 8 cores AlexNet takes fewer frames than one decoder gives.
_CORES_A_DECODER = 8
ALL_CPUS = "all"
Policy = Literal["auto", "float32", "mixed_bfloat16"]
"""Arithmetic of a model's layers."""


@dataclass(frozen=True)
class Threads:
    """Sizes of TensorFlow's two thread pools, and where their threads run."""

    intra_op: int
    """Number of threads that share one operation."""
    inter_op: int
    """Number of operations that run at the same time."""
    cpus: str = ALL_CPUS
    """Logical CPUs to run on: all, cores (one of each physical core), or node0 and so on (those of
    a NUMA node)."""
    jobs: int | None = None
    """Number of processes that decode videos beside it; None if that was not measured."""
    source: str = field(default="as given", compare=False)
    """Description of where the numbers come from."""

    def __str__(self) -> str:
        where = "" if self.cpus == ALL_CPUS else f" on CPUs: {self.cpus}"
        return f"threads intra,inter {self.intra_op},{self.inter_op}{where} ({self.source})"


def choose_threads(text: str, *, workload: str | None = None) -> Threads:
    """Parse `auto` or `INTRA,INTER` to the sizes of the thread pools.

    Args:
        text: `auto` stands for what `python -m experiments.threads` has found best for this work
            on this machine, or else for `default_threads`.
        workload: kind of work, by its name there; None for any other.

    Raises:
        InputError: for anything else.
    """
    if text != "auto":
        return Threads(*parse_pair(text, "--threads must be auto or INTRA,INTER"))
    machine = read_machine()
    kept = find_recommendation(workload, machine) if workload else None
    if kept is None or "intra_op" not in kept.setting:
        return default_threads(machine, workload)
    return Threads(**kept.setting, source=f"measured on {kept.measured_on}: {kept.report}")


def choose_policy(policy: Policy) -> Policy:
    """Return the dtype policy that `auto` stands for on this machine; any other as it is.

    It follows from the kind of processor and not from a measurement, so that a run can be repeated
    bit for bit on the same machine, however busy that is.
    """
    if policy != "auto":
        return policy
    return "mixed_bfloat16" if multiplies_bfloat16() else "float32"


def default_threads(machine: Machine, workload: str | None = None) -> Threads:
    """Default sizes of the thread pools: as many threads as physical cores.

    Args:
        machine: the machine, with its cores and its quota.
        workload: kind of work; None for any whose operations are large and run one after another.
    """
    cores = machine.num_cores
    source = f"default for {plural(cores, 'core')}"
    pieces = _PIECES.get(workload or "")
    if pieces is None:
        return Threads(cores, min(2, cores), source=source)
    # The cores are dealt out among independent pieces of work: pieces that do not share their
    # threads never wait for one another.
    inter_op = min(cores, pieces)
    jobs = max(2, cores // _CORES_A_DECODER) if workload == "classify" else None
    return Threads(cores // inter_op, inter_op, jobs=jobs, source=source)


def parse_pair(text: str, rule: str) -> tuple[int, int]:
    """Parse a pair such as `18,36`.

    Raises:
        InputError: for anything else; the message begins with the rule.
    """
    match = re.fullmatch(r"([1-9]\d{0,3}),([1-9]\d{0,3})", text)
    if match is None:
        message = f"{rule}, e.g. 18,36. Received {text!r}."
        raise InputError(f"{message} {did_you_mean(text, ['auto'])}".strip())
    return int(match[1]), int(match[2])


def choices_of_cpus(machine: Machine) -> dict[str, tuple[int, ...]]:
    """Names and members of the sets of logical CPUs that a machine offers; equal sets once."""
    found = {ALL_CPUS: machine.usable, "cores": tuple(core[0] for core in machine.cores)}
    found |= {f"node{number}": node for number, node in enumerate(machine.numa_nodes)}
    members = list(found.values())
    return {name: cpus for i, (name, cpus) in enumerate(found.items()) if cpus not in members[:i]}


def configure(threads: Threads, *, seed: int, deterministic: bool = True) -> None:
    """Import TensorFlow quietly, with the given thread pools and seed.

    Call it once, before anything else imports TensorFlow or Keras.

    Args:
        threads: sizes of the pools, and the CPUs that they run on.
        seed: seed of Python's, NumPy's and Keras's generators.
        deterministic: let operations give the same bits each time, with the same pools.
    """
    # All four before the import: threads inherit the CPUs, allocations the settings of the heap,
    # and TensorFlow and Keras read their variables once.
    stay_on(threads.cpus)
    _keep_freed_memory(threads)
    hush()
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _greetings_held_back():
        import keras  # noqa: F401
        import tensorflow as tf

        # Looks for a GPU, and complains where there is none.
        tf.config.list_physical_devices()
    # TensorFlow refuses to change its pools once it has run an operation: of several jobs of one
    # process, in a notebook for instance, the first one's pools serve all.
    with suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(threads.intra_op)
        tf.config.threading.set_inter_op_parallelism_threads(threads.inter_op)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    set_seed(seed)


def set_seed(seed: int) -> None:
    """Set the seed of Python's, NumPy's, Keras's and TensorFlow's generators.

    Layers whose initializers have no seed of their own draw one from them, so that the weights of a
    model depend on what was built before it in the process, unless the seed is set again.
    """
    sys.modules["keras"].utils.set_random_seed(seed)


def pools_in_force() -> dict[str, int]:
    """Sizes that TensorFlow itself reports of its pools; empty if it is not in use."""
    if "tensorflow" not in sys.modules:
        return {}
    threading = sys.modules["tensorflow"].config.threading
    return {
        "tensorflow_intra_op": threading.get_intra_op_parallelism_threads(),
        "tensorflow_inter_op": threading.get_inter_op_parallelism_threads(),
    }


def forget_models() -> None:
    """Free the names and the memory of Keras's layers, before the next model of this process."""
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()


def stay_on(cpus: str) -> None:
    """Restrict this process, and those that it starts, to some logical CPUs.

    Raises:
        InputError: if the machine does not have them.
    """
    if cpus == ALL_CPUS:
        return
    choices = choices_of_cpus(read_machine())
    if cpus not in choices:
        raise InputError(f"CPUs must be one of {', '.join(choices)} here. Received {cpus!r}.")
    os.sched_setaffinity(0, choices[cpus])


def hush() -> None:
    """Let TensorFlow log errors only, here and in processes started from here."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _keep_freed_memory(threads: Threads) -> None:
    """Let glibc reuse freed memory instead of giving it back to the system each time.

    Training on the demo set ran at 5,200 frames/s instead of 3,500 on 2 virtual cores. Without
    glibc nothing is done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    # A batch's buffers are hundreds of megabytes. Mapped afresh for every batch, their page faults
    # took longer than reading the shards: hence no mmap, no trimming, and a large step of growth.
    # By default glibc has up to eight heaps a core, and each keeps the most it ever held: training
    # at 160x120 had 2.7 GiB after 280 epochs, and with one heap 1.5 GiB after 300 in the same time.
    # So threads share heaps, but not so many that they would often wait for each other.
    # Parameters, as malloc.h numbers them.
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8
    mallopt(arena_max, max(2, threads.intra_op * threads.inter_op // _THREADS_A_HEAP))
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 2**26)


@contextmanager
def _greetings_held_back() -> Iterator[None]:
    """Hold back what TensorFlow writes to file descriptor 2 while it is imported.

    Its log level is not in force yet. If the import fails, all of it is shown.
    """
    with captured_stderr() as messages:
        try:
            yield
        except BaseException:
            messages.seek(0)
            sys.stderr.write(messages.read().decode(errors="replace"))
            raise
