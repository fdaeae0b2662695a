"""The command `python -m experiments.export`."""

from __future__ import annotations

import sys

from experiments.export.command import main

if __name__ == "__main__":
    sys.exit(main("python -m experiments.export", sys.argv[1:]))
