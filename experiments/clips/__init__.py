"""What jobs on clips share: data, arguments, model input, prediction, results for other tools."""

from typing import Literal

Format = Literal["parquet", "coco", "label-studio"]
"""Formats of predictions for other tools, one file for all videos."""
