"""Dask cluster on this machine for tests; each of its parts is a process that may be killed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tests import processes
from tests.processes import PATIENCE_SECONDS, REPOSITORY, wait_until


class InPlaceOfACluster:
    """Stand-in for `open_workers`: a function, or its error, answers tasks at once."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self._answer = answer

    def __call__(self, *_: object, **__: object) -> InPlaceOfACluster:
        return self

    def __enter__(self) -> Callable[[Any], Future]:
        return self._submit

    def __exit__(self, *_: object) -> None:
        pass

    def _submit(self, task: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(self._answer(task))
        except Exception as error:
            future.set_exception(error)
        return future


class DaskCluster:
    """Scheduler and workers of one thread each, which are connected.

    Args:
        folder: folder for their logs.
        num_workers: number of workers to start with.
    """

    def __init__(self, folder: Path, num_workers: int) -> None:
        self._folder = folder
        place = folder / "scheduler.json"
        args = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", place)
        self._scheduler = self._start("scheduler", "scheduler", *args)
        wait_until(lambda: _address(place), "the scheduler's address", self._scheduler)
        self.address = _address(place)
        self.workers: list[subprocess.Popen] = []
        for _ in range(num_workers):
            self.add_worker()
        for number, worker in enumerate(self.workers):
            log = folder / f"worker{number}.log"
            wait_until(lambda log=log: "Registered to" in log.read_text(), "a worker", worker)

    def add_worker(self) -> None:
        """Start one more worker."""
        args = ("--nthreads", 1, "--no-nanny", "--no-dashboard", "--memory-limit", 0)
        name = f"worker{len(self.workers)}"
        self.workers.append(self._start(name, "worker", self.address, *args))

    def wait_until_idle(self) -> None:
        """Wait until no worker has a task, not even one of a client that is gone."""
        from distributed import Client

        def count(dask_worker: Any) -> int:
            return len(dask_worker.state.all_running_tasks)

        with Client(self.address, timeout=PATIENCE_SECONDS, set_as_default=False) as client:
            wait_until(lambda: not any(client.run(count).values()), "workers without a task")

    def close(self) -> None:
        """Kill the scheduler and all workers."""
        for process in (*self.workers, self._scheduler):
            process.kill()
            process.wait()

    def _start(self, name: str, *args: object) -> subprocess.Popen:
        with (self._folder / f"{name}.log").open("w") as log:
            return processes.start(
                ["-m", "dask", *args],
                cwd=self._folder,
                env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
                stdout=log,
                stderr=log,
            )


def _address(place: Path) -> str:
    """Address in a scheduler's file; empty as long as the file is not complete."""
    try:
        return json.loads(place.read_text())["address"]
    except (FileNotFoundError, ValueError):
        return ""
