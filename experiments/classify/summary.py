"""What a video showed as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from experiments.classify.tables import Row
from preprocess.video.decode import VideoInfo

NUM_CLASSES = 10


def summarize(rows: Iterable[Row], source: str, info: VideoInfo, *, failure: str) -> dict[str, Any]:
    """The classes of a video, by their probability averaged over its rows.

    A class that is not among the ten best of a row counts as 0 there.

    Args:
        rows: of the video, gone through once.
        source: the video.
        info: of its file.
        failure: why it could not be read to its end; empty if it could.
    """
    total: Counter[str] = Counter()
    best: Counter[str] = Counter()
    times: list[float] = []
    num_rows = 0
    for row in rows:
        num_rows += 1
        best[row.labels[0]] += 1
        times = [*times[:1], row.time_seconds]
        for label, probability in zip(row.labels, row.probabilities, strict=True):
            total[label] += probability  # type: ignore[assignment]
    ranked = sorted(total.items(), key=lambda item: (-item[1], item[0]))[:NUM_CLASSES]
    return {
        "video": source,
        "failure": failure,
        "num_rows": num_rows,
        "first_time_seconds": times[0],
        "last_time_seconds": times[-1],
        "fps": info.fps,
        "width": info.width,
        "height": info.height,
        "top_classes": [
            {
                "label": label,
                "mean_probability": round(probability / num_rows, 6),
                "rows_on_top": best[label],
            }
            for label, probability in ranked
        ],
    }
