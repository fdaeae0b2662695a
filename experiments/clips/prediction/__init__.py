"""Prediction of whole videos with a trained model of clips, for all jobs that train one."""

from typing import Literal

Format = Literal["parquet", "coco", "label-studio"]
"""Formats of predictions for other tools, one file for all videos."""
