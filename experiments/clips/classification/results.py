"""Result files of each video, and the outcome of all videos.

`NAME.json`, beside `NAME.csv`, records the settings of the rows. While a video is being classified
they are called `NAME.csv.part` and `NAME.json.part`, from which a later run continues. A video that
cannot be read has only a `NAME.json`, so that no later run tries the same file again.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from common.errors import InputError, WriteError
from common.files import write_errors, write_text
from experiments.media.videos import Video, write_failures
from experiments.models.image_models import SEED_TOP, Columns
from preprocess.errors import DecodeError, PreprocessError
from preprocess.video.frame_folder import list_frames

ONE_TABLE = "all_videos.csv"


@dataclass(frozen=True)
class Row:
    """Classes of one frame, k of them, most probable first."""

    frame: int
    time_seconds: float
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]


def result_settings(
    path: Path, model: dict[str, Any], *, top: int | None, stride: int, columns: Columns
) -> dict[str, Any]:
    """Collect the settings that the rows of a video depend on, without the fit of its frames.

    Args:
        path: the video, or the folder of its frames.
        model: settings of the model.
        top: number of labels in a row; None for five, or as many as there are.
        stride: frames from one row to the next.
        columns: columns of the CSV.
    """
    settings = {**model, "top": top or SEED_TOP, "every": stride, "columns": columns}
    if path.is_dir():
        # A folder that cannot be listed fails alone, when it is read.
        with suppress(DecodeError):
            frames = list_frames(path)
            settings |= {"video_bytes": frames.size_bytes, "video_mtime_ns": frames.mtime_ns}
    elif path.exists():
        file = path.stat()
        settings |= {"video_bytes": file.st_size, "video_mtime_ns": file.st_mtime_ns}
    return settings


def read_finished(results: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Read the JSON of a video that was finished with the same settings; None if it was not.

    A video that cannot be read is finished: its summary has a failure, and 0 as `num_rows`.

    Args:
        results: path of the results without a suffix.
        settings: settings from `result_settings`.
    """
    summary = _summary_in(results.with_name(f"{results.name}.json"))
    if summary is None:
        return None
    has_rows = results.with_name(f"{results.name}.csv").exists()
    if not has_rows and not is_unreadable(summary):
        return None
    # The fit of frames follows from the model, which need not be loaded for this.
    same = json.loads(json.dumps(settings)) | {"fit": None}
    return summary if summary["settings"] | {"fit": None} == same else None


def is_unreadable(summary: dict[str, Any]) -> bool:
    """Whether a video gave no rows, according to its JSON."""
    return summary.get("num_rows") == 0


def write_one_table(out: Path, results: Iterable[tuple[str, str]]) -> Path:
    """Write all rows of some videos to one CSV, with the video in front; returns its path.

    Args:
        out: folder of results.
        results: name of each video, and the path of its results below `out`, without a suffix.
            Videos without a table are left out.

    Raises:
        WriteError: if the disk does not take it.
    """
    path, temporary = out / ONE_TABLE, out / f".{ONE_TABLE}.part"
    with write_errors():
        try:
            with temporary.open("w", encoding="utf-8", newline="") as whole:
                begun = False
                for name, result in results:
                    file = out / f"{result}.csv"
                    if not file.exists():
                        continue
                    with file.open(encoding="utf-8", newline="") as rows:
                        lines = csv.reader(rows)
                        columns = next(lines, [])
                        if not begun:
                            whole.write(_line(["video", *columns]))
                        begun = True
                        whole.writelines(_line([name, *cells]) for cells in lines)
                whole.flush()
                os.fsync(whole.fileno())
            os.replace(temporary, path)
        finally:
            # There only after an error or an interruption; a finished table has been renamed.
            temporary.unlink(missing_ok=True)
    return path


