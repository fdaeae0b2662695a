"""`python -m experiments.bench_highlights`."""

import sys

from experiments.bench_highlights import main

if __name__ == "__main__":  # spawned processes import this module too
    sys.exit(main())
