"""`python -m experiments.scaling`."""

import sys

from experiments.scaling import main

if __name__ == "__main__":
    sys.exit(main())
