"""Processes that answer items: loaded once, replaced, mourned, and gone with their owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from preprocess import PreprocessError
from preprocess.workers.pool import WorkerDiedError, WorkerPool
from tests.preprocess.conftest import decoding_processes, planted_module
from tests.processes import is_alive, wait_until

pytestmark = pytest.mark.usefixtures("executed_decoders")
PLANTED = """
import os, resource, signal
from dataclasses import dataclass
from pathlib import Path

@dataclass(frozen=True)
class Adder:
    number: int

    memory_bytes = None

    def open(self):
        if self.number < 0:
            raise ValueError("no such model")
        with Path("opened").open("a") as file:
            file.write(f"{self.number}\\n")
        return self.answer

    def answer(self, item):
        if item == "die once" and not Path("died").exists():
            Path("died").touch()
            item = "die"
        if item == "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        if item == "leave once" and not Path("left").exists():
            Path("left").touch()
            os._exit(75)
        if item == "sleep":
            Path("asleep").write_text(str(os.getpid()))
            signal.pause()
        if item == "limit":
            return resource.getrlimit(resource.RLIMIT_DATA)[0]
        return os.getpid() if item in ("die once", "leave once") else self.number + item
"""

OWNER = """
import planted
from preprocess.workers.pool import WorkerPool
WorkerPool().ask(planted.Adder(1), "sleep", is_wanted=lambda: True)
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What processes are made to do."""
    return planted_module(PLANTED, tmp_path, monkeypatch)


@pytest.fixture
def workers():
    made = WorkerPool()
    yield made
    made.close()


def ask(workers, model, item):
    return workers.ask(model, item, is_wanted=lambda: True)


def number_in(path: Path) -> int | None:
    """Read a number from a file; None as long as there is none."""
    return int(path.read_text()) if path.exists() and path.stat().st_size else None


def wait_for(path: Path) -> int:
    wait_until(lambda: number_in(path), f"a number in {path}")
    return int(path.read_text())


def test_a_model_is_loaded_once(workers, planted) -> None:
    """Red if each item loads the model again, or one of another model stays beside it."""
    assert [ask(workers, planted.Adder(5), item) for item in range(4)] == [5, 6, 7, 8]
    assert len(decoding_processes(os.getpid())) == 1
    assert ask(workers, planted.Adder(7), 1) == 8
    assert len(decoding_processes(os.getpid())) == 1
    assert Path("opened").read_text().split() == ["5", "7"]


def test_threads_have_processes_of_their_own(workers, planted) -> None:
    with ThreadPoolExecutor(2) as threads:
        answers = threads.map(lambda item: ask(workers, planted.Adder(1), item), range(20))
        assert list(answers) == list(range(1, 21))
    assert len(Path("opened").read_text().split()) <= 2


def test_what_is_raised_comes_back(workers, planted) -> None:
    """Red if a model that cannot be loaded counts as a crash, or a process is of no use after."""
    with pytest.raises(ValueError, match="no such model"):
        ask(workers, planted.Adder(-1), 1)
    with pytest.raises(TypeError, match="NoneType"):
        ask(workers, planted.Adder(1), None)
    assert ask(workers, planted.Adder(1), 2) == 3
    assert Path("opened").read_text().split() == ["1"]


def test_an_item_is_not_blamed_for_one_death(workers, planted) -> None:
    assert ask(workers, planted.Adder(1), "die once") > 0
    with pytest.raises(WorkerDiedError, match=r"died \(SIGSEGV\)"):
        ask(workers, planted.Adder(1), "die")
    assert ask(workers, planted.Adder(1), 2) == 3


def test_a_process_that_ends_for_want_of_work_costs_nothing(workers, planted) -> None:
    """Red if an item that comes at that moment is lost, where no item is tried twice."""
    (child,) = workers.answers(planted.Adder(1), "leave once")
    assert child > 0
    assert Path("left").exists()


def test_nobody_waits(workers, planted) -> None:
    """Red if a process goes on for a command that is gone."""
    with pytest.raises(PreprocessError, match="Nobody waits"):
        workers.ask(planted.Adder(1), "sleep", is_wanted=lambda: not number_in(Path("asleep")))
    assert not is_alive(wait_for(Path("asleep")))


def test_a_process_ends_with_its_owner(planted) -> None:
    """Red if one at work outlives a worker that was killed, and writes beside its successor."""
    path = os.pathsep.join(sys.path)
    owner = subprocess.Popen([sys.executable, "-c", OWNER], env=os.environ | {"PYTHONPATH": path})
    child = wait_for(Path("asleep"))
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    wait_until(lambda: not is_alive(child), "the end of the owner's process")


def test_a_model_may_be_large(workers, planted) -> None:
    """Red if the limit that decoders have is put on models, too."""
    import resource

    assert ask(workers, planted.Adder(1), "limit") == resource.getrlimit(resource.RLIMIT_DATA)[0]
