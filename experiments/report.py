"""`python -m experiments.report RUN`: build the report of a run anew."""

import sys

from experiments.runs.report import main

if __name__ == "__main__":
    sys.exit(main())
