"""The command `python -m experiments.export RUN NAME.onnx`, which writes a model as ONNX."""

from __future__ import annotations

import sys

from experiments.clips.export.command import ExportArguments, main

__all__ = ["ExportArguments", "main"]

if __name__ == "__main__":
    sys.exit(main("python -m experiments.export", sys.argv[1:]))
