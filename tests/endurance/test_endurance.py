"""Memory and open files of the suite's commands for some seconds, and that a leak would be seen."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from preprocess.system import stopping
from tests.endurance import __main__ as endurance
from tests.endurance.processes import take_sample
from tests.endurance.report import figures, samples_csv, trends
from tests.endurance.slope import trend
from tests.endurance.subjects import classification, training
from tests.endurance.watch import watch
from tests.grids import slow
from tests.processes import processes_of, wait_until

MAX_GROWTH_MIB = 300  # in some seconds; freed memory is kept, and batches differ in size
MAX_NEW_FILES = 5
STEP_SECONDS = 0.05


class SteppedClock:
    """Clock that goes on with the steps of a leaking command, however long they take."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._seconds = folder, 0.0
        (folder / "clock").write_text("0\n")

    def monotonic(self) -> float:
        """The time in seconds."""
        return self._seconds

    def sleep(self, seconds: float, /) -> None:
        """Wait for the steps of some seconds."""
        self._seconds += seconds
        steps = round(self._seconds / STEP_SECONDS)
        (self._folder / "clock").write_text(f"{steps}\n")
        wait_until(lambda: self.has_done(steps), "the steps of a leaking command")

    def has_done(self, steps: int) -> bool:
        """Whether the command has taken so many steps."""
        done = self._folder / "done"
        return done.exists() and done.read_text() == f"{steps}\n"


def leak(folder: Path, *steps: object, seconds: float = 4.0):
    command = [sys.executable, "-m", "tests.endurance.leaking", str(folder), *map(str, steps)]
    clock = SteppedClock(folder)
    return watch(
        command,
        lambda: clock.has_done(0),
        seconds=seconds,
        interval_seconds=0.1,
        log=folder / "log",
        clock=clock,
    )


def test_a_leak_of_memory_and_files_is_seen(tmp_path):
    """1 MiB and a file every 0.05 s; red when either is not counted, or by another measure."""
    watched = leak(tmp_path, 1, 1)
    found = trends(watched.samples)
    assert 20 * 3600 * 0.9 < found.memory.per_hour < 20 * 3600 * 1.1
    assert 20 * 3600 * 0.9 < found.files.per_hour < 20 * 3600 * 1.1
    assert found.memory.exceeds(20)
    assert found.files.exceeds(2)
    assert (watched.exit_code, watched.ended_by_itself, watched.left_behind) == (130, False, 0)
    assert figures(watched, found, "")["MiB at the end"] > 64 + 4 * 20 * 0.9


def test_without_a_leak_none_is_seen(tmp_path):
    """Red when the steady 64 MiB, or noise, passes for growth."""
    watched = leak(tmp_path, 0, 0, seconds=2.0)
    found = trends(watched.samples)
    assert not found.memory.exceeds(20)
    assert not found.files.exceeds(2)
    assert found.files.per_hour == 0
    assert samples_csv(watched.samples).count(b"\n") == 1 + len(watched.samples)


@pytest.mark.parametrize("make", [classification, *slow(partial(training, frame_size=(16, 12)))])
def test_the_commands_hold_their_memory_and_files(make, tmp_path):
    """Red when a command keeps each batch, or each video's file, or Ctrl-C leaves a process."""
    subject = make(tmp_path, 12)
    watched = watch(
        subject.command,
        lambda: subject.done() > 1,
        seconds=4,
        interval_seconds=0.2,
        log=tmp_path / "log",
    )
    found = trends(watched.samples)
    assert found.memory.growth < MAX_GROWTH_MIB
    assert found.files.growth < MAX_NEW_FILES
    assert (watched.exit_code, watched.ended_by_itself, watched.left_behind) == (130, False, 0)


