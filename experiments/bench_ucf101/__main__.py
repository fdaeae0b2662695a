"""`python -m experiments.bench_ucf101`."""

import sys

from experiments.bench_ucf101 import main

if __name__ == "__main__":  # spawned processes import this module too
    sys.exit(main())
