"""Every command that writes, where it may not: a line that says so, and nothing is done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.full_disk.conftest import MakeDisk, run
from tests.full_disk.inputs import make_input
from tests.full_disk.jobs import JOBS

QUICK = [name for name, job in JOBS.items() if not job.slow]


def check_that_it_is_refused(name: str, given: Path, out: Path) -> str:
    """The one line that says why."""
    job = JOBS[name]
    for needed in job.needs:
        make_input(needed, given)
    code, _, output = run(job.args(given, out))
    assert code == 2, output
    assert "Traceback" not in output
    last = output.strip().splitlines()[-1]
    assert str(out) in last
    return last


def check_a_read_only_disk(name: str, given: Path, disk: MakeDisk) -> None:
    small = disk()
    small.forbid_writing()
    output = check_that_it_is_refused(name, given, small.path)
    # The system's reason, or that of a look before the work.
    assert re.search("Read-only file system|(may not|cannot) be written", output), output


@pytest.mark.parametrize("name", QUICK)
def test_a_disk_that_must_not_be_written_to(name: str, given: Path, disk: MakeDisk) -> None:
    """Red when the reason or the place is not told, or work is done first that is then lost."""
    check_a_read_only_disk(name, given, disk)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in JOBS if name not in QUICK])
def test_a_disk_that_a_long_command_must_not_write_to(
    name: str, given: Path, disk: MakeDisk
) -> None:
    check_a_read_only_disk(name, given, disk)


@pytest.mark.parametrize("name", QUICK)
def test_a_file_where_a_folder_is_wanted(name: str, given: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_that_it_is_refused(name, given, tmp_path / "file")
