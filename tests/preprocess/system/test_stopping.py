"""Ctrl-C and SIGTERM: where they may be raised, and what ends when nothing else does."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from preprocess.system.stopping import answer_signals
from tests.processes import PATIENCE_SECONDS

PROGRAM = """
import os, signal, sys, threading
from preprocess.system import stopping
stopping.GRACE_SECONDS = 0.5
stopping.answer_signals(lambda: "Go on so.")
threading.Thread(target=threading.Event().wait).start()
try:
    os.kill(os.getpid(), signal.{name})
    threading.Event().wait()
except KeyboardInterrupt:
    {after}
"""


class Lock:
    """Takes a while to be taken, and a signal comes meanwhile."""

    def __init__(self, number: signal.Signals) -> None:
        self.number, self.steps = number, list[str]()

    def __enter__(self) -> None:
        os.kill(os.getpid(), self.number)
        self.steps.append("taken")

    def __exit__(self, *error: object) -> None:
        self.steps.append("given back")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_a_lock_is_taken(
    number: signal.Signals,
) -> None:
    """Red when KeyboardInterrupt is raised within `__enter__`: then `__exit__` is not called."""
    answer_signals(lambda: "")
    lock = Lock(number)
    with pytest.raises(KeyboardInterrupt), lock:
        time.sleep(PATIENCE_SECONDS)
    assert lock.steps == ["taken", "given back"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_a_folder_is_made(number: signal.Signals) -> None:
    """Red when KeyboardInterrupt is raised before the `try` of a function that is a context."""
    steps = []

    @contextmanager
    def folder() -> Iterator[None]:
        os.kill(os.getpid(), number)
        steps.append("made")
        try:
            yield
        finally:
            steps.append("removed")

    answer_signals(lambda: "")
    with pytest.raises(KeyboardInterrupt), folder():
        time.sleep(PATIENCE_SECONDS)
    assert steps == ["made", "removed"]


def collect(call: Callable[..., None]) -> None:
    """Call a function from the garbage collector."""
    gc.callbacks.append(call)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(call)


def delete(call: Callable[..., None]) -> None:
    """Call a function from `__del__`."""
    type("Deleted", (), {"__del__": call})()


def call_back(call: Callable[..., None]) -> None:
    """Call a function from C."""
    ctypes.CFUNCTYPE(None)(call)()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("within", [collect, delete, call_back])
def test_a_signal_is_not_lost_where_python_drops_what_is_raised(
    within: Callable[[Callable[..., None]], None],
    number: signal.Signals,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Red when the interrupt is printed as "Exception ignored in ...", and work goes on."""
    sent = []

    def interrupt_once(*_: object) -> None:
        if not sent:
            sent.append(number)
            os.kill(os.getpid(), number)

    def work() -> None:
        within(interrupt_once)
        time.sleep(PATIENCE_SECONDS)

    answer_signals(lambda: "")
    with pytest.raises(KeyboardInterrupt):
        work()
    assert sent == [number]
    assert capsys.readouterr().err == ""


def test_a_signal_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Red when a lock that is never given keeps the signal away."""
    monkeypatch.setattr("preprocess.system.stopping._PATIENCE", 3)

    class Never(Lock):
        def __enter__(self) -> None:
            os.kill(os.getpid(), self.number)
            signal.sigtimedwait([], PATIENCE_SECONDS)

    answer_signals(lambda: "")
    with pytest.raises(KeyboardInterrupt), Never(signal.SIGINT):
        pass


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    "after", ["threading.Event().wait()", "sys.exit(stopping.tell_stopped(lambda: 'Go on so.'))"]
)
def test_what_waits_for_threads_that_never_end_is_ended(name: str, after: str) -> None:
    """Red when a thread keeps a stopped process, or what is said is missing or said twice."""
    program = PROGRAM.format(name=name, after=after)
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert (run.returncode, run.stderr) == (130, "\nInterrupted. Go on so.\n")


def test_a_script_may_have_ctrl_c_ignored() -> None:
    """Red when a job started with `&` is ended by the Ctrl-C meant for another."""
    program = (
        "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        "from preprocess.system.stopping import answer_signals; answer_signals(lambda: ''); "
        "os.kill(os.getpid(), signal.SIGINT); print('still here')"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "still here\n"
