"""Predictions for other tools: Parquet, COCO-style JSON, and tasks of Label Studio."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from common.files import replacing, write_errors, write_text
from experiments.clips.prediction import Format
from experiments.clips.prediction.predict import VideoPrediction
from experiments.media.videos import Video

SUFFIXES: dict[Format, str] = {
    "parquet": ".parquet",
    "coco": ".coco.json",
    "label-studio": ".label-studio.json",
}
Predicted = Sequence[tuple[Video, VideoPrediction]]


def write_export(out: Path, kind: Format, predicted: Predicted, *, model: str) -> Path:
    """Write the predictions of some videos in one file, predictions and its suffix.

    Args:
        out: folder of results.
        kind: the format.
        predicted: videos with their predictions, one or more.
        model: name of the model, for Label Studio.

    Returns:
        The path of the file.

    Raises:
        WriteError: if the disk does not take it.
    """
    path = out / f"predictions{SUFFIXES[kind]}"
    if kind == "parquet":
        with write_errors(), replacing(path) as partial:
            parquet.write_table(_table(predicted), partial)
        return path
    content = _coco(predicted) if kind == "coco" else _tasks(predicted, model)
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def _classes(prediction: VideoPrediction, shares: NDArray[np.floating]) -> list[int]:
    """Indices of the classes that probabilities (C,) name: the best, or all above a threshold."""
    if prediction.threshold is None:
        return [int(shares.argmax())]
    return np.flatnonzero(shares >= prediction.threshold).tolist()


def _table(predicted: Predicted) -> pa.Table:
    """Table with a row a window: the video, and the columns of its CSV."""
    tables = [
        prediction.to_arrow().add_column(0, "video", [[video.source] * prediction.num_windows])
        for video, prediction in predicted
    ]
    return pa.concat_tables(tables)


def _coco(predicted: Predicted) -> dict[str, Any]:
    """Dictionary in COCO's form: a video is an image, a window an annotation with its seconds."""
    names = predicted[0][1].class_names
    annotations: list[dict[str, Any]] = []
    for number, (_, prediction) in enumerate(predicted):
        for window, shares in enumerate(prediction.probabilities):
            start, end = prediction.start_seconds[window], prediction.end_seconds[window]
            for index in _classes(prediction, shares):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number + 1,
                        "category_id": index + 1,
                        "score": round(float(shares[index]), 6),
                        "segment": [round(float(start), 3), round(float(end), 3)],
                    }
                )
    # Numbers from 1: COCO's tools take 0 for none.
    return {
        "images": [
            {
                "id": number + 1,
                "file_name": video.source,
                "duration": round(prediction.duration_seconds, 3),
            }
            for number, (video, prediction) in enumerate(predicted)
        ],
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(names)],
        "annotations": annotations,
    }


def _tasks(predicted: Predicted, model: str) -> list[dict[str, Any]]:
    """Tasks for Label Studio, each with the classes of a whole video as a prediction."""
    tasks = []
    for video, prediction in predicted:
        score = round(float(prediction.mean.max()), 6)
        choice = {
            "id": "class",
            "from_name": "class",
            "to_name": "video",
            "type": "choices",
            "value": {
                "choices": [
                    prediction.class_names[index] for index in _classes(prediction, prediction.mean)
                ]
            },
            "score": score,
        }
        shown = {"model_version": model, "score": score, "result": [choice]}
        tasks.append({"data": {"video": video.source}, "predictions": [shown]})
    return tasks
