"""The command `python -m experiments.classify`."""

import sys

from experiments.classify import main

if __name__ == "__main__":
    sys.exit(main())
