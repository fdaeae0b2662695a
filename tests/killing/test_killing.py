"""One kill of each subject, and a few in the slow tests; `python -m tests.killing` does many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.grids import slow
from tests.killing.harness import Subject, kill_often
from tests.killing.subjects import Classification, Extraction, Rendering, Training

QUICK: list[Subject] = [Classification(num_videos=2, num_frames=600), Rendering(seconds=20)]
# Of these the quick tests kill others: extraction/test_interruption.py extraction at any moment,
# and training/test_distribution.py one of two workers, which then go on to the same weights.
LONG: list[Subject] = [Extraction(num_clips=6), Training(epochs=2)]


@pytest.mark.parametrize("kills", [1, *slow(3)])
@pytest.mark.parametrize("subject", [*QUICK, *slow(*LONG)], ids=lambda subject: subject.name)
def test_a_killed_run_resumes_to_the_same_result(
    subject: Subject, kills: int, tmp_path: Path
) -> None:
    """Red when half a file has a final name, something is left, or the result is another."""
    seen = kill_often(subject, tmp_path, kills=kills, seed=1)
    assert seen.differences == []
    assert seen.kills == kills
    assert seen.ends


@dataclass(frozen=True)
class Careless:
    """Appends numbers to a file under its final name, and begins anew beside what is there."""

    name = "careless"

    def prepare(self, folder: Path) -> None:
        """Takes nothing."""

    def args(self, folder: Path, out: Path, *, resume: bool) -> list[object]:
        """Ten rows in half a second; Python itself starts without what would take time."""
        program = (
            "import sys, time\n"
            "with open(sys.argv[1], 'ab', buffering=0) as file:\n"
            "    for number in range(10):\n"
            "        file.write(b'%d,' % number)\n"
            "        time.sleep(0.05)\n"
            "        file.write(b'x\\n')\n"
        )
        return ["-I", "-S", "-c", program, out / "rows.csv"]

    def has_begun(self, out: Path) -> bool:
        """Whether there is a file."""
        return (out / "rows.csv").exists()

    def result(self, out: Path) -> Mapping[str, Any]:
        """The file."""
        return {"rows.csv": (out / "rows.csv").read_bytes()}


def test_the_harness_sees_what_is_careless(tmp_path: Path) -> None:
    """Red when half a file after a kill, or another result, is not noticed."""
    seen = kill_often(Careless(), tmp_path, kills=6)
    assert any("after a kill, rows.csv" in one for one in seen.differences)
    assert any(one.startswith("rows.csv") for one in seen.differences)
    assert seen.resumed
