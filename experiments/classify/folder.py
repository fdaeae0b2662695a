"""A folder of videos, classified with bars on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.classify.job import ClassificationJob, JobOptions
from experiments.classify.outcome import conclude
from experiments.classify.progress import FolderProgress
from experiments.media.videos import Video
from experiments.models.image_models import ImageModel


def classify_folder(
    model: ImageModel, videos: Sequence[Video], out: Path, options: JobOptions
) -> dict[str, str]:
    """Classify the videos that are not done yet; returns why some failed, by source.

    Raises:
        WriteError: if the disk does not take the results.
    """
    with FolderProgress([video.path for video in videos]) as progress:
        outcome = ClassificationJob(model, videos, out, options, progress).run()
    return conclude(outcome, videos, out)
