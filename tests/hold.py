"""Commands that wait at a moment of their work, so that a test can stop them however fast they are.

A signal that is sent "while the command works" comes too late on a quick machine, or where the
test is paused. A held command cannot end by itself: at the moment that the test names it waits to
be released, and answers signals meanwhile.

`python -m tests.hold FOLDER PLACE CALL MODULE ARGS...` runs `python -m MODULE ARGS...`.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.processes import PATIENCE_SECONDS, start, wait_until

THE_END = "the end"
"""Place of a hold: the job's work is done, and the command is about to return."""
_LOOK_SECONDS = 0.005


@dataclass(frozen=True)
class HeldCommand:
    """Command that was started by `start_held`."""

    process: subprocess.Popen[str]
    folder: Path

    def has_begun(self) -> bool:
        """Return whether the command answers signals; for `THE_END` only."""
        return (self.folder / "begun").exists()

    def is_held(self) -> bool:
        """Return whether the command waits."""
        return (self.folder / "held").exists()

    def wait_until_held(self) -> None:
        """Wait for the moment at which the command waits."""
        wait_until(self.is_held, "the moment at which the command is held", self.process)

    def release(self) -> None:
        """Let the command go on."""
        (self.folder / "released").touch()


def start_held(
    folder: Path,
    args: Sequence[object],
    *,
    after: str = THE_END,
    call: int = 1,
    **options: Any,
) -> HeldCommand:
    """Start `python -m MODULE ...` as `tests.processes.start` does, and hold it.

    Args:
        folder: folder for the messages between test and command; made if it does not exist.
        args: "-m", the module and its arguments.
        after: function after which the command waits, as `package.module:name`.
        call: number of the function's call after which it waits, from 1.
        **options: those of `start`.
    """
    dash_m, *rest = args
    assert dash_m == "-m"
    folder.mkdir(exist_ok=True)
    process = start(["-m", "tests.hold", folder, after, call, *rest], **options)
    return HeldCommand(process, folder)


def _hold(folder: Path) -> None:
    (folder / "held").touch()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (folder / "released").exists():
        assert time.monotonic() < deadline, "never released"
        time.sleep(_LOOK_SECONDS)


def _hold_after(place: str, call: int, folder: Path) -> None:
    """Replace a function by one that waits after a call."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner: Any = import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    function, num_calls = getattr(owner, name), 0

    def held(*args: Any, **options: Any) -> Any:
        nonlocal num_calls
        result = function(*args, **options)
        num_calls += 1
        if num_calls == call:
            _hold(folder)
        return result

    setattr(owner, name, held)


def _hold_at_the_end(folder: Path) -> None:
    """Let both frames of commands wait after the work, where they still answer signals."""
    from experiments.process import command as resumable
    from preprocess.system import command as plain

    def held(run: Callable[..., Any]) -> Callable[..., Any]:
        def work(*args: Any) -> Any:
            (folder / "begun").touch()
            result = run(*args)
            _hold(folder)
            return result

        return work

    run_command, command = plain.run_command, resumable.command
    plain.run_command = lambda run, **options: run_command(held(run), **options)
    resumable.command = lambda arguments_type, run, **options: command(
        arguments_type, held(run), **options
    )


if __name__ == "__main__":
    folder, place, call, module, *args = sys.argv[1:]
    if place == THE_END:
        _hold_at_the_end(Path(folder))
    else:
        _hold_after(place, int(call), Path(folder))
    sys.argv = [module, *args]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
