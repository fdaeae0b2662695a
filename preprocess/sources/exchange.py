"""Clips and labels of other tools, turned into a list that `python -m preprocess folder` takes.

Four kinds of source are told apart by what they hold: a Hugging Face data set that `save_to_disk`
wrote, WebDataset's tars, FiftyOne's temporal detections, and Label Studio's JSON export.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import parse_qs, unquote, urlsplit

from common.errors import InputError, UserError, WriteError
from common.extras import OptionalModule
from common.files import write_errors, write_text
from preprocess.sources.clips import VIDEO_SUFFIXES
from preprocess.sources.listed_clips import OPTIONAL, REQUIRED, SUBSETS, read_list

# Only Hugging Face's data sets need it, and the command line imports this file.
pa: Any = OptionalModule("pyarrow")
LIST, VIDEOS = "clips.csv", "videos"
_PIECE_BYTES = 2**20
# Of a label or a JSON in an archive; a hostile one may be as large as the disk.
_MAX_TEXT_BYTES = 2**22
_MAX_REASONS = 5  # in a message
Cells = dict[str, str]
_SUBSET_NAMES = {name: name for name in SUBSETS} | {"val": "validation", "valid": "validation"}
_VIDEO_COLUMNS = ("video", "path", "video_path", "file_name", "file", "filename")
_LABEL_COLUMNS = ("label", "labels", "class", "class_name", "action")
# Names of a list's optional columns in other tools.
_COLUMNS = {
    "start": ("start", "start_time", "start_seconds"),
    "stop": ("stop", "end", "end_time", "end_seconds"),
    "start_frame": ("start_frame",),
    "stop_frame": ("stop_frame", "end_frame"),
    "group": ("group", "group_id"),
}
# Label Studio puts eight digits of a random number before the name of an uploaded file.
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")


@dataclass
class Imported:
    """Clips of another tool.

    Args:
        kind: name of the format.
        num_clips: number of rows of the list.
        left_out: reason for each thing that is no clip of the list, by its name.
    """

    kind: str
    num_clips: int = 0
    left_out: dict[str, str] = field(default_factory=dict)


class _Writer:
    """Folder in the making: videos that a source holds inside, until the list is there as well.

    Args:
        folder: private folder, whose content goes to the user's in the end.
        media: folder of the videos that the source only names; None for the source's own.
    """

    def __init__(self, folder: Path, media: Path | None) -> None:
        self.folder = folder
        self.media = media
        self.left_out: dict[str, str] = {}

    def copied(self, name: str, content: IO[bytes]) -> str:
        """Write a video that a source holds inside; returns its path in the list."""
        place = PurePosixPath(name)
        # An archive may name any path of the system.
        if place.is_absolute() or ".." in place.parts or "\0" in name:
            raise InputError(f"A video of an archive must lie below it. Received {name!r:.200}.")
        path = self.folder / VIDEOS / place
        if path.exists():
            raise InputError(f"A video may be in an archive once. Received {name!r:.200} again.")
        with write_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            # In pieces, so that an error of the reading is not taken for one of the writing.
            while piece := content.read(_PIECE_BYTES):
                with write_errors():
                    file.write(piece)
        return f"{VIDEOS}/{place}"

    def found(self, name: str, *, folder: Path) -> str | None:
        """Path of a video that a source names; None, with a reason, if there is no such file.

        An absolute path may lie anywhere, as in a list. A relative one stays within the folders.
        """
        media = self.media or folder
        shown = f"{name:.200}"
        if not name or "\0" in name:
            self.left_out[repr(shown)] = "it names no file"
            return None
        for base, path in ((folder, name), (media, name), (media, PurePosixPath(name).name)):
            place = Path(os.path.normpath(base / path))
            # A text longer than a name may be is no file either.
            if not _exists(place):
                continue
            if Path(path).is_absolute() or place.is_relative_to(os.path.normpath(base)):
                return str(place.resolve())
            self.left_out[shown] = f"it lies outside of {base}; give its folder as --media"
            return None
        self.left_out[shown] = f"there is no such file in {media}"
        return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def import_clips(
    source: Path, out: Path, *, media: Path | None = None, overwrite: bool = False
) -> Imported:
    """Write the list of another tool's clips to `out/clips.csv`, and videos that it holds inside.

    Everything is read and checked before anything appears in `out`.

    Args:
        source: folder or file that the tool exported.
        out: folder to write to.
        media: folder of the videos that the source only names; by default its own.
        overwrite: replace another list there.

    Raises:
        InputError: if the source is of no known kind, is damaged, or names no video that is there.
        WriteError: if the disk does not take it.
    """
    kind, read = _reader(source)
    if (out / LIST).exists() and not overwrite:
        raise InputError(f"{out / LIST} is there already; name another folder, or --overwrite.")
    is_new = not out.exists()
    with write_errors():
        out.mkdir(parents=True, exist_ok=True)
    try:
        # In `out` itself, so that videos are renamed and not copied again.
        with tempfile.TemporaryDirectory(prefix=".import-", dir=out) as private:
            writer = _Writer(Path(private), media)
            num_clips = _write_list(kind, source, read, writer)
            _publish(writer.folder, out)
    except BaseException:
        if is_new:
            shutil.rmtree(out, ignore_errors=True)
        raise
    return Imported(kind, num_clips, writer.left_out)


def _write_list(kind: str, source: Path, read: _Read, writer: _Writer) -> int:
    """Write the list into the private folder; returns its number of clips.

    Raises:
        InputError: if the source is damaged, or names no video that is there.
    """
    try:
        rows = list(read(source, writer))
    except InputError as error:
        # What is wrong within is said without the source's name.
        message = str(error)
        if str(source) not in message:
            message = f"{source}: {message}"
        raise InputError(message) from error
    except _DAMAGED as error:
        raise InputError(
            f"{source} is not written as {kind} is ({type(error).__name__}: {error!s:.300}). "
            "Export it again."
        ) from error
    if not rows:
        reasons = "; ".join(
            f"{name}: {reason}" for name, reason in islice(writer.left_out.items(), _MAX_REASONS)
        )
        raise InputError(f"{source} must name a labelled video. Received none. {reasons}".strip())
    columns = [
        name
        for name in (*REQUIRED, *OPTIONAL)
        if name in REQUIRED or any(row.get(name) for row in rows)
    ]
    text = io.StringIO()
    table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    path = writer.folder / LIST
    try:
        write_text(path, text.getvalue())
        # By the reader that the next command uses: times that are none end here, too.
        read_list(path)
    except UnicodeEncodeError as error:
        raise InputError(f"{source} holds text that is no Unicode: {error.reason}.") from error
    except WriteError:
        raise
    except UserError as error:
        message = str(error).replace(str(path), LIST)
        raise InputError(f"{source} gives a list that cannot be: {message:.1000}") from error
    return len(rows)


def _publish(private: Path, out: Path) -> None:
    """Move the videos and then the list to where they belong."""
    with write_errors():
        for path in sorted((private / VIDEOS).rglob("*")):
            place = out / path.relative_to(private)
            if path.is_dir():
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                path.replace(place)
        (private / LIST).replace(out / LIST)


_Read = Callable[[Path, _Writer], Iterator[Cells]]
# What reading a damaged file as if it were whole may raise.
_DAMAGED = (KeyError, TypeError, IndexError, AttributeError, ValueError, RecursionError)


def _reader(source: Path) -> tuple[str, _Read]:
    """Name of a source's format, and the function that reads its rows.

    Raises:
        InputError: if it is none of the known ones.
    """
    if source.is_dir():
        if (source / "dataset_dict.json").exists() or (source / "state.json").exists():
            return "a Hugging Face data set", _hugging_face
        if (source / "labels.json").exists():
            return "FiftyOne's temporal detections", _fifty_one
        if any(source.glob("*.tar")):
            return "WebDataset's tars", _web_dataset
    elif source.suffix == ".tar" and source.exists():
        return "WebDataset's tar", _web_dataset
    elif source.suffix == ".json" and source.exists():
        return "Label Studio's export", _label_studio
    if any((source / name).exists() for name in ("samples.json", "manifest.json")):
        raise InputError(
            f"Of FiftyOne's formats, its temporal detections are read. {source} is another; export "
            "it as fiftyone.types.FiftyOneTemporalDetectionDataset, or as "
            "VideoClassificationDirectoryTree, which python -m preprocess folder reads."
        )
    raise InputError(
        "The source must be a folder that save_to_disk of Hugging Face's datasets wrote, a .tar of "
        "WebDataset or a folder of such, FiftyOne's folder with labels.json, or Label Studio's "
        f".json. Received {source}."
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    # A hostile file may nest its lists deeper than the reader's recursion.
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}.") from error


def _hugging_face(source: Path, writer: _Writer) -> Iterator[Cells]:
    """Rows of a data set on disk: Arrow files, and their columns' types in dataset_info.json."""
    splits: Mapping[str, Path] = {"": source}
    if (source / "dataset_dict.json").exists():
        names = _read_json(source / "dataset_dict.json")["splits"]
        splits = {name: source / _plain_name(name) for name in names}
    # A split by other names is none of ours.
    has_subsets = all(name in _SUBSET_NAMES for name in splits)
    for split, folder in splits.items():
        features = _read_json(folder / "dataset_info.json")["features"]
        typed = {feature.get("_type"): name for name, feature in features.items()}
        video = typed.get("Video") or _first(features, _VIDEO_COLUMNS)
        label = typed.get("ClassLabel") or _first(features, _LABEL_COLUMNS)
        if video is None or label is None:
            raise InputError(
                f"A data set must have a column of videos, such as {_VIDEO_COLUMNS[0]}, and one of "
                f"labels, such as {_LABEL_COLUMNS[0]}. Received {', '.join(features)}."
            )
        class_names = features[label].get("names")
        for number, row in enumerate(_arrow_rows(folder)):
            name = f"{split or 'data'}/{number:06d}"
            index = row[label]
            # Data sets without labels for some clips give them -1.
            if index is None or (class_names and index == -1):
                writer.left_out[name] = "it has no label"
                continue
            path = _hugging_face_video(row[video], name, folder, writer)
            if path is None:
                continue
            cells = {"video": path, "label": _class_name(index, class_names)} | _optional(row)
            yield cells | ({"part": _SUBSET_NAMES[split]} if has_subsets else {})


