"""Commands of the suite, the rooms that they share, and the jobs as Python functions.

    from experiments import classify_videos, cut, from_preset, load_run, score, train

Nothing heavy is imported before one of these is used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from common.extras import import_extra

if TYPE_CHECKING:
    from experiments.api import classify_videos, cut, from_preset, load_run, score, train

__all__ = ["classify_videos", "cut", "from_preset", "load_run", "score", "train"]

# ONNX Runtime 1.31 for Linux sends figures of its use to its makers, and keeps a number of the
# machine in the user's cache and a file in the temporary folder, unless this is set before it is
# imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    """Import a public function from `experiments.api` on first use."""
    # PEP 562, as in `preprocess`: commands import this package, too.
    if name not in __all__:
        raise AttributeError(f"module 'experiments' has no attribute {name!r}")
    return getattr(import_extra("experiments.api"), name)


def __dir__() -> list[str]:
    return __all__
