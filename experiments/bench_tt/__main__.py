"""The command `python -m experiments.bench_tt`."""

import sys

from experiments.bench_tt import main

if __name__ == "__main__":  # spawned processes import this module too
    sys.exit(main())
