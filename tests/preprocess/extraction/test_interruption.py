"""Killed, interrupted, doubled and out of space: real processes, real signals."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from preprocess import FrameSettings
from preprocess.extraction.extract import extract
from tests.grids import slow
from tests.hold import HeldCommand, start_held
from tests.preprocess.conftest import (
    Run,
    decoding_processes,
    preprocess_command,
    stored_frames,
    write_video,
)
from tests.processes import PATIENCE_SECONDS, REPOSITORY, wait_until, wait_until_gone

SIZE = ("--size", "64x48")
LAST_SHARD = "preprocess.extraction.extract:_run_tasks"
"""All shards are there, and the index does not say so yet."""


@pytest.fixture(scope="module")
def many_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty clips that take a second or so."""
    root = tmp_path_factory.mktemp("many")
    first = write_video(root / "a" / "00.mpg", 200, size=(160, 120))
    for number in range(1, 40):
        os.link(first, root / "a" / f"{number:02d}.mpg")
    return root


@pytest.fixture(scope="module")
def expected(many_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("expected")
    extract(many_videos, folder, FrameSettings(size=(64, 48)), jobs=1)
    return stored_frames(folder)


def extracting(
    videos: Path, folder: Path, jobs: int, after: str = LAST_SHARD, number: int = 0
) -> HeldCommand:
    """The command, in a session of its own. It waits in the end, so that signals come in time."""
    args = ["-m", "preprocess", "folder", videos, folder, "--jobs", jobs, *SIZE]
    return start_held(folder.with_name(f"{folder.name}-hold{number}"), args, after=after)


def wait_for_a_shard(folder: Path, command: HeldCommand) -> None:
    """Wait for one more than there are, or for a command that found nothing to do."""

    def count() -> int:
        return len(list(folder.glob("shard-*.h5")))

    before = count()
    wait_until(lambda: count() > before or command.is_held(), "a shard", command.process)


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob(".shard-*"))


def test_killed_at_any_moment_it_resumes_to_the_same_frames(
    many_videos: Path, expected: dict[str, bytes], tmp_path: Path, command: Run
) -> None:
    moments, folder = random.Random(0), tmp_path / "shards"
    for number in range(3):
        killed = extracting(many_videos, folder, 2, number=number)
        wait_for_a_shard(folder, killed)
        time.sleep(moments.uniform(0, 0.15))
        os.killpg(killed.process.pid, signal.SIGKILL)
        killed.process.communicate()
        assert killed.process.returncode == -signal.SIGKILL
    done = command("folder", many_videos, folder, "--jobs", 2, *SIZE)
    assert done.returncode == 0, done.stderr
    assert stored_frames(folder) == expected
    assert not leftovers(folder)


def test_workers_of_a_killed_command_end_and_publish_nothing(
    many_videos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    command = extracting(many_videos, folder, 2)
    wait_for_a_shard(folder, command)
    process = command.process
    process.kill()
    process.wait()
    before = sorted(folder.glob("shard-*.h5"))
    process.communicate()
    wait_until_gone(process.pid)
    assert sorted(folder.glob("shard-*.h5")) == before


def test_two_at_once_share_the_work(
    many_videos: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    first = extracting(many_videos, folder, 1, LAST_SHARD, 1)
    first.wait_until_held()
    said = "preprocess.system.progress:TerminalProgress.say"
    second = extracting(many_videos, folder, 1, said, 2)
    second.wait_until_held()
    both = [first, second]
    for command in both:
        command.release()
    texts = [command.process.communicate(timeout=PATIENCE_SECONDS) for command in both]
    assert [command.process.returncode for command in both] == [0, 0], texts
    outputs = "".join(output for output, _ in texts)
    assert outputs.count("Another extraction is writing to") == 1
    assert "40 clips extracted, 0 were there already" in outputs
    assert "all of 40 clips were there already" in outputs
    assert stored_frames(folder) == expected


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_says_how_to_resume_and_leaves_no_worker(
    many_videos: Path, tmp_path: Path, jobs: int
) -> None:
    folder = tmp_path / "shards"
    command = extracting(many_videos, folder, jobs)
    wait_for_a_shard(folder, command)
    process = command.process
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    _, text = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    last = text.strip().splitlines()[-1]
    assert last.startswith("Interrupted.")
    assert f"python -m preprocess folder {many_videos} {folder} --jobs {jobs}" in last
    assert "Traceback" not in text
    wait_until_gone(process.pid)
    assert not leftovers(folder)


def test_decoders_that_are_killed_cost_nothing(
    many_videos: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    """Their clips are decoded again: it was not the clips that ended them."""
    folder = tmp_path / "shards"
    command = extracting(many_videos, folder, 2)
    wait_for_a_shard(folder, command)
    process = command.process
    for pid in decoding_processes(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    command.release()
    _, text = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, text
    assert stored_frames(folder) == expected
    wait_until_gone(process.pid)
    assert not leftovers(folder)


LIMIT_BYTES = 1_000_000  # 17 frames of 160x120, stored as they are


@pytest.mark.parametrize("jobs", [2, *slow(1)])
def test_a_full_disk_is_one_line_and_leaves_no_half_shard(
    tmp_path: Path, command: Run, jobs: int
) -> None:
    """A limit on the size of a file stands in for the disk: small clips fit, the large not."""
    for seed, num_frames in enumerate([5, 5, 5, 200]):
        write_video(tmp_path / "videos" / "a" / f"{seed}.mpg", num_frames, seed=seed)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, LIMIT_BYTES))

    args = ("folder", tmp_path / "videos", tmp_path / "shards", "--jobs", jobs)
    full = subprocess.run(
        preprocess_command(*args, "--compression", "none"),
        cwd=REPOSITORY,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert full.returncode == 2
    message = full.stderr.strip().splitlines()[-1]
    assert message.startswith(f"error: Cannot write to {tmp_path / 'shards'}: File too large")
    assert "MiB free" in message
    assert "run the same command again" in message
    assert "Traceback" not in full.stderr
    assert not leftovers(tmp_path / "shards")
    assert all(path.stat().st_size <= LIMIT_BYTES for path in (tmp_path / "shards").iterdir())

    again = command(*args, "--compression", "none")
    assert again.returncode == 0, again.stderr
    if jobs == 1:
        assert "1 clips extracted, 3 were there already" in again.stdout


def test_nothing_is_left_when_python_itself_ends(tmp_path: Path) -> None:
    """A write error must not make HDF5 crash or hang at exit."""
    write_video(tmp_path / "videos" / "a" / "x.mpg", 200)
    program = (
        "import resource, sys\n"
        "from preprocess import PreprocessError\n"
        "from preprocess.extraction.extract import extract\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT_BYTES}, {LIMIT_BYTES}))\n"
        "try:\n"
        "    extract(sys.argv[1], sys.argv[2], jobs=1)\n"
        "except PreprocessError:\n"
        "    print('caught')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "videos"), str(tmp_path / "shards")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "caught\n", "")
