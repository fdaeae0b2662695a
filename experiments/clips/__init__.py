"""Shared parts of the jobs on clips: data, arguments, model input, prediction, exports."""

from typing import Literal

Format = Literal["parquet", "coco", "label-studio"]
"""Formats of predictions for other tools, one file for all videos."""
