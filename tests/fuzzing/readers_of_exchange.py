"""Readers of other tools' exports, which turn them into a list of clips."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.errors import UserError
from preprocess.sources.exchange import LIST, import_clips
from preprocess.sources.listed_clips import read_list
from tests.fuzzing.readers import Reader

GOLDEN = Path(__file__).parents[1] / "golden" / "exchange"
_FIFTY_ONE = {
    "classes": ["walking", "diving"],
    "labels": {
        "a": [{"label": 1, "support": [5, 20]}, {"label": 0, "support": [21, 30]}],
        "b": [{"label": 0, "timestamps": [0.5, 2.25]}],
        "c": None,
    },
}


def _made(name: str) -> Callable[[Path], None]:
    """Return a function that copies an example of the tests."""

    def make(folder: Path) -> None:
        source = GOLDEN / name
        if source.is_dir():
            shutil.copytree(source, folder, dirs_exist_ok=True)
            folder.joinpath("a.mp4").write_bytes(b"a")
        else:
            shutil.copy(source, folder)
            for video in ("a.mp4", "b c.mp4"):
                (folder / video).write_bytes(b"video")

    return make


def _make_fifty_one(folder: Path) -> None:
    (folder / "labels.json").write_text(json.dumps(_FIFTY_ONE, indent=1))
    (folder / "data").mkdir()
    for name in ("a", "b", "c"):
        (folder / "data" / f"{name}.mp4").write_bytes(name.encode())


def _read(name: str) -> Callable[[Path], Any]:
    """Return a function that imports a file of a folder, or the folder itself."""

    def read(folder: Path) -> Any:
        around = sorted(folder.parent.iterdir())
        source = folder / name if name else folder
        if not source.exists():
            source = folder
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "inner" / "out"
            out.parent.mkdir()
            try:
                found = import_clips(source, out, media=folder)
            except UserError:
                _require_untouched(list(Path(scratch).rglob("*")), [out.parent])
                raise
            finally:
                _require_untouched(sorted(folder.parent.iterdir()), around)
            videos = {str(path.relative_to(out)): path.read_bytes() for path in _files(out)}
            clips = [(clip.class_name, clip.detail, clip.subset) for clip in read_list(out / LIST)]
            _require_untouched(list(Path(scratch).iterdir()), [out.parent])
            _require_untouched(list(out.parent.iterdir()), [out])
            return clips, videos, found.left_out

    return read


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != LIST]


def _require_untouched(found: list[Path], expected: list[Path]) -> None:
    """Raise AssertionError if an import left something, or wrote outside of its folder."""
    assert sorted(found) == sorted(expected), f"left {sorted(set(found) ^ set(expected))}"


EXCHANGE = (
    Reader("hugging face paths", _made("splits"), _read(""), (UserError,)),
    Reader("hugging face videos", _made("inside"), _read(""), (UserError,)),
    Reader("webdataset", _made("train-000000.tar"), _read("train-000000.tar"), (UserError,)),
    Reader("fiftyone", _make_fifty_one, _read(""), (UserError,)),
    Reader("label studio", _made("label_studio.json"), _read("label_studio.json"), (UserError,)),
)
