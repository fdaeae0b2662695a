"""A Dask cluster on this machine, for tests: each of its parts is a process that may be killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from .conftest import REPOSITORY


class InPlaceOfACluster:
    """What `cluster_servants` gives: tasks are answered on the spot, by a function or its error."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self._answer = answer

    def __call__(self, *_: object) -> InPlaceOfACluster:
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
    """A scheduler and workers of one thread each.

    Args:
        folder: for their logs.
        num_workers: to begin with.
    """

    def __init__(self, folder: Path, num_workers: int) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        words = ("--host", "127.0.0.1", "--port", port, "--no-dashboard")
        self._scheduler = self._start("scheduler", "scheduler", *words)
        self.workers: list[subprocess.Popen] = []
        for _ in range(num_workers):
            self.add_worker()

    def add_worker(self) -> None:
        """Start one more."""
        words = ("--nthreads", 1, "--no-nanny", "--no-dashboard", "--memory-limit", 0)
        name = f"worker{len(self.workers)}"
        self.workers.append(self._start(name, "worker", self.address, *words))

    def close(self) -> None:
        """Kill all of it."""
        for process in (*self.workers, self._scheduler):
            process.kill()
            process.wait()

    def _start(self, name: str, *words: object) -> subprocess.Popen:
        with (self._folder / f"{name}.log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *map(str, words)],
                cwd=self._folder,
                env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
                stdout=log,
                stderr=log,
            )
