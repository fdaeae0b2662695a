"""Command that leaks a given amount of memory and number of files per step, for tests only.

Steps follow the clock: after a pause of the machine, missed steps are made up for.

python -m tests.endurance.leaking FOLDER MIB_A_STEP FILES_A_STEP
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

STEP_SECONDS = 0.05
STEADY_MIB = 64


def main(folder: str, mib_a_step: str, files_a_step: str) -> int:
    """Take steps until the process is interrupted."""
    kept = [b"\1" * (STEADY_MIB * 2**20)]
    opened = []
    began, num_steps = time.monotonic(), 0
    try:
        while True:
            while num_steps * STEP_SECONDS <= time.monotonic() - began:
                num_steps += 1
                kept.append(b"\1" * int(float(mib_a_step) * 2**20))
                for _ in range(int(files_a_step)):
                    opened.append(Path(__file__).open("rb"))  # noqa: SIM115
            (Path(folder) / "working").touch()
            time.sleep(STEP_SECONDS)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
