"""Makes exchange/: clips and labels as the libraries of three other tools write or accept them.

    pip install datasets==5.2.0 webdataset==1.0.2 label-studio-sdk==2.1.2
    python tests/golden/make_exchange.py

The suite reads them without these libraries. Two need pandas, for which every command would wait.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import webdataset
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets.features import Video
from label_studio_sdk.label_interface import LabelInterface

HERE = Path(__file__).parent / "exchange"
_INTERFACE = """
<View>
  <Video name="video" value="$video" frameRate="25"/>
  <TimelineLabels name="moment" toName="video">
    <Label value="diving"/><Label value="walking"/>
  </TimelineLabels>
  <Choices name="class" toName="video"><Choice value="diving"/><Choice value="walking"/></Choices>
</View>
"""


def main() -> None:
    """Write a folder or file for each tool."""
    HERE.mkdir(exist_ok=True)
    hugging_face()
    web_dataset()
    label_studio()


def web_dataset() -> None:
    """Write samples with a class, with a record, and without a label."""
    with webdataset.TarWriter(str(HERE / "train-000000.tar")) as tar:
        tar.write({"__key__": "s/000000", "mp4": b"video 0", "cls": 1})
        record = {"label": "diving", "start": 0.5, "end": 2}
        tar.write({"__key__": "s/000001", "avi": b"video 1", "json": record})
        tar.write({"__key__": "s/000002", "mp4": b"video 2"})


def label_studio() -> None:
    """Write tasks whose annotations Label Studio's own interface accepts."""
    interface = LabelInterface(_INTERFACE)
    ranges = [{"start": 5, "end": 20}, {"start": 30, "end": 31}]
    moments = {"ranges": ranges, "timelinelabels": ["diving"]}
    choice = {"choices": ["walking"]}
    tasks = [
        _task(1, "/data/local-files/?d=clips/a.mp4", ("moment", "timelinelabels", moments)),
        _task(2, "/data/upload/3/0a1b2c3d-b%20c.mp4", ("class", "choices", choice)),
        _task(3, "/data/upload/3/0a1b2c3d-missing.mp4", ("class", "choices", choice)),
        {"id": 4, "data": {"video": "a.mp4"}, "annotations": []},
    ]
    for task in tasks:
        assert all(interface.validate_annotation(each) for each in task["annotations"])
    (HERE / "label_studio.json").write_text(json.dumps(tasks, indent=1) + "\n")


def _task(number: int, video: str, result: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    name, kind, value = result
    shown = {"id": "r", "from_name": name, "to_name": "video", "type": kind, "value": value}
    return {"id": number, "data": {"video": video}, "annotations": [{"result": [shown]}]}


def hugging_face() -> None:
    """Write splits of paths and stretches, and a data set whose videos lie inside."""
    label = ClassLabel(names=["walking", "diving"])
    paths = Features(
        {
            "video": Value("string"),
            "label": label,
            "start": Value("float64"),
            "end": Value("float64"),
        }
    )
    train = {
        "video": ["a.mp4", "b c.mp4", "missing.mp4"],
        "label": ["diving", "walking", "walking"],
        "start": [0.5, None, None],
        "end": [2.0, None, None],
    }
    test = {"video": ["a.mp4"], "label": ["walking"], "start": [2.0], "end": [None]}
    splits = {"train": train, "test": test}
    DatasetDict(
        {name: Dataset.from_dict(rows, features=paths) for name, rows in splits.items()}
    ).save_to_disk(str(HERE / "splits"))
    inside = {
        "clip": [{"path": "inside.avi", "bytes": b"content of a video"}],
        "action": ["diving"],
    }
    features = Features({"clip": Video(), "action": Value("string")})
    Dataset.from_dict(inside, features=features).save_to_disk(str(HERE / "inside"))


if __name__ == "__main__":
    main()
