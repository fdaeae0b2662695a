"""The command `python -m weights`: a door to it, for it joins weights and models."""

import sys

from experiments.weights_command import main

if __name__ == "__main__":
    sys.exit(main())
