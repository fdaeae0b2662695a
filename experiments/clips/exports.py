"""Predictions for other tools: Parquet, COCO-style JSON, and tasks of Label Studio.

`experiments.predict` writes the windows of videos, `experiments.classify` their frames.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from common.files import replacing, write_errors, write_text
from experiments.clips import Format

SUFFIXES: dict[Format, str] = {
    "parquet": ".parquet",
    "coco": ".coco.json",
    "label-studio": ".label-studio.json",
}


class Segment(NamedTuple):
    """Class of a part of a video."""

    start_seconds: float
    end_seconds: float
    label: str
    score: float


@dataclass(frozen=True)
class ExportedVideo:
    """Predictions of one video.

    Args:
        source: name of the video.
        duration_seconds: duration of what was predicted.
        table: rows of its CSV.
        segments: classes of its parts, in order.
        labels: classes of the whole video.
        score: probability of the best of them.
    """

    source: str
    duration_seconds: float
    table: pa.Table
    segments: Sequence[Segment]
    labels: Sequence[str]
    score: float


def write_export(
    out: Path,
    kind: Format,
    videos: Sequence[ExportedVideo],
    *,
    model: str,
    class_names: Sequence[str] | None = None,
) -> Path:
    """Write the predictions of some videos in one file, predictions and its suffix.

    Args:
        out: folder of results.
        kind: the format.
        videos: predictions, of one video or more.
        model: name of the model, for Label Studio.
        class_names: all classes of the model; None for those that occur, sorted.

    Returns:
        The path of the file.

    Raises:
        WriteError: if the disk does not take it.
    """
    path = out / f"predictions{SUFFIXES[kind]}"
    if kind == "parquet":
        tables = [
            video.table.add_column(0, "video", [[video.source] * video.table.num_rows])
            for video in videos
        ]
        with write_errors(), replacing(path) as partial:
            parquet.write_table(pa.concat_tables(tables), partial)
        return path
    occurring = {segment.label for video in videos for segment in video.segments}
    content = (
        _coco(videos, class_names or sorted(occurring)) if kind == "coco" else _tasks(videos, model)
    )
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def _coco(videos: Sequence[ExportedVideo], class_names: Sequence[str]) -> dict[str, Any]:
    """Dictionary in COCO's form: a video is an image, a segment an annotation with its seconds."""
    # Numbers from 1: COCO's tools take 0 for none.
    categories = {name: number + 1 for number, name in enumerate(class_names)}
    annotations: list[dict[str, Any]] = []
    for number, video in enumerate(videos):
        for segment in video.segments:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": categories[segment.label],
                    "score": round(segment.score, 6),
                    "segment": [round(segment.start_seconds, 3), round(segment.end_seconds, 3)],
                }
            )
    return {
        "images": [
            {
                "id": number + 1,
                "file_name": video.source,
                "duration": round(video.duration_seconds, 3),
            }
            for number, video in enumerate(videos)
        ],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": annotations,
    }


def _tasks(videos: Sequence[ExportedVideo], model: str) -> list[dict[str, Any]]:
    """Tasks for Label Studio, each with the classes of a whole video as a prediction."""
    tasks = []
    for video in videos:
        score = round(video.score, 6)
        choice = {
            "id": "class",
            "from_name": "class",
            "to_name": "video",
            "type": "choices",
            "value": {"choices": list(video.labels)},
            "score": score,
        }
        shown = {"model_version": model, "score": score, "result": [choice]}
        tasks.append({"data": {"video": video.source}, "predictions": [shown]})
    return tasks
