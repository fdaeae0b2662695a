"""Jobs on one or more worker processes of this machine, each of which saves its weights."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np

from tests import processes

REPOSITORY = Path(__file__).parents[3]

_PROGRAM = """
import os
import signal
import sys
from importlib import import_module
import numpy as np
from experiments.training import checkpoints, loop

module, kept = sys.argv[1:3]
sys.argv = [module, *sys.argv[3:]]
train_and_test = loop.train_and_test

def train_and_keep(classifier, train_batches, validation_batches, test, **options):
    def batches_or_death(epoch):
        if str(epoch) == os.environ.get("DIES_IN_EPOCH"):
            os.kill(os.getpid(), signal.SIGKILL)
        return train_batches(epoch)

    before = [variable.numpy() for variable in classifier.model.trainable_variables]
    result = train_and_test(classifier, batches_or_death, validation_batches, test, **options)
    after = classifier.model.trainable_variables
    pairs = zip(before, after, strict=True)
    arrays = {f"moved {i}": weight.numpy() - start for i, (start, weight) in enumerate(pairs)}
    np.savez(kept, *[variable.numpy() for variable in classifier.variables], **arrays)
    return result

loop.train_and_test = train_and_keep
checkpoints._SECONDS_BETWEEN_CHECKPOINTS = 0
sys.exit(import_module(module).main())
"""


def start(
    module: str,
    kept: Path,
    *args: object,
    task: int = 0,
    ports: tuple[int, ...] = (),
    dies_in_epoch: int | None = None,
) -> subprocess.Popen[str]:
    """Start a job, with ports as one of several workers.

    Args:
        module: module of the job, which has a `main`.
        kept: .npz file that gets all variables after training.
        args: flags of the job.
        task: number of the worker.
        ports: ports of all workers.
        dies_in_epoch: epoch, from 0, at whose start the process kills itself.
    """
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    flags = [*map(str, args)]
    if dies_in_epoch is not None:
        environment["DIES_IN_EPOCH"] = str(dies_in_epoch)
    if ports:
        workers = [f"127.0.0.1:{port}" for port in ports]
        place = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": task}}
        environment["TF_CONFIG"] = json.dumps(place)
        flags += ["--distribute", "workers"]
    return processes.start(["-c", _PROGRAM, module, kept, *flags], cwd=kept.parent, env=environment)


def free_ports(number: int) -> tuple[int, ...]:
    """Find ports on which nobody listens.

    They lie below those that the system hands out: seconds pass until a worker listens, in which
    a connection of another test could get the same port.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(range(15_000, 30_000), 1000):
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == number:
            break
    return tuple(found)


def variables(kept: Path) -> list[np.ndarray]:
    """Load all variables after training from the file that `start` was given."""
    with np.load(kept) as saved:
        return [saved[name] for name in saved.files if name.startswith("arr")]


def steps(kept: Path) -> np.ndarray:
    """Load the changes of all weights by training, in one vector."""
    with np.load(kept) as saved:
        moved = [saved[name].ravel() for name in saved.files if name.startswith("moved")]
    return np.concatenate(moved)
