"""A folder of videos: classified with bars on this machine, and what is told at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.classify.failures import write_failures
from experiments.classify.job import ClassificationJob, JobOptions, Outcome
from experiments.classify.models import ImageModel
from experiments.classify.progress import FolderProgress
from experiments.classify.videos import Video


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


def conclude(outcome: Outcome, videos: Sequence[Video], out: Path) -> dict[str, str]:
    """Say what was there already and keep the failures; returns these.

    Raises:
        WriteError: if the disk does not take them.
    """
    if outcome.num_complete:
        print(f"{outcome.num_complete} of {len(videos)} videos were there already.")
    write_failures(out / "failures.csv", outcome.failures, videos)
    return outcome.failures