def _plain_name(name: str) -> str:
    """Name of a file or folder beside others.

    Raises:
        InputError: if it leads elsewhere.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise InputError(f"A part of a data set must lie in its folder. Received {name!r:.200}.")
    return name


def _class_name(label: Any, class_names: Sequence[str] | None = None) -> str:
    """Label as text: a text or number itself, or the index of a name.

    Raises:
        TypeError, IndexError: if it is none of them.
    """
    if class_names and isinstance(label, int) and not isinstance(label, bool):
        if not 0 <= label < len(class_names):
            raise IndexError(f"class {label} of {len(class_names)}")
        label = class_names[label]
    if not isinstance(label, str | int) or isinstance(label, bool):
        raise TypeError(f"a label is a text or a number, not {label!r:.100}")
    return str(label).strip()


def _arrow_rows(folder: Path) -> Iterator[dict[str, Any]]:
    for file in _read_json(folder / "state.json")["_data_files"]:
        path = folder / _plain_name(file["filename"])
        try:
            with pa.memory_map(str(path)) as data:
                for batch in pa.ipc.open_stream(data):
                    # Otherwise offsets of a damaged file are followed out of its memory.
                    batch.validate(full=True)
                    yield from batch.to_pylist()
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise InputError(
                f"{path} is no whole Arrow file: {error!s:.300}. Save the data set again."
            ) from error


def _hugging_face_video(value: Any, name: str, folder: Path, writer: _Writer) -> str | None:
    """Path of a row's video: a text, or {"bytes", "path"} as columns of type Video have it."""
    if isinstance(value, Mapping):
        content, value = value.get("bytes"), value.get("path") or ""
        if content:
            suffix = PurePosixPath(value).suffix or ".mp4"
            return writer.copied(name + suffix, io.BytesIO(content))
    return writer.found(str(value or ""), folder=folder)


