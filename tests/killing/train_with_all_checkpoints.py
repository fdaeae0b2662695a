"""UCF11's job with a checkpoint each epoch; the words are its own.

Its checkpoints are twenty seconds apart, longer than all of a test's run.
"""

import sys
from typing import Any

from experiments import ucf11


def begin_run(*words: Any, **options: Any) -> Any:
    """As ever; TensorFlow is imported in there, and not before."""
    begun = _begin_run(*words, **options)
    from experiments.training import checkpoints

    checkpoints._SECONDS_BETWEEN_CHECKPOINTS = 0
    return begun


if __name__ == "__main__":
    _begin_run = ucf11.begin_run
    ucf11.begin_run = begin_run
    sys.exit(ucf11.main())
