"""Classified frames for other tools, read from the tables of a folder of results."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from experiments.clips import Format
from experiments.clips.exports import ExportedVideo, Segment, write_export
from experiments.media.videos import Video
from experiments.runs.files import read_object


def write_exports(
    out: Path, formats: Sequence[Format], videos: Sequence[Video], *, model: str
) -> list[Path]:
    """Write the rows of classified videos for other tools; returns the files' paths.

    Args:
        out: folder of results, whose tables have all columns.
        formats: the formats.
        videos: the videos; those without rows are left out.
        model: name of the model.

    Raises:
        WriteError: if the disk does not take a file.
    """
    found = _classified_videos(out, videos) if formats else []
    return [write_export(out, kind, found, model=model) for kind in formats if found]


def _classified_videos(out: Path, videos: Iterable[Video]) -> list[ExportedVideo]:
    """Describe videos that an image model has classified frame by frame, from their files.

    A frame lasts until the next one, and the last as long as the one before it. Videos without rows
    are left out.

    Args:
        out: folder of results, whose tables have all columns.
        videos: the videos.
    """
    found = []
    for video in videos:
        path = out / f"{video.results}.csv"
        if not path.exists():
            continue
        with path.open(encoding="utf-8", newline="") as file:
            columns = next(csv.reader(file))
        # A class may be called 1.
        types = {name: pa.string() for name in columns if name.startswith("label_")}
        table = arrow_csv.read_csv(
            path,
            convert_options=arrow_csv.ConvertOptions(column_types=types, strings_can_be_null=False),
        )
        summary = read_object(out / f"{video.results}.json")
        times = table["time_seconds"].to_numpy()
        last = times[-1] - times[-2] if len(times) > 1 else 1 / (summary["fps"] or np.inf)
        ends = np.append(times[1:], times[-1] + last)
        best = summary["top_classes"][0]
        rows = zip(
            times.tolist(),
            ends.tolist(),
            table["label_1"].to_pylist(),
            table["prob_1"].to_pylist(),
            strict=True,
        )
        found.append(
            ExportedVideo(
                video.source,
                float(ends[-1]),
                table,
                [Segment(*row) for row in rows],
                [best["label"]],
                best["mean_probability"],
            )
        )
    return found