def _first(there: Mapping[str, Any], wanted: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in there), None)


def _optional(row: Mapping[str, Any]) -> Cells:
    """Cells of a list's optional columns, by their names in other tools."""
    found = {name: _first(row, theirs) for name, theirs in _COLUMNS.items()}
    return {
        name: str(row[column])
        for name, column in found.items()
        if column is not None and row[column] is not None
    }


def _web_dataset(source: Path, writer: _Writer) -> Iterator[Cells]:
    """Rows of tars: files of one name up to the first dot are a sample, one after the other."""
    for tar in [source] if source.is_file() else sorted(source.glob("*.tar")):
        subset = _SUBSET_NAMES.get(re.split(r"[-_.0-9]", tar.name)[0])
        sample: dict[str, Any] = {}
        last = None
        try:
            with tarfile.open(tar) as archive:
                for member in archive:
                    folder, _, name = member.name.rpartition("/")
                    stem, _, suffix = name.partition(".")
                    key = f"{folder}/{stem}".lstrip("/")
                    content = archive.extractfile(member) if member.isfile() else None
                    # A sparse one is a few bytes that unfold to more than a disk holds.
                    if content is None or member.issparse():
                        continue
                    if key != last and sample:
                        yield from _web_sample(last, sample, subset, writer)
                        sample = {}
                    last = key
                    if f".{suffix.lower()}" in VIDEO_SUFFIXES:
                        # Written at once: a tar is read from its beginning to its end.
                        path = f"{tar.stem}/{member.name}"
                        sample["video"] = writer.copied(path, content)
                    elif suffix in ("cls", "json", "txt"):
                        sample[suffix] = _read_text(member.name, content)
                _require_end(archive)
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise InputError(f"{tar} is no whole tar: {error}. Make it again.") from error
        if sample:
            yield from _web_sample(last, sample, subset, writer)


