"""Put this folder on the path, so that its tests share `oracle` and `layer_check`."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("format_oracle", "layer_check", "oracle")
