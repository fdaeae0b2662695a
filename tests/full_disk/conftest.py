"""Small disks, inputs, and a function that runs commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.full_disk.small_disk import SmallDisk
from tests.processes import PATIENCE_SECONDS, start, wait_until_gone

MakeDisk = Callable[..., SmallDisk]


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the jobs' inputs."""
    return tmp_path_factory.mktemp("given")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[MakeDisk]:
    """Function that makes a small disk in place of the one before."""
    made: list[SmallDisk] = []
    path = tmp_path / "disk"
    path.mkdir()

    def make(room_kib: int | None = None) -> SmallDisk:
        while made:
            made.pop().unmount()
        try:
            made.append(SmallDisk(path, room_kib))
        except (PermissionError, FileNotFoundError) as error:
            pytest.skip(f"no small disk can be mounted here: {error}")
        return made[0]

    yield make
    for one in made:
        one.unmount()


def run(args: list[object]) -> tuple[int, str, str]:
    """Run a command. Returns its exit code, standard output and standard error."""
    process = start(args)
    output = process.communicate(timeout=PATIENCE_SECONDS)
    wait_until_gone(process.pid)
    return process.returncode, *output
