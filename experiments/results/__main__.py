"""The command `python -m experiments.results`."""

import sys

from experiments.results import main

sys.exit(main())
