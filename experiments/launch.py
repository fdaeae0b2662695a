"""Train one model on several machines, or in several processes of this one.

    python -m experiments.launch --hosts 10.0.0.1 10.0.0.2 -- experiments.ucf11 --tt --out runs/two

Each process gets its place among the workers in TF_CONFIG, which nobody need write. They are
started here, by SSH, or by SLURM's srun, whose variables tell the rest. The first one that fails
ends the others.
"""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from threading import Event, Thread
from typing import IO

from tyro.conf import Positional

from common.command_line import parse_arguments
from common.errors import InputError, UserError, did_you_mean
from experiments.process.command import typed_command
from experiments.training.tasks import WORKER_LOST
from preprocess.system.command import run_command

MODULE = "experiments.launch"
JOBS = ("experiments.ucf11", "experiments.ucf101")
_THIS_MACHINE = "127.0.0.1"
# Below the ports that the system hands out: seconds pass until a worker listens, in which any
# other connection could get the same one.
_PORTS = range(15_000, 30_000)
_LOOK_SECONDS = 0.1
_CAUSE_SECONDS = 5  # in which the death of a worker may be seen later than those that it caused
_GRACE_SECONDS = 10  # from SIGTERM to SIGKILL
_ERROR = b"error: "


@dataclass(frozen=True)
class Arguments:
    """Train one model on several machines, or in several processes of this one.

    All machines must see this folder and the same installation, under the same paths. Started by
    srun, it takes machines and number of processes from SLURM.
    """

    job: Positional[tuple[str, ...]]
    """After two dashes the job and its flags, with the run's directory: -- experiments.ucf11 --tt
    --out runs/two"""
    hosts: tuple[str, ...] = ()
    """Machines that SSH reaches without a password, as 10.0.0.1 or user@node2; without, this
    one."""
    processes: int = 1
    """Number of processes on each machine."""
    port: int | None = None
    """First of as many ports of each machine as it has processes; by default chosen from 15000 to
    29999, on this machine among those that are free."""


@dataclass
class Worker:
    """One of the processes that train.

    Args:
        name: its name in messages.
        process: the process, or the `ssh` that waits for it.
        error: line by which it said what a person can mend, without "error: ".
    """

    name: str
    process: Popen[bytes]
    error: str = ""
    threads: list[Thread] = field(default_factory=list)

    @property
    def is_lost(self) -> bool:
        """True if the worker ended only because another one did."""
        return self.error.startswith(WORKER_LOST)


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = parse_arguments(Arguments, prog=f"python -m {MODULE}", description=__doc__)
    return run_command(lambda: run(arguments), resume_hint=_resume_hint)


def run(arguments: Arguments) -> int:
    """Start the workers and wait for them; within srun, become the worker of this place.

    Raises:
        InputError: if the flags do not fit.
        UserError: if a worker failed.
    """
    job = _worker_args(arguments.job)
    if arguments.processes < 1:
        raise InputError(f"--processes must be 1 or more. Received {arguments.processes}.")
    # srun alone sets these, also where a batch script has other variables of SLURM.
    if "SLURM_STEP_NODELIST" in os.environ:
        if arguments.hosts or arguments.processes > 1:
            raise InputError(
                "SLURM says which machines and how many processes: srun --nodes and --ntasks. "
                "Leave out --hosts and --processes."
            )
        config = slurm_config(os.environ, port=arguments.port)
        environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
        # This process becomes the worker: signals and exit code go between it and srun.
        os.execve(sys.executable, [sys.executable, *job], environment)  # noqa: S606 - no shell
    if not arguments.hosts and arguments.processes == 1:
        raise InputError(
            "Several workers must be asked for: --hosts of other machines, or --processes 2 of "
            "this one. Received neither."
        )
    return _run_workers(arguments, job)


def _worker_args(job: Sequence[str]) -> list[str]:
    """Arguments of Python for a worker.

    Raises:
        InputError: if the job is not one that is distributed, or its run has no name.
    """
    name, *flags = [*job] or [""]
    if name not in JOBS:
        raise InputError(
            f"The job after -- must be {' or '.join(JOBS)}. Received {name!r}. "
            f"{did_you_mean(name, JOBS)}".strip()
        )
    if not any(flag.partition("=")[0] == "--out" for flag in flags):
        raise InputError(
            f"{name} needs --out: the directory of the run, which all workers share, as --out "
            "runs/two."
        )
    given = any(flag.partition("=")[0] == "--distribute" for flag in flags)
    return ["-m", name, *flags, *([] if given else ["--distribute", "workers"])]


