"""The list of videos that failed, in the folder of results."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.files import write_text
from experiments.media.videos import Video


def write_failures(path: Path, failures: Mapping[str, str], videos: Sequence[Video]) -> None:
    """Keep the reasons as CSV; what other runs in this folder said of other videos stays.

    Without a failure there is no file.
    """
    rows = dict(failures)
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            earlier = {row["video"]: row["reason"] for row in csv.DictReader(file)}
        own = {video.source for video in videos}
        rows |= {source: reason for source, reason in earlier.items() if source not in own}
    if not rows:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("video", "reason"), *sorted(rows.items())])
    write_text(path, text.getvalue())
