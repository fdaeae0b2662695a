"""Shared parts of the benchmark commands: results files, peers, exit codes, processes."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common.errors import UserError
from common.files import write_atomically
from experiments.process import environment, runtime
from experiments.process.runtime import Threads
from preprocess.system.command import run_command

_CLIP_BATCHES = 3  # batches of one timing of `Clips`


def keep_results(
    out: Path, rows: Sequence[Any], *, table: str, circumstances: str, threads: Threads
) -> None:
    """Print a table, and write it with all figures.

    Args:
        out: directory of results.json and table.md.
        rows: figures, as dataclasses.
        table: table of the rows, as Markdown.
        circumstances: description of the measurement besides machine, versions and threads.
        threads: TensorFlow's pools.
    """
    seen = environment.describe_environment()
    machine = seen["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in seen["versions"].items())
    text = (
        f"{machine['cpu']}, {machine['cores']} cores; {versions}.\n"
        f"{circumstances}; {threads}.\n\n{table}\n"
    )
    result = {
        "command": sys.argv[1:],
        "commit": environment.git_commit(),
        **seen,
        "threads": asdict(threads),
        "rows": [asdict(row) for row in rows],
    }
    write_atomically(out / "results.json", json.dumps(result, indent=1).encode())
    write_atomically(out / "table.md", text.encode())
    print(f"\n{text}\nWritten to {out}/: results.json, table.md")


def with_peers(wanted: bool, *packages: str) -> bool:
    """Whether to run the peers that need some packages; prints a line if these are missing."""
    # Looked for without importing: PyTorch belongs into the processes of its systems alone.
    missing = [name for name in packages if wanted and importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"Without PyTorch: {' and '.join(missing)} not installed "
            "(pip install -e '.[benchmark]').",
            file=sys.stderr,
        )
    return wanted and not missing


def carry_out(run: Callable[[], None]) -> int:
    """Run a benchmark, and return the exit code."""

    def run_to_end() -> int:
        run()
        return 0

    return run_command(
        run_to_end,
        resume_hint=lambda: "Nothing is kept; the same command measures anew.",
        exit_error=1,
    )


# An object in a process of its own, because TensorFlow fixes its thread pools once a process.


class Remote:
    """An object in a new process, whose methods are called there, one at a time.

    Args:
        make: "module:name" of what makes the object there. By name, because its module may import
            TensorFlow: that happens in the new process only, after the thread pools are set.
        *arguments: arguments of `make`.
        threads: TensorFlow's pools in that process; None for PyTorch, which crashes at its first
            optimizer where TensorFlow was loaded before it (2.14 and 2.21).
    """

    def __init__(self, make: str, *arguments: Any, threads: runtime.Threads | None) -> None:
        # Not forked: a fork would inherit TensorFlow's state, but not its threads.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments, threads))
        self._process.start()
        # With only the child holding the other end, its death ends a waiting `recv` by EOFError.
        theirs.close()

    def ask(self, question: str, *arguments: Any) -> Any:
        """Call a method of the object in its process.

        Raises:
            RuntimeError: if it failed there.
            UserError: if the process died, most likely of too little memory.
        """
        try:
            self._pipe.send((question, arguments))
            done, answer = self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise UserError("the process died, of too little memory most likely") from None
        if not done:
            raise RuntimeError(answer)
        return answer

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(timeout=10)
        self._process.kill()


@contextmanager
def closing_all(systems: Mapping[str, Remote]) -> Iterator[None]:
    """End the processes of all systems when the context ends."""
    try:
        yield
    finally:
        for system in systems.values():
            system.close()


def take_turns(
    systems: Mapping[str, Remote], question: str, rounds: int, *, work: str | None = None
) -> dict[str, list[Any]]:
    """Ask systems round by round, so that a machine that slows down hurts all of them alike."""
    answers: dict[str, list[Any]] = {name: [] for name in systems}
    for _ in tqdm(range(rounds), unit=" rounds", desc=work):
        for name, system in systems.items():
            answers[name].append(system.ask(question))
    return answers


def _serve(pipe, make: str, arguments, threads: runtime.Threads | None) -> None:
    if threads is not None:
        runtime.configure(threads, seed=0)
    made = None
    while True:
        try:
            question, values = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            # Made at the first question, whose answer can carry an error.
            if made is None:
                module, _, name = make.partition(":")
                made = getattr(import_module(module), name)(*arguments)
            pipe.send((True, getattr(made, question)(*values)))
        except Exception as error:
            # Sent to the process that asked.
            pipe.send((False, f"{type(error).__name__}: {error}"[:500]))


class Clips:
    """A model that predicts views of clips in memory; base of a benchmark's systems.

    Args:
        file: .npy file with the views, uint8 (N, T, H, W, 3).
        batch: number of views in a batch.
    """

    def __init__(self, file: Path, batch: int) -> None:
        self._views = list(np.load(file, allow_pickle=False))
        # Views are repeated if there are fewer than the batch takes.
        self._batch = [self._views[i % len(self._views)] for i in range(batch)]
        # The first call compiles.
        self.probabilities(self._batch)

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Predicted probabilities of views, shape (len(views), classes)."""
        raise NotImplementedError

    def answers(self) -> NDArray[np.float32]:
        """Predicted probabilities of all views."""
        # One by one, so that every view is predicted in a batch of the same size.
        return np.concatenate([self.probabilities([view]) for view in self._views])

    def measure(self) -> tuple[float, int]:
        """Measure frames per second, and the peak memory of the process in bytes."""
        started = time.perf_counter()
        for _ in range(_CLIP_BATCHES):
            self.probabilities(self._batch)
        seconds = time.perf_counter() - started
        frames = _CLIP_BATCHES * sum(len(view) for view in self._batch)
        return frames / seconds, environment.peak_rss_bytes()
