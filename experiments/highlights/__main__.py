"""Entry point of `python -m experiments.highlights`."""

import sys

from experiments.highlights.commands import main

sys.exit(main())