def _run_workers(arguments: Arguments, job: Sequence[str]) -> int:
    """Start all workers, show what they print, and end them all once one fails."""
    hosts = arguments.hosts or (_THIS_MACHINE,)
    count = arguments.processes
    first = arguments.port
    if first is None:
        first = random.choice(_PORTS[:-count]) if arguments.hosts else free_ports(count)  # noqa: S311 - no secret
    addresses = [
        # Of user@host, the network knows the host.
        f"{host.rpartition('@')[2]}:{first + number}"
        for host in hosts
        for number in range(count)
    ]
    ending = Event()
    workers: list[Worker] = []
    try:
        for index, address in enumerate(addresses):
            text = json.dumps(_config(addresses, index))
            host = hosts[index // count] if arguments.hosts else None
            process = _start(host, [sys.executable, *job], {"TF_CONFIG": text})
            workers.append(Worker(f"worker {index + 1} of {len(addresses)} ({address})", process))
            _show(workers[-1], is_first=index == 0, ending=ending)
        _wait(workers)
    finally:
        # What they say while they are being ended is of no use.
        ending.set()
        _end([worker.process for worker in workers])
    return 0


def _config(addresses: Sequence[str], index: int) -> dict[str, object]:
    """Content of TF_CONFIG for one of some workers."""
    return {"cluster": {"worker": [*addresses]}, "task": {"type": "worker", "index": index}}


def _start(host: str | None, command: Sequence[str], variables: Mapping[str, str]) -> Popen[bytes]:
    """Start a worker here, or on another machine by SSH."""
    environment = {**os.environ, **variables}
    if host is not None:
        # One text for the shell of the other machine, so that each word is quoted.
        assigned = [f"{name}={value}" for name, value in variables.items()]
        remote = (
            f"cd {shlex.quote(str(Path.cwd()))} && exec {shlex.join(['env', *assigned, *command])}"
        )
        # A terminal of its own (-tt) ends the worker there when this `ssh` is ended.
        options = ["-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
        command = ["ssh", "-tt", *options, "--", host, remote]
    # In a session of its own: Ctrl-C comes to the launcher, which ends the workers.
    return Popen(
        command,
        env=environment,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )


def _show(worker: Worker, *, is_first: bool, ending: Event) -> None:
    """Print what a worker prints, those but the first with their names, until all are ended.

    Its error is kept: all workers may have the same one, which is then printed once.
    """
    prefix = b"" if is_first else f"{worker.name}: ".encode()

    def forward(source: IO[bytes], target: IO[bytes]) -> None:
        for line in source:
            # A progress bar may stand before it, on a terminal.
            shown = line.rstrip(b"\r\n").rpartition(b"\r")[2]
            if shown.startswith(_ERROR):
                worker.error = shown.removeprefix(_ERROR).decode(errors="replace")
            elif not ending.is_set():
                with suppress(OSError):  # a closed terminal must not stop the worker
                    target.write(prefix + line)
                    target.flush()

    streams = (worker.process.stdout, sys.stdout), (worker.process.stderr, sys.stderr)
    for source, target in streams:
        assert source is not None
        thread = Thread(target=forward, args=(source, target.buffer), daemon=True)
        thread.start()
        worker.threads.append(thread)


def _wait(workers: Sequence[Worker]) -> None:
    """Wait until all have ended well.

    Raises:
        UserError: if one failed; it names the one that caused it.
    """
    deadline: float | None = None
    while None in [worker.process.poll() for worker in workers]:
        failed = [worker for worker in workers if worker.process.returncode]
        if failed:
            for worker in failed:
                _read_whole(worker)
            # A worker that only misses another one is not the cause.
            deadline = deadline or time.monotonic() + _CAUSE_SECONDS
            if time.monotonic() > deadline or not all(worker.is_lost for worker in failed):
                break
        time.sleep(_LOOK_SECONDS)
    for worker in workers:
        if worker.process.poll() is not None:
            _read_whole(worker)
    failed = [worker for worker in workers if worker.process.returncode]
    if failed:
        raise UserError(_reason(min(failed, key=_blame)))


def _read_whole(worker: Worker) -> None:
    """Wait until all that a worker printed before its end has been shown."""
    for thread in worker.threads:
        # A process that it left behind may hold the pipe.
        thread.join(_CAUSE_SECONDS)


def _blame(worker: Worker) -> tuple[bool, bool]:
    """Order of failures: those that explain the others come first."""
    return worker.is_lost, bool(worker.error)


def _reason(worker: Worker) -> str:
    """Describe the failure of a worker, with what to do."""
    if worker.error and not worker.is_lost:
        return worker.error
    code = worker.process.returncode
    if worker.is_lost:
        how = "lost the connection to another one"
    elif code < 0:
        how = f"was ended by {signal.Signals(-code).name}"
    else:
        how = f"ended with exit code {code}: see above"
    name = worker.name.removeprefix("w")
    return f"W{name} {how}; the others are ended, too. {_resume_hint()}"


def _resume_hint() -> str:
    return f"Continue with: {typed_command(MODULE, resume=True)}"


def _end(processes: Sequence[Popen[bytes]]) -> None:
    """End those processes that still run, and wait for them."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if process.poll() is None:
                with suppress(ProcessLookupError):  # it ended in between
                    # With the processes that it started.
                    os.killpg(process.pid, number)
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in processes:
            with suppress(TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0))


def free_ports(count: int) -> int:
    """Find a number of ports in a row on which nobody listens; returns the first.

    Raises:
        UserError: if there are none.
    """
    for first in random.sample(_PORTS[:-count], 1000):
        with ExitStack() as stack, suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind((_THIS_MACHINE, port))
            return first
    raise UserError(f"No {count} free ports in a row were found; name the first one by --port.")


def slurm_config(environment: Mapping[str, str], *, port: int | None = None) -> dict[str, object]:
    """Content of TF_CONFIG for the process of a SLURM job step.

    Args:
        environment: variables that srun sets.
        port: first port; by default one made of the numbers of the job and the step.

    Raises:
        InputError: if the step has one process, or deals them out in turn.
    """
    # Tasks are numbered node by node, 2(x3),1 stands for 2 on each of three and 1 on the fourth.
    hosts = expand_hosts(environment["SLURM_STEP_NODELIST"])
    counts = [
        int(number)
        for number, times in re.findall(
            r"(\d+)(?:\(x(\d+)\))?", environment["SLURM_STEP_TASKS_PER_NODE"]
        )
        for _ in range(int(times or 1))
    ]
    if port is None:
        # The same in all processes, and another one for another job on the same machine.
        job, step = int(environment["SLURM_JOB_ID"]), int(environment["SLURM_STEP_ID"])
        port = _PORTS[(job * 64 + step * 16) % (len(_PORTS) - max(counts))]
    places = [(node, number) for node, count in enumerate(counts) for number in range(count)]
    if len(places) < 2:
        raise InputError("srun must start several processes: --ntasks 2, say. Received one.")
    index = int(environment["SLURM_PROCID"])
    here = (int(environment["SLURM_NODEID"]), int(environment["SLURM_LOCALID"]))
    if places[index] != here:
        raise InputError(
            "srun must number its processes node by node: give it --distribution=block."
        )
    addresses = [f"{hosts[node]}:{port + number}" for node, number in places]
    return _config(addresses, index)


def expand_hosts(text: str) -> list[str]:
    """Names of the machines in a list as SLURM writes it: node[01-03,7],login."""
    names: list[str] = []
    for pattern in re.findall(r"(?:[^,\[\]]|\[[^\]]*\])+", text):
        # Every second piece stood in brackets.
        pieces = re.split(r"\[([^\]]*)\]", pattern)
        choices = [
            list(_numbers(piece)) if place % 2 else [piece] for place, piece in enumerate(pieces)
        ]
        names += map("".join, product(*choices))
    return names


def _numbers(text: str) -> Iterator[str]:
    """Yield the numbers of a list of ranges, with their leading zeros: 01-03,7."""
    for part in text.split(","):
        first, _, last = part.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield f"{number:0{len(first)}}"


if __name__ == "__main__":
    sys.exit(main())
