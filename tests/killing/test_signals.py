"""Ctrl-C and SIGTERM: every command that takes time stops in order, and says how to go on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.full_disk.inputs import make_input
from tests.full_disk.jobs import JOBS, Job
from tests.hold import start_held
from tests.killing.whole_files import broken_files, leftovers
from tests.processes import PATIENCE_SECONDS, wait_until, wait_until_gone

BENCHES: dict[str, Job] = {
    name: Job(
        lambda given, out, name=name, flags=flags: [
            *("-m", f"experiments.{name}", *flags, "--out", out / "bench"),
        ],
        (),
        slow=True,
    )
    for name, flags in {
        "bench_tt": ("--no-layers",),
        "bench_classify": (),
        "bench_ucf101": (),
        "bench_timesformer": (),
        "bench_highlights": (),
        "threads": (),
    }.items()
}
SHORT = ("results", "highlights labels", "weights convert")  # over before they could be stopped
LONG = {name: job for name, job in JOBS.items() if name not in SHORT}
RESUMABLE = (".csv.part", ".json.part")  # rows that are gone on from


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of inputs."""
    return tmp_path_factory.mktemp("given")


def stop(
    job: Job, given: Path, tmp_path: Path, number: signal.Signals, seconds: float
) -> tuple[int, str]:
    """The exit code of a command that is stopped, and what it said; nothing may be left of it."""
    for name in job.needs:
        make_input(name, given)
    out, log = tmp_path / "out", tmp_path / "said.txt"
    out.mkdir()
    with log.open("w") as file:
        # It does not end by itself, so that the signal comes in time on every machine.
        command = start_held(tmp_path / "hold", job.args(given, out), stdout=file, stderr=file)
        process = command.process
        wait_until(
            lambda: command.has_begun() and (any(out.iterdir()) or log.stat().st_size),
            "a sign of work",
            process,
        )
        time.sleep(seconds)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        process.wait(PATIENCE_SECONDS)
    wait_until_gone(process.pid)
    assert broken_files(out) == []
    assert [path for path in leftovers(out) if not path.endswith(RESUMABLE)] == []
    return process.returncode, log.read_text()


def check_that_it_stops(
    job: Job, given: Path, tmp_path: Path, number: signal.Signals, seconds: float = 0.0
) -> None:
    code, output = stop(job, given, tmp_path, number, seconds)
    assert "Traceback" not in output
    last = output.strip().splitlines()[-1]
    assert last.startswith("Interrupted. "), output
    assert "same command" in last or "python -m " in last
    assert code == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", [name for name, job in LONG.items() if not job.slow])
def test_a_command_that_is_stopped(
    name: str, number: signal.Signals, given: Path, tmp_path: Path
) -> None:
    """Red when there is a traceback, another exit code, or a process or half a file is left."""
    check_that_it_stops(LONG[name], given, tmp_path, number)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "name", [*(name for name, job in LONG.items() if job.slow), *sorted(BENCHES)]
)
def test_a_long_command_that_is_stopped(
    name: str, number: signal.Signals, seconds: float, given: Path, tmp_path: Path
) -> None:
    check_that_it_stops({**LONG, **BENCHES}[name], given, tmp_path, number, seconds)
