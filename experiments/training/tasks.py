"""Place of a process among those that train one model, read before TensorFlow is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.errors import InputError

Kind = Literal["workers", "gpus"]
_EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True)
class Task:
    """Place of this process among the workers; the first worker writes the files of a run."""

    index: int = 0
    count: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this process is the first worker."""
        return self.index == 0


ALONE = Task()
WORKER_LOST = "Another worker of this job has ended"
"""Beginning of the error of a worker that misses another one."""


def read_task(kind: Kind | None, out: Path | None) -> Task:
    """Read this process's place among the workers from the environment variable TF_CONFIG.

    Args:
        kind: kind of distribution; without workers, this process is the only one.
        out: the run's directory, or None if it is not named; workers must name it.

    Raises:
        InputError: if there is no GPU, or workers are asked for, but TF_CONFIG does not say where,
            or `out` is None.
    """
    if kind == "gpus":
        _require_gpus()
    if kind != "workers":
        return ALONE
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
            "--distribute workers needs the variable TF_CONFIG, which python -m "
            "experiments.launch sets; by hand on each machine with its own index, such as "
            f"{_EXAMPLE}. Received {text!r}."
        )
    return task


def _require_gpus() -> None:
    """Raise InputError if TensorFlow finds no GPU.

    A process of its own asks, because this one may have clips to extract first, and does that
    without TensorFlow.
    """
    program = "from tensorflow import config; exit(not config.list_physical_devices('GPU'))"
    if subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode:
        raise InputError("--distribute gpus needs GPUs that TensorFlow can use; it finds none.")
