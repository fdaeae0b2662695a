"""The process: thread pools, log noise, seeds and signals. Set before TensorFlow's first operation.

The only module that touches any of them.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from preprocess.messages import captured_stderr

MANY = 2**16
"""Pieces of work, such as the chunks of a tensor train's product."""


@dataclass(frozen=True)
class Threads:
    """Sizes of TensorFlow's two thread pools."""

    intra_op: int
    """Threads that share one operation."""
    inter_op: int
    """Operations that run at the same time."""


def parse_threads(text: str, *, at_once: int | None = None) -> Threads:
    """`auto` or `INTRA,INTER` to pool sizes.

    Args:
        text: `auto` is one intra-op thread a usable core.
        at_once: the work comes in so many independent pieces; `auto` then deals the usable cores
            out among them, since pieces that do not share their work never wait for one another.

    Raises:
        ValueError: for anything else.
    """
    if text == "auto":
        cores = len(os.sched_getaffinity(0))
        if at_once is None:
            return Threads(cores, min(2, cores))
        inter_op = min(cores, at_once)
        return Threads(cores // inter_op, inter_op)
    match = re.fullmatch(r"([1-9]\d*),([1-9]\d*)", text)
    if match is None:
        raise ValueError(f"--threads must be auto or INTRA,INTER, e.g. 18,36. Received {text!r}.")
    return Threads(int(match[1]), int(match[2]))


def configure(threads: Threads, *, seed: int) -> None:
    """Import TensorFlow with these pools, quietly, with deterministic operations and one seed.

    Call it once, before anything else imports TensorFlow or Keras.
    """
    _keep_freed_memory()
    hush()
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _greetings_held_back():
        import keras
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for a GPU, and complains where there is none
    tf.config.threading.set_intra_op_parallelism_threads(threads.intra_op)
    tf.config.threading.set_inter_op_parallelism_threads(threads.inter_op)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)


def hush() -> None:
    """Let TensorFlow say nothing but errors, here and in processes started from here."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _keep_freed_memory() -> None:
    """Let glibc reuse freed memory instead of giving it back to the system each time.

    A batch's buffers are hundreds of megabytes; mapped afresh for every batch, their page faults
    took longer than reading the shards. Training on the demo set: 5,200 frames/s instead of
    3,500 on 2 virtual cores, for 0.8 GB more. Elsewhere than on glibc nothing is done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # parameters, as malloc.h numbers them
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 2**26)


@contextmanager
def _greetings_held_back() -> Iterator[None]:
    """Keep back what TensorFlow writes to file descriptor 2 while it is imported.

    Its log level is not yet in force then. Where the import fails, all of it is shown.
    """
    with captured_stderr() as messages:
        try:
            yield
        except BaseException:
            messages.seek(0)
            sys.stderr.write(messages.read().decode(errors="replace"))
            raise


def ignore_interrupts() -> None:
    """Let nothing disturb a process that is stopping already."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def stop_on_termination() -> None:
    """Let SIGTERM stop a run as Ctrl-C does: cleanly, with a line that says how to resume."""

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
