"""Readers of shards, weights, models and half-finished results."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from tests.fuzzing.readers import Reader
from tests.preprocess.conftest import write_video
from weights.errors import WeightsError

GOLDEN = Path(__file__).parents[1] / "golden"
_SIZE = (16, 12)


def _shards(compression: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        from preprocess.extraction.extract import extract
        from preprocess.shards.settings import FrameSettings

        videos = folder.with_name("videos")  # shards are not written among videos
        for seed in range(3):
            write_video(videos / "ab"[seed % 2] / f"clip{seed}.avi", 10 + 70 * seed, seed=seed)
        settings = FrameSettings(_SIZE, compression=compression)  # type: ignore[arg-type]
        extract(videos, folder, settings, jobs=1, command="make it again")
        shutil.rmtree(videos)
        (folder / ".lock").unlink()

    return make


def _clips(folder: Path) -> Any:
    from preprocess import open_shards

    with open_shards(folder) as shards:
        about = [
            (clip.source, clip.class_name, clip.label, clip.group, clip.fps, clip.num_frames)
            for clip in shards
        ]
        return about, [clip.original_size for clip in shards], [clip.frames for clip in shards]


def _impossible_clips(value: Any) -> str:
    about, _, frames = value
    for (source, *_, num_frames), pixels in zip(about, frames, strict=True):
        if pixels.shape != (num_frames, _SIZE[1], _SIZE[0], 3) or pixels.dtype != np.uint8:
            return f"{source} of {num_frames} frames is {pixels.dtype} {pixels.shape}"
        if num_frames < 1:
            return f"{source} has {num_frames} frames"
    return ""


def _golden(name: str) -> Callable[[Path], None]:
    return lambda folder: shutil.copy(GOLDEN / name, folder / name)


def _only_file(folder: Path) -> Path:
    """Path of the only file in a folder, or a made-up name if it was removed."""
    return next(folder.iterdir(), folder / "gone.npz")


def _arrays(folder: Path) -> Any:
    from weights import read_arrays

    return read_arrays(_only_file(folder))


def _torch(folder: Path) -> Any:
    from weights.torch_reader.torch_files import read_torch_file

    return read_torch_file(folder / "torch_legacy.pth")


def _alexnet(folder: Path) -> None:
    random = np.random.default_rng(0)
    layers = {
        name: [random.random((2, 3), np.float32), random.random(3, np.float32)] for name in "abc"
    }
    np.save(folder / "layers.npy", np.array(layers, object), allow_pickle=True)


def _objects(folder: Path) -> Any:
    from weights.torch_reader.unpickle import read_object_npy

    return read_object_npy(folder / "layers.npy")


def _table(folder: Path) -> Any:
    """Read tables of classification as a later run finds them: finished, and half finished."""
    from experiments.clips.classification.results import Row, Table

    found = []
    for name in ("done", "half"):
        table = Table(folder / name, {"model": "x", "size": [3, 4]}, top=2, kept=3, stride=1)
        if table.finished() is not None:
            found.append(list(table.rows()))
            continue
        table.begin()
        found.append([table.num_rows, table.started_over, list(table.rows())])
        rows = [
            Row(number, number / 4, ("a", "b,c", "d"), (0.5, 0.25, 0.125))
            for number in range(table.num_rows, 9)
        ]
        table.append(rows)
        if name == "done":
            table.finish({"failure": ""}, "all")
        table.close()
    return found


def _tables(folder: Path) -> None:
    _table(folder)


ZIPPED = ("tt_rnn.npz", "timesformer.pyth", "timesformer_vit.pth", "timesformer_hf.bin")
ARRAYS = (
    *(
        Reader(
            f"shards {kind}",
            _shards(kind),
            _clips,
            (UserError,),
            wrong=_impossible_clips,
            checksummed=True,
        )
        for kind in ("lz4", "zstd", "none")
    ),
    *(Reader(name, _golden(name), _arrays, (WeightsError,), checksummed=True) for name in ZIPPED),
    Reader("safetensors", _golden("timesformer_hf.safetensors"), _arrays, (WeightsError,)),
    Reader("legacy torch", _golden("torch_legacy.pth"), _torch, (WeightsError,)),
    Reader("object npy", _alexnet, _objects, (WeightsError,)),
    Reader("tables", _tables, _table, (UserError,)),
)
