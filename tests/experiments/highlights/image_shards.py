"""Shards of random pictures with labels, as `extract` would make them, but without videos."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.files import publish
from experiments.clips.images import Box, ImageSettings
from experiments.highlights.labels import Interval, LabelledClip, is_highlight, write_labels
from experiments.highlights.training.examples import labelled_video, open_images
from preprocess.shards.index import DatasetIndex, write_index
from preprocess.shards.schema import ClipRecord
from preprocess.shards.writer import ShardWriter, chunk_frames

SETTINGS = ImageSettings(side=32, fps=2.0)
BOX = Box(0.5, 0.0, 1.0, 0.5)


def labelled(name, *highlights, group=None, **options):
    """Make a labelled clip NAME.mp4 with highlights (start, end)."""
    stretches = tuple(Interval(*one) for one in highlights)
    return LabelledClip(Path(f"{name}.mp4"), BOX, stretches, group or name, **options)


def images_of(clip, times, settings=SETTINGS, *, seed=0):
    """Make pictures of noise, which are brighter in highlights."""
    rng = np.random.default_rng([seed, *clip.path.name.encode()])
    images = rng.integers(0, 128, size=(len(times), *settings.frame_shape))
    bright = [is_highlight(clip, time) for time in times]
    return (images + 100 * np.array(bright)[:, None, None, None]).astype(np.uint8)


def write_shards(
    folder: Path,
    clips: Sequence[LabelledClip],
    times: Mapping[str, Sequence[float]] | Sequence[float],
    *,
    settings: ImageSettings = SETTINGS,
    num_failed: int = 0,
):
    """Write a shard of the clips' pictures at `times`, by clip name or the same for all."""
    folder.mkdir(exist_ok=True)
    with ShardWriter(folder, settings) as writer:
        for clip in clips:
            video = labelled_video(clip, Path("."))
            of_clip = times[clip.path.stem] if isinstance(times, Mapping) else times
            writer.begin_clip()
            length = chunk_frames(settings)
            images = images_of(clip, of_clip, settings)
            for start in range(0, len(images), length):
                chunk = np.zeros((length, *settings.frame_shape), np.uint8)
                part = images[start : start + length]
                chunk[: len(part)] = part
                writer.append(chunk, len(part))
            record = ClipRecord(
                *(video.source, "clip", "", 1, 1, len(images), 30.0, 64, 64, video.detail)
            )
            writer.end_clip(record, of_clip)
        publish(writer.seal())
    write_index(
        folder,
        DatasetIndex(
            *("highlights", ("clip",), settings, True, len(clips), num_failed),
            command="python -m experiments.highlights extract",
        ),
    )
    return open_images(folder)


def write_all(folder: Path, clips, times, **options):
    """Write labels.csv and shards into a folder. Returns both paths."""
    placed = [replace(clip, path=folder / clip.path) for clip in clips]
    write_labels(folder / "labels.csv", placed)
    write_shards(folder / "shards", clips, times, **options)
    return folder / "labels.csv", folder / "shards"