def test_shared_memory_counts_once():
    """A parent and its child with 64 MiB in common: red when each is counted with all of it."""
    program = (
        "import mmap, os, sys, time; shared = mmap.mmap(-1, 64 << 20); shared.write(b'1' * (64"
        " << 20)); os.fork() or shared.seek(0) or shared.read(64 << 20); print(flush=True);"
        " time.sleep(3600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()
        sample = take_sample(process.pid, 0.0)
        assert sample is not None
        assert sample.num_processes == 2
        assert 64 < sample.memory_mib < 100
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    wait_until(lambda: not processes_of(process.pid), "the end of parent and child")
    assert take_sample(process.pid, 0.0) is None


def test_a_sample_is_what_the_process_knows_of_itself():
    """Red when another process's files or memory are read, or in another unit."""
    with mmap.mmap(-1, 32 << 20) as kept, open(os.devnull) as _:
        kept.write(b"1" * (32 << 20))
        script = "import os, time; print(len(os.listdir('/proc/self/fd')) - 1, flush=True); "
        process = subprocess.Popen(
            [sys.executable, "-c", script + "time.sleep(3600)"],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            num_files = int(process.stdout.readline())
            sample = take_sample(process.pid, 3.5)
        finally:
            process.kill()
            process.communicate()
    assert sample is not None
    assert (sample.num_files, sample.num_processes, sample.seconds) == (num_files, 1, 3.5)
    assert 2 < sample.memory_mib < 32


def test_a_command_that_does_not_begin_is_told(tmp_path):
    command = [sys.executable, "-c", "print('no such video')"]
    with pytest.raises(UserError, match="no such video"):
        watch(command, lambda: False, seconds=1, interval_seconds=0.1, log=tmp_path / "log")


def test_the_endurance_command_ends_with_a_line_where_nothing_begins(monkeypatch, capsys):
    """Red when `python -m tests.endurance` ends with a traceback."""

    def fail(arguments):
        raise UserError("The command did not begin to work.")

    monkeypatch.setattr(stopping, "answer_signals", lambda resume_hint: None)
    monkeypatch.setattr(endurance, "_run", fail)
    assert endurance.main([]) == 2
    assert capsys.readouterr().err == "error: The command did not begin to work.\n"


def test_a_process_that_outlives_its_command_is_told_and_ended(tmp_path, monkeypatch):
    """Red when a decoder that Ctrl-C does not end goes unseen."""
    monkeypatch.setattr("tests.endurance.watch.AFTER_SECONDS", 0.5)
    program = "import os, signal; os.fork() or os.setpgid(0, 0) or open('{}', 'x'); signal.pause()"
    ready = tmp_path / "ready"
    command = [sys.executable, "-c", program.format(ready)]
    watched = watch(command, ready.exists, seconds=0.5, interval_seconds=0.05, log=tmp_path / "log")
    assert watched.left_behind == 1


def test_a_command_that_ends_too_early_is_told(tmp_path):
    command = [sys.executable, "-c", "import time; time.sleep(1)"]
    watched = watch(command, lambda: True, seconds=3600, interval_seconds=0.1, log=tmp_path / "log")
    assert watched.ended_by_itself


@given(
    slope=st.floats(-50, 50),
    start=st.floats(0, 1000),
    seed=st.integers(0, 1000),
    num_samples=st.integers(20, 400),
)
def test_the_trend_of_a_line_with_outliers_is_the_line(slope, start, seed, num_samples):
    """Red when hours are seconds, the warm-up counts, or a few readings far off turn the line."""
    random = np.random.default_rng(seed)
    hours = np.linspace(0, 1, num_samples)
    values = start + slope * hours
    values[hours < 0.1] += 1e4  # the start
    far_off = random.choice(np.flatnonzero(hours >= 0.1), max(1, num_samples // 100), replace=False)
    values[far_off] += random.choice([-500, 500])
    found = trend((3600 * hours).tolist(), values.tolist())
    assert found.per_hour == pytest.approx(slope, abs=1e-6 + 0.15 * abs(slope))
    assert found.low - 1e-6 <= slope <= found.high + 1e-6
    assert found.growth == pytest.approx(0.9 * found.per_hour, rel=0.12, abs=1e-6)


def test_a_trend_is_sure_of_noise_as_often_as_it_says():
    """Slow noise, which the next sample repeats: red when each sample counts as a reading."""
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        noise = np.zeros(720)
        for i in range(1, 720):
            noise[i] = 0.8 * noise[i - 1] + random.normal()
        found = trend(np.arange(720.0).tolist(), noise.tolist())
        wrong += not found.low <= 0 <= found.high
    assert wrong <= 36  # 5 % of 200, and what the blocks still have in common


def test_too_few_samples_are_told():
    with pytest.raises(ValueError, match="needs 5 samples"):
        trend([0, 1, 2, 3], [1, 1, 1, 1])
