"""Jobs on one or more worker processes of this machine, each of which saves its weights.

Several are started by `experiments.launch`; what it would execute is forked instead.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import launch
from experiments.launch import free_ports
from tests import processes
from tests.fork_server import ForkedProcess

REPOSITORY = Path(__file__).parents[3]

_PROGRAM = """
import json
import os
import signal
import sys
from importlib import import_module
import numpy as np
from experiments import launch

def run_job(module, kept, flags):
    from experiments.training import checkpoints, loop

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
    if module == "experiments.ucf101":
        module = "experiments.ucf101.__main__"
    sys.argv = [module, *flags]
    sys.exit(import_module(module).main())

def become(path, args, environment):  # in place of os.execve, which would import TensorFlow anew
    os.environ.update(environment)
    run_job(args[2], kept, args[3:])

module, kept, *flags = sys.argv[1:]
if module == "experiments.launch":
    launch.os.execve = become
    sys.argv = [module, *flags]
    sys.exit(launch.main())
run_job(module, kept, flags)
"""


def start(
    module: str,
    kept: Path,
    *args: object,
    dies_in_epoch: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start a job.

    Args:
        module: module of the job, which has a `main`.
        kept: .npz file that gets all variables after training.
        args: flags of the job.
        dies_in_epoch: epoch, from 0, at whose start the process kills itself.
        environment: further variables.
    """
    return processes.start(
        ["-c", _PROGRAM, module, kept, *args],
        cwd=kept.parent,
        env=_environment(dies_in_epoch) | dict(environment or {}),
    )


def start_in_slurm(
    job: Sequence[object],
    folder: Path,
    *,
    ntasks: int = 2,
    dies_in_epoch: Sequence[int | None] = (None, None),
) -> list[subprocess.Popen[str]]:
    """Start the launcher as often as srun does, with the variables that srun sets.

    Args:
        job: module of the job and its flags.
        folder: folder that gets 0.npz, 1.npz and so on.
        ntasks: number of processes of the job step.
        dies_in_epoch: of each process that is started, that of `start`; some may be left out.
    """
    port = free_ports(ntasks)
    shared = {
        "SLURM_JOB_ID": "4711",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_TASKS_PER_NODE": str(ntasks),
        "SLURM_NODEID": "0",
    }
    return [
        start(
            "experiments.launch",
            folder / f"{task}.npz",
            "--port",
            port,
            "--",
            *job,
            dies_in_epoch=dies,
            environment=shared | {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)},
        )
        for task, dies in enumerate(dies_in_epoch)
    ]


def launch_two(monkeypatch: pytest.MonkeyPatch, job: Sequence[object], folder: Path) -> None:
    """Run `python -m experiments.launch --processes 2 -- JOB` to its end, in this process.

    Args:
        job: module of the job and its flags.
        folder: folder that gets 0.npz and 1.npz.
    """

    def forked(command: Sequence[str], **options: Any) -> ForkedProcess:
        python, dash_m, module, *flags = command
        assert dash_m == "-m"
        task = json.loads(options["env"]["TF_CONFIG"])["task"]["index"]
        options["env"] = _environment() | {"TF_CONFIG": options["env"]["TF_CONFIG"]}
        kept = str(folder / f"{task}.npz")
        return ForkedProcess([python, "-c", _PROGRAM, module, kept, *flags], **options)

    monkeypatch.setattr(launch, "Popen", forked)
    monkeypatch.chdir(folder)
    arguments = launch.Arguments(job=tuple(map(str, job)), processes=2)
    assert launch.run(arguments) == 0


def _environment(dies_in_epoch: int | None = None) -> dict[str, str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    if dies_in_epoch is not None:
        environment["DIES_IN_EPOCH"] = str(dies_in_epoch)
    return environment


def variables(kept: Path) -> list[np.ndarray]:
    """Load all variables after training from the file that `start` was given."""
    with np.load(kept) as saved:
        return [saved[name] for name in saved.files if name.startswith("arr")]


def steps(kept: Path) -> np.ndarray:
    """Load the changes of all weights by training, in one vector."""
    with np.load(kept) as saved:
        moved = [saved[name].ravel() for name in saved.files if name.startswith("moved")]
    return np.concatenate(moved)
