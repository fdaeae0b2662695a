"""One measurement, in the process it is made in: `python -m experiments.threads.trial FILE`.

TensorFlow fixes its pools at the first operation, so that every setting needs a process of its
own. The task is read as JSON from standard input, the result written to FILE.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from common.errors import UserError
from experiments.process import runtime
from experiments.runs.directory import write_atomically
from experiments.runs.environment import peak_rss_bytes
from experiments.threads.workloads import Task, frames_per_second

EXIT_TOLD = 2  # the last line on standard error says what is wrong


def main(path: Path) -> None:
    """Do the task and write what came of it, with the threads that it really had."""
    task = Task(**json.load(sys.stdin))
    if task.workload == "extract":
        runtime.stay_on(task.threads.cpus)
    else:
        runtime.configure(task.threads, seed=0)
    result = {
        "rate": frames_per_second(task),
        **runtime.pools_in_force(),
        "num_threads": len(os.listdir("/proc/self/task")),
        "cpus": sorted(os.sched_getaffinity(0)),
        "peak_rss_bytes": peak_rss_bytes(),
    }
    write_atomically(path, json.dumps(result).encode())


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_TOLD)
    os._exit(0)  # threads of the work may still run
