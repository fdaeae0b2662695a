"""`python -m experiments.bench_timesformer`."""

import sys

from experiments.bench_timesformer import main

if __name__ == "__main__":  # spawned processes import this module too
    sys.exit(main())
