"""`python -m experiments.threads`."""

import sys

from experiments.threads import main

sys.exit(main())
