"""Every command that writes, on a disk that is too small for it, and then has room."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.full_disk.conftest import MakeDisk, run
from tests.full_disk.inputs import make_input
from tests.full_disk.jobs import JOBS, Job
from tests.full_disk.small_disk import PAGE_KIB
from tests.killing.whole_files import broken_files, leftovers

# Rendering the demo set thrice takes long, and so does training; the slow tests fill their disk.
LONG = ("demo", "ucf11")
QUICK = [name for name, job in JOBS.items() if not job.slow and name not in LONG]
RESUMABLE = (".csv.part", ".json.part")  # rows that are gone on from


def results(job: Job, out: Path) -> dict[str, bytes]:
    """What must be the same whatever happened before."""
    for pattern in job.results:
        assert list(out.glob(pattern)), f"there is no {pattern}"
    return {
        str(path.relative_to(out)): path.read_bytes()
        for pattern in job.same
        for path in out.glob(pattern)
    }


def check_that_it_fills_up(job: Job, given: Path, disk: MakeDisk, shares: list[float]) -> None:
    for name in job.needs:
        make_input(name, given)
    whole = disk()
    code, _, output = run(job.args(given, whole.path))
    assert code == 0, output
    expected, used_kib = results(job, whole.path), whole.used_kib
    for share in shares:
        small = disk(int(used_kib * share) // PAGE_KIB * PAGE_KIB)
        code, _, output = run(job.args(given, small.path))
        (line,) = re.findall("^.*Cannot write to.*$|^.*cannot be written.*$", output, re.MULTILINE)
        assert "MiB free there" in line
        assert "No space left on device" in line
        assert code == 2, output
        assert "Traceback" not in output
        assert broken_files(small.path) == []
        assert [path for path in leftovers(small.path) if not path.endswith(RESUMABLE)] == []
        small.make_room()
        code, _, output = run([*job.args(given, small.path), *job.resume])
        assert code == 0, output
        assert results(job, small.path) == expected
        assert broken_files(small.path) + leftovers(small.path) == []


@pytest.mark.parametrize("name", QUICK)
def test_a_full_disk(name: str, given: Path, disk: MakeDisk) -> None:
    """Red when it is no line of its own, something half-written has a name, or no way leads on."""
    check_that_it_fills_up(JOBS[name], given, disk, [0.5])


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_a_disk_that_is_full_sooner_or_later(name: str, given: Path, disk: MakeDisk) -> None:
    check_that_it_fills_up(JOBS[name], given, disk, [0.0, 0.25, 0.75, 0.95])