class Table:
    """Table of one video's rows, with its files in the folder of results.

    Args:
        results: path of the files, without a suffix.
        settings: all settings of the rows; rows with other settings are thrown away.
        top: number of labels in a row of the finished file.
        kept: number of labels in a row until then, at least `top`: summary and timeline see more
            than the finished file shows.
        stride: frames from one row to the next.
    """

    def __init__(
        self, results: Path, settings: dict[str, Any], *, top: int, kept: int, stride: int
    ) -> None:
        self._results = results
        # As they will be read again: JSON makes lists of tuples.
        self._settings = json.loads(json.dumps(settings))
        self._top = top
        self._kept = kept
        self._stride = stride
        self._file: IO[str] | None = None
        self.num_rows = 0
        self.started_over = ""
        """Names of the settings that made an earlier result void; empty if none did."""

    def path(self, suffix: str) -> Path:
        """Path of a result with a suffix: `.csv`, `.json`, `.png` ..."""
        return self._results.with_name(self._results.name + suffix)

    def finished(self) -> dict[str, Any] | None:
        """Read the JSON of a video that was finished with the same settings; None if it was not."""
        summary = read_finished(self._results, self._settings)
        return summary if summary and summary["settings"] == self._settings else None

    def begin(self, *, anew: bool = False) -> None:
        """Continue where an earlier run stopped, or start anew.

        Args:
            anew: throw away the results of an earlier run, whatever its settings.

        Raises:
            WriteError: if the disk does not take it, or another run works on this video.
        """
        part = self.path(".csv.part")
        with write_errors():
            self._results.parent.mkdir(parents=True, exist_ok=True)
            self._file = part.open("a", encoding="utf-8", newline="")
            try:
                # Held until the table is closed, or the process ends however it may.
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.close()
                raise WriteError("another run is working on it") from None
            self.num_rows, num_bytes = (
                # Under the lock: another run might be writing them.
                self._void_earlier_rows() if anew else self._find_earlier_rows()
            )
            # A row that a killed run wrote only in part is cut off.
            os.truncate(part, num_bytes)
            if self.num_rows == 0:
                self._file.write(_line(header(self._kept)))
            self._file.flush()

    def append(self, rows: Sequence[Row]) -> None:
        """Append rows, which are handed to the system when this returns.

        Raises:
            WriteError: if the disk does not take them.
        """
        assert self._file is not None
        with write_errors():
            self._file.write("".join(_line(_cells(row)) for row in rows))
            self._file.flush()
        self.num_rows += len(rows)

    def rows(self) -> Iterator[Row]:
        """Read the rows from the disk, one at a time, of an unfinished or a finished video."""
        path, width = self.path(".csv.part"), self._kept
        if not path.exists():
            path, width = self.path(".csv"), self._top
        try:
            with path.open(encoding="utf-8", newline="") as file:
                lines = csv.reader(file)
                # The original's columns have no frame and no time: the frame follows from the row's
                # number.
                is_seed = next(lines, [""])[0] != "frame"
                for number, cells in enumerate(lines):
                    unknown = [str(number * self._stride), "nan"] if is_seed else []
                    yield _row([*unknown, *cells], width)
        except (ValueError, IndexError, csv.Error) as error:
            raise PreprocessError(
                f"{path} is damaged: {error}. Remove it and {self.path('.json')}, and run the same "
                "command again."
            ) from error

    def discard(self) -> None:
        """Remove the files of a video without rows, so that another run tries it again."""
        self.close()
        for suffix in (".csv.part", ".json.part"):
            self.path(suffix).unlink(missing_ok=True)

    def give_up(self, source: str, failure: str) -> None:
        """Record in the JSON why a video gave no rows, so that the same file is not tried again.

        Raises:
            WriteError: if the disk does not take it.
        """
        self._write_summary({"video": source, "failure": failure, "num_rows": 0})
        self.discard()

    def finish(self, summary: dict[str, Any], columns: Columns) -> None:
        """Give the files their final names: the CSV, then the JSON, which completes the video.

        Raises:
            WriteError: if the disk does not take them.
        """
        self.close()
        temporary = self.path(".csv.whole")
        with write_errors():
            with (
                self.path(".csv.part").open(encoding="utf-8", newline="") as rows,
                temporary.open("w", encoding="utf-8", newline="") as whole,
            ):
                for cells in csv.reader(rows):
                    labels, probabilities = cells[2 : 2 + self._kept], cells[2 + self._kept :]
                    shown = [*labels[: self._top], *probabilities[: self._top]]
                    whole.write(_line(shown if columns == "seed" else [*cells[:2], *shown]))
                # On the disk before the JSON marks the video as complete, even after a power cut.
                whole.flush()
                os.fsync(whole.fileno())
            os.replace(temporary, self.path(".csv"))
        self._write_summary(summary)
        for suffix in (".csv.part", ".json.part"):
            self.path(suffix).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the table; a later run can continue it."""
        if self._file is not None:
            # Rows that a full disk did not take: `append` has raised for them.
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _find_earlier_rows(self) -> tuple[int, int]:
        """Count rows and bytes of an earlier run with these settings; remove any other results."""
        settings = _settings_in(self.path(".json.part"))
        if settings == self._settings:
            return _whole_rows(self.path(".csv.part"), self._kept, self._stride)
        before = _settings_in(self.path(".json")) or settings
        if before is not None:
            self.started_over = _difference(before, self._settings)
        return self._void_earlier_rows()

    def _void_earlier_rows(self) -> tuple[int, int]:
        """Remove all results of earlier runs; returns 0 rows and 0 bytes."""
        for suffix in (".csv", ".json", ".png", ".annotated.mp4"):
            self.path(suffix).unlink(missing_ok=True)
        text = json.dumps({"settings": self._settings}, indent=2)
        write_text(self.path(".json.part"), text + "\n")
        return 0, 0

    def _write_summary(self, summary: dict[str, Any]) -> None:
        """Write the JSON, which marks the video as complete."""
        text = json.dumps({"settings": self._settings, **summary}, indent=2, ensure_ascii=False)
        write_text(self.path(".json"), text + "\n")


def header(top: int) -> list[str]:
    """Column names of a table with `top` classes a row."""
    numbers = range(1, top + 1)
    labels, probabilities = ([f"{name}_{n}" for n in numbers] for name in ("label", "prob"))
    return ["frame", "time_seconds", *labels, *probabilities]


def _cells(row: Row) -> list[str]:
    probabilities = [f"{value:.6f}" for value in row.probabilities]
    return [str(row.frame), f"{row.time_seconds:.6f}", *row.labels, *probabilities]


def _row(cells: Sequence[str], top: int) -> Row:
    labels, probabilities = cells[2 : 2 + top], cells[2 + top :]
    if len(probabilities) != top:
        raise InputError("a row has the wrong number of cells")
    return Row(int(cells[0]), float(cells[1]), tuple(labels), tuple(map(float, probabilities)))


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _whole_rows(path: Path, top: int, stride: int) -> tuple[int, int]:
    """Count the intact rows at the start of a file, and the bytes up to their end."""
    num_rows, num_bytes = 0, 0
    with path.open("rb") as file:
        if file.readline() != _line(header(top)).encode():
            return 0, 0
        # Each row must be whole and carry the frame number that its place demands.
        while _is_row(file.readline(), top, frame=num_rows * stride):
            num_rows, num_bytes = num_rows + 1, file.tell()
    return num_rows, num_bytes


def _is_row(line: bytes, top: int, *, frame: int) -> bool:
    try:
        (cells,) = csv.reader([line.decode()])
        return line.endswith(b"\n") and _row(cells, top).frame == frame
    except (ValueError, IndexError, csv.Error):
        return False


def _summary_in(path: Path) -> dict[str, Any] | None:
    """Read a JSON file with settings; None if it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found["settings"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _settings_in(path: Path) -> dict[str, Any] | None:
    """Read the settings in a JSON file; None if it is missing or damaged."""
    summary = _summary_in(path)
    return summary["settings"] if summary else None


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Name the first three settings that differ, for a message."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(names[:3])


@dataclass
class Outcome:
    """Outcome of classifying some videos.

    Args:
        failures: reasons why videos failed, by source.
        num_complete: number of videos that earlier runs had finished.
        num_unreadable: number of videos that an earlier run could not read, and that are unchanged.
    """

    failures: dict[str, str] = field(default_factory=dict)
    num_complete: int = 0
    num_unreadable: int = 0

    def add_earlier(self, video: Video, summary: dict[str, Any]) -> None:
        """Count a video that an earlier run finished or could not read, according to its JSON."""
        if is_unreadable(summary):
            self.num_unreadable += 1
        else:
            self.num_complete += 1
        if summary["failure"]:
            self.failures[video.source] = summary["failure"]

    def add(self, other: Outcome) -> None:
        """Add the outcome of other videos."""
        self.failures |= other.failures
        self.num_complete += other.num_complete
        self.num_unreadable += other.num_unreadable


def conclude(outcome: Outcome, videos: Sequence[Video], out: Path) -> dict[str, str]:
    """Print how many videos were finished before, write the failures, and return these.

    Raises:
        WriteError: if the disk does not take them.
    """
    if outcome.num_complete:
        print(f"{outcome.num_complete} of {len(videos)} videos were there already.")
    if outcome.num_unreadable:
        remain = "remains" if outcome.num_unreadable == 1 else "remain"
        print(
            f"{outcome.num_unreadable} of {len(videos)} videos {remain} unreadable and unchanged; "
            "--overwrite tries again."
        )
    write_failures(out / "failures.csv", outcome.failures, videos)
    return outcome.failures
