"""Result files of each video's prediction, and the tables of all videos.

A video's JSON is written first. It names the video of the files beside it, so that only files of
the same video are replaced.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.files import write_atomically
from experiments.clips.prediction.predict import LABELS, VideoPrediction
from experiments.media.videos import ANNOTATED, Video, write_failures
from preprocess.errors import PreprocessError

_TOP = 5
_COLUMNS = ("video", "label", "confidence", "vote", "num_windows", "seconds")
_FAILURE_COLUMNS = ("video", "reason")
_WINDOW_COLUMNS = ("start_seconds", "end_seconds", "label", "confidence", "rolling_label")


class VideoResults:
    """Result files of one video.

    Args:
        out: folder of results.
        video: the video.
    """

    def __init__(self, out: Path, video: Video) -> None:
        self._base = out / video.results
        self._video = video

    def path(self, suffix: str) -> Path:
        """Path of a result: `.csv`, `.json` or `.annotated.mp4`."""
        return self._base.with_name(self._base.name + suffix)

    def begin(self) -> None:
        """Make the folder, and check that no file there belongs to another video.

        Raises:
            PreprocessError: if one does.
            OSError: if the folder cannot be made.
        """
        self._base.parent.mkdir(parents=True, exist_ok=True)
        there = [path for path in map(self.path, (".json", ".csv", ANNOTATED)) if path.exists()]
        if there and _path_in(self.path(".json")) != str(self._video.path):
            raise PreprocessError(
                f"{there[0]} is there, and not from this video; choose another --out"
            )

    def write(self, prediction: VideoPrediction, settings: Mapping[str, Any]) -> None:
        """Write the results of a video, in place of those of an earlier run.

        Args:
            prediction: prediction of the video.
            settings: settings of the prediction, as plain values.

        Raises:
            OSError: if the disk does not take it.
        """
        # An older copy would show other probabilities than the new tables.
        self.path(ANNOTATED).unlink(missing_ok=True)
        summary = {
            "video": self._video.source,
            "path": str(self._video.path),
            **_summary(prediction),
            "class_names": prediction.class_names,
            "settings": dict(settings),
        }
        text = json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
        write_atomically(self.path(".json"), text.encode())
        write_atomically(self.path(".csv"), _table(_rows(prediction)))


class Tables:
    """Tables of all videos: `predictions.csv`, a row a video, and `failures.csv`, if any failed.

    Rows that earlier runs wrote for other videos stay.

    Args:
        out: folder of results.
        has_several: whether a clip may be of several classes: all above a threshold are written.

    Raises:
        PreprocessError: if there are other files of these names.
    """

    def __init__(self, out: Path, *, has_several: bool = False) -> None:
        self._predictions = out / "predictions.csv"
        self._failures = out / "failures.csv"
        self._columns = (*_COLUMNS, LABELS) if has_several else _COLUMNS
        self._rows = {row[0]: row for row in _read(self._predictions, self._columns)}
        # Only to refuse another file of this name before the work, and not after it.
        _read(self._failures, _FAILURE_COLUMNS)
        self._new: dict[str, str] = {}

    def add(self, video: Video, prediction: VideoPrediction) -> None:
        """Add the row of a video.

        Raises:
            OSError: if the disk does not take it.
        """
        best, names = prediction.ranking[0], prediction.class_names
        row = [video.source, names[best], f"{prediction.mean[best]:.6f}", names[prediction.vote]]
        row += [str(prediction.num_windows), f"{prediction.duration_seconds:.3f}"]
        if prediction.threshold is not None:
            row.append(prediction.above_threshold(prediction.mean))
        self._rows[video.source] = row
        # The whole table is written after each video, so that an interruption loses nothing.
        rows = [self._rows[source] for source in sorted(self._rows)]
        write_atomically(self._predictions, _table([self._columns, *rows]))

    def fail(self, failures: Mapping[str, str], videos: Sequence[Video]) -> None:
        """Write the reasons why videos of a run failed.

        Raises:
            WriteError: if the disk does not take them.
        """
        write_failures(self._failures, failures, videos)


def _summary(prediction: VideoPrediction) -> dict[str, Any]:
    names, vote = prediction.class_names, prediction.vote
    ranked = [
        {"label": names[index], "mean_probability": round(float(prediction.mean[index]), 6)}
        for index in prediction.ranking
    ]
    several = {}
    if prediction.threshold is not None:
        above = int((prediction.mean >= prediction.threshold).sum())
        several = {"threshold": prediction.threshold, LABELS: ranked[:above]}
    return {
        "failure": prediction.complaint if prediction.is_cut_short else "",
        "num_windows": prediction.num_windows,
        "seconds": round(prediction.duration_seconds, 3),
        "top_classes": ranked[:_TOP],
        **several,
        "vote": {"label": names[vote], "num_windows": int(prediction.votes[vote])},
    }


def _rows(prediction: VideoPrediction) -> Iterable[Sequence[str]]:
    names = prediction.class_names
    has_several = prediction.threshold is not None
    yield [*_WINDOW_COLUMNS, *([LABELS] if has_several else []), *(f"p_{name}" for name in names)]
    for number, shares in enumerate(prediction.probabilities):
        best = int(shares.argmax())
        yield [
            f"{prediction.start_seconds[number]:.3f}",
            f"{prediction.end_seconds[number]:.3f}",
            *(names[best], f"{shares[best]:.6g}"),
            names[int(np.argmax(prediction.rolling[number]))],
            *([prediction.above_threshold(shares)] if has_several else []),
            *(f"{share:.6g}" for share in shares),
        ]


def _table(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _read(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """Read the rows of a table; none if there is no file."""
    if not path.exists():
        return []
    # A file in another encoding is refused below by its header, not by a traceback.
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    if header != list(columns):
        raise PreprocessError(
            f"{path} is there, and is no table of predictions; choose another --out."
        )
    return rows


def _path_in(path: Path) -> str | None:
    """Path of the video that a JSON file describes; None if it describes none."""
    try:
        # The name alone would not do: two folders may hold videos of one name.
        return json.loads(path.read_text(encoding="utf-8"))["path"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
