"""Tests here lean on the oracle of ../ttrnn."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "ttrnn"))