def _read_text(name: str, content: IO[bytes]) -> bytes:
    found = content.read(_MAX_TEXT_BYTES + 1)
    if len(found) > _MAX_TEXT_BYTES:
        raise InputError(
            f"A label of an archive may have {_MAX_TEXT_BYTES:,} bytes. {name:.200} has more."
        )
    return found


def _require_end(archive: tarfile.TarFile) -> None:
    """Raise TarError unless the archive ends with its mark, a block of zeros.

    Python takes a damaged header behind the first for the end, and would leave out all that follow.
    """
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.TarError("the end is missing, or a header within is damaged")


def _web_sample(
    key: str | None, sample: Mapping[str, Any], subset: str | None, writer: _Writer
) -> Iterator[Cells]:
    """Row of a sample: .json with a label and more, else .cls or .txt with the label alone."""
    try:
        record = json.loads(sample.get("json", b"{}"))
        label = _first(record, _LABEL_COLUMNS)
        text = _class_name(
            record[label] if label else sample.get("cls", sample.get("txt", b"")).decode()
        )
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise InputError(f"The label of the sample {key} is no text or JSON: {error}.") from error
    if "video" not in sample or not text:
        writer.left_out[str(key)] = f"it has no {'label' if 'video' in sample else 'video'}"
        return
    cells = {"video": str(sample["video"]), "label": text, **_optional(record)}
    yield cells | ({"part": subset} if subset else {})


def _fifty_one(source: Path, writer: _Writer) -> Iterator[Cells]:
    """Rows of labels.json and of the videos in data/, or those that data.json names."""
    exported = _read_json(source / "labels.json")
    paths: dict[str, str] = {}
    if (data := source / "data").is_dir():
        # A video is known by its path below data/, without its suffix.
        for file in sorted(data.rglob("*")):
            place = file.relative_to(data)
            paths[place.with_suffix("").as_posix()] = f"data/{place.as_posix()}"
    elif (source / "data.json").exists():
        paths = _read_json(source / "data.json")
    # Without names of classes, labels are texts.
    class_names = exported.get("classes")
    for name, detections in exported["labels"].items():
        path = writer.found(paths.get(name, name), folder=source)
        for detection in detections or [] if path else []:
            cells = {"video": str(path), "label": _class_name(detection["label"], class_names)}
            # Frames go before seconds, as in FiftyOne. Both are included and count from 1, as ours.
            support = detection.get("support")
            start, stop = detection["timestamps"] if support is None else support
            unit = "" if support is None else "_frame"
            yield cells | {f"start{unit}": str(start), f"stop{unit}": str(stop)}


def _label_studio(source: Path, writer: _Writer) -> Iterator[Cells]:
    """Rows of a JSON export: choices of whole videos, and labels of a timeline."""
    for task in _read_json(source):
        done = [each for each in task.get("annotations", ()) if not each.get("was_cancelled")]
        # Of several people's annotations the one that was declared the truth, else the first.
        done.sort(key=lambda each: not each.get("ground_truth"))
        name = next((v for k, v in task["data"].items() if k.startswith("video")), None)
        if name is None or not done:
            missing = "video" if name is None else "annotation"
            writer.left_out[f"task {task.get('id', '?')}"] = f"it has no {missing}"
            continue
        path = writer.found(
            _label_studio_file(name, writer.media or source.parent), folder=source.parent
        )
        if path is None:
            continue
        for result in done[0]["result"]:
            value = result["value"]
            if result["type"] == "choices":
                yield {"video": path, "label": _class_name(value["choices"][0])}
            elif result["type"] == "timelinelabels":
                for span in value["ranges"]:
                    yield {
                        "video": path,
                        "label": _class_name(value["timelinelabels"][0]),
                        "start_frame": str(span["start"]),
                        "stop_frame": str(span["end"]),
                    }
            elif result["type"] == "labels" and "start" in value:
                yield {
                    "video": path,
                    "label": _class_name(value["labels"][0]),
                    "start": str(value["start"]),
                    "stop": str(value["end"]),
                }


def _label_studio_file(address: str, media: Path) -> str:
    """Path of the file that an address of Label Studio stands for."""
    parts = urlsplit(address)
    # Local files: /data/local-files/?d=folder/a.mp4
    path = unquote(parse_qs(parts.query).get("d", [parts.path])[0])
    name = PurePosixPath(path).name
    uploaded = _UPLOADED.fullmatch(name)
    if uploaded and not (media / name).exists():
        return uploaded[1]
    return path.lstrip("/") if parts.query else name if path.startswith("/data/") else path
