"""An object in a process of its own, for benchmarks: thread pools are fixed once a process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

from common.errors import UserError
from experiments.process import runtime


class Remote:
    """Makes an object in a new process and calls its methods there, one at a time.

    Args:
        make: called there, after TensorFlow has its thread pools; importable by name.
        *arguments: of `make`.
        threads: TensorFlow's pools there.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any, threads: runtime.Threads) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments, threads))
        self._process.start()
        theirs.close()

    def ask(self, question: str, *arguments: Any) -> Any:
        """Call a method of the object there.

        Raises:
            RuntimeError: if it failed there, or the process died (of memory, most likely).
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


def _serve(pipe, make, arguments, threads: runtime.Threads) -> None:
    runtime.configure(threads, seed=0)
    made = None
    while True:
        try:
            question, values = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            made = make(*arguments) if made is None else made
            pipe.send((True, getattr(made, question)(*values)))
        except Exception as error:  # told to the process that asked
            pipe.send((False, f"{type(error).__name__}: {error}"[:500]))
