"""Which clips an experiment runs on: shards, videos, a data set in its usual place, or the demo."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

from experiments.recommendations import find_recommendation
from preprocess import open_shards
from preprocess.catalog import DEMO, Dataset
from preprocess.commands import Extract
from preprocess.errors import PreprocessError
from preprocess.machine import read_machine
from preprocess.reader import Shards

DATA = Path("data")


def open_dataset(
    dataset: Dataset,
    *,
    videos: Path | None,
    shards: Path | None,
    jobs: int | None = None,
    allow_failures: bool = False,
) -> Shards:
    """Open the clips to work on, rendering and extracting what is not there yet.

    Args:
        dataset: looked for in its usual place where neither folder is named; where it is not
            there either, the built-in demo set takes its place, and a line says so.
        videos: a folder of videos, or None.
        shards: a directory of shards, or None; with `videos` too, it is brought up to date.
        jobs: worker processes; None for what `python -m experiments.threads` has found best, else
            one a core.
        allow_failures: go on without the clips that cannot be read.

    Raises:
        PreprocessError: if a folder is missing or holds no clips, or clips cannot be read.
    """
    name = None
    if videos is None and shards is None:
        if not Path(dataset.default_videos_dir).is_dir():
            _render_demo(dataset, jobs)
            dataset = DEMO
        videos, name = Path(dataset.default_videos_dir), dataset.name
        shards = DATA / "shards" / name
    if videos is not None:
        shards = shards or _shards_of(videos)
        _extract(videos, shards, jobs, name, allow_failures)
    assert shards is not None
    return open_shards(shards)


def _render_demo(missing: Dataset, jobs: int | None) -> None:
    """The built-in videos, where they are not there yet."""
    from preprocess.synthetic import render_dataset

    print(
        f"No {missing.name} videos given, and none in {missing.default_videos_dir}: running on the "
        "built-in DEMO set of rendered clips instead. Its scores say nothing about real video."
    )
    render_dataset(Path(DEMO.default_videos_dir), jobs=jobs)


def _shards_of(videos: Path) -> Path:
    """A directory of its own for each folder of videos."""
    digest = hashlib.sha256(str(videos.resolve()).encode()).hexdigest()[:8]
    return DATA / "shards" / f"{videos.resolve().name}-{digest}"


def _extract(
    videos: Path, shards: Path, jobs: int | None, name: str | None, allow_failures: bool
) -> None:
    """`python -m preprocess`, in this process."""
    command = shlex.join(["python", "-m", "preprocess", "folder", str(videos), str(shards)])
    kept = None if jobs else find_recommendation("extract", read_machine())
    measured = kept.setting if kept else {"jobs": jobs}
    code = Extract(
        *(videos, shards), **measured, allow_failures=allow_failures, dataset=name, command=command
    ).run()
    if code:
        raise PreprocessError(
            f"Some clips of {videos} could not be read: see {shards / 'failures.csv'}. Mend or "
            "remove them, or go on without them: --allow-failures."
        )
