"""Command that leaks a given amount of memory and number of files per step, for tests only.

Steps follow the clock of a test, in the file `clock`, and not that of the machine, which may stand
still for a while; the file `done` has the number of steps.

python -m tests.endurance.leaking FOLDER MIB_A_STEP FILES_A_STEP
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

_LOOK_SECONDS = 0.002
STEADY_MIB = 64


def main(folder: str, mib_a_step: str, files_a_step: str) -> int:
    """Take steps until the process is interrupted."""
    kept = [b"\1" * (STEADY_MIB * 2**20)]
    opened = []
    # Opened once: a sample must not meet a file that is open for a moment.
    clock, done = (
        os.open(Path(folder) / name, os.O_RDWR | os.O_CREAT) for name in ("clock", "done")
    )
    num_steps = 0
    try:
        while True:
            while num_steps < int(os.pread(clock, 32, 0) or 0):
                num_steps += 1
                kept.append(b"\1" * int(float(mib_a_step) * 2**20))
                for _ in range(int(files_a_step)):
                    opened.append(Path(__file__).open("rb"))  # noqa: SIM115
            os.pwrite(done, b"%d\n" % num_steps, 0)  # which only grows
            time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
