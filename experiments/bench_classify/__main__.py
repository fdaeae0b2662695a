"""`python -m experiments.bench_classify`."""

import sys

from experiments.bench_classify import main

if __name__ == "__main__":
    sys.exit(main())
