"""UCF11's job with a checkpoint after each epoch; it takes the job's own arguments.

By default checkpoints are twenty seconds apart, which is longer than a run of the tests.
"""

import sys
from typing import Any

from experiments import ucf11
from experiments.clips import ucf11_job


def begin_run(*args: Any, **options: Any) -> Any:
    """Begin a run, and set the interval then: TensorFlow must not be imported earlier."""
    begun = _begin_run(*args, **options)
    from experiments.training import checkpoints

    checkpoints._SECONDS_BETWEEN_CHECKPOINTS = 0
    return begun


if __name__ == "__main__":
    _begin_run = ucf11_job.begin_run
    ucf11_job.begin_run = begin_run
    sys.exit(ucf11.main())
