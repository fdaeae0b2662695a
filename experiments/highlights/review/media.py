"""Pictures, loudness and playable copies of a recording's files, for the pages."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from common.errors import UserError
from experiments.clips.images import Box, ImageReader, ImageSettings
from experiments.highlights.selection.snapping import Loudness, read_loudness
from experiments.media.ffmpeg import private_folder, run, url
from experiments.media.recording import Chunk, recording_duration
from preprocess.errors import DecodeError

THUMBNAIL = ImageSettings(parts=("frame",), side=72)
"""Picture of a segment in the list."""
MODEL_INPUT = ImageSettings(parts=("box", "sound"), side=160)
"""What a model sees and hears, larger than it gets it."""
_MAX_LEVELS = 120_000  # of a waveform, whatever the length of the recording
_FLOOR_DB = -60.0  # of a waveform
_SEEK_SECONDS = 2.0  # within which the picture of a moment is sought
_COPY_HEIGHT = 360  # pixels
_PROGRESS = "out_time_us="


def moment_image(
    chunks: Sequence[Chunk], time: float, settings: ImageSettings, box: Box | None
) -> bytes | None:
    """Return the picture of a moment as JPEG; None where nothing can be decoded.

    Args:
        chunks: the recording.
        time: the moment, in seconds of the recording.
        settings: how the picture is made.
        box: part of the frame that is cut out; None for all of it.
    """
    chunk = next((one for one in reversed(chunks) if one.offset <= time), chunks[0])
    start = max(time - chunk.offset - chunk.video_start, 0.0)
    # Not behind the last frame, which stands until the end.
    start = max(min(start, chunk.duration - chunk.video_start - 1.5 / float(chunk.rate)), 0.0)
    image = np.empty(settings.frame_shape, np.uint8)
    try:
        with ImageReader(
            chunk.file,
            settings,
            box=box,
            sound_track=chunk.track,
            stretches=((start, start + _SEEK_SECONDS),),
        ) as reader:
            if not reader.read_into(image):
                return None
    except DecodeError:
        return None
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def waveform(
    chunks: Sequence[Chunk], kept: Sequence[Loudness | None] | None = None
) -> dict[str, object]:
    """Return the loudness of a recording in steps of equal length, from 0 for -60 dB to 255.

    Where there is no sound, or none that can be decoded, it is 0.

    Args:
        chunks: the recording.
        kept: loudness of each file, if it is kept; None reads it.
    """
    duration = recording_duration(chunks)
    step = max(0.05, duration / _MAX_LEVELS)
    levels = np.zeros(int(np.ceil(duration / step)), np.uint8)
    for heard in map(_heard, chunks) if kept is None else kept:
        if heard is None:
            continue
        places = np.clip((heard.times / step).astype(int), 0, len(levels) - 1)
        loud = np.clip(255 * (1 - heard.levels / _FLOOR_DB), 0, 255).astype(np.uint8)
        np.maximum.at(levels, places, loud)
    return {"step": step, "levels": levels.tolist()}


def _heard(chunk: Chunk) -> Loudness | None:
    try:
        return read_loudness(chunk)
    except DecodeError:
        return None


class PlayableCopies:
    """Small copies of files that a browser cannot play, made one at a time, on demand.

    Args:
        beside: file in whose folder they lie, in a private one, until `stop`.
    """

    def __init__(self, beside: Path) -> None:
        self._beside = beside
        self._stack = ExitStack()
        self._folder: Path | None = None  # made with the first copy
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self.number: int | None = None
        """Number of the file of which a copy is being made."""
        self.share = 0.0
        """Fraction of it that is done."""
        self.problem = ""
        """Why the last copy could not be made."""

    def path(self, number: int) -> Path | None:
        """Return the copy of a file, if it is there."""
        if self._folder is None:
            return None
        path = self._folder / f"{number}.mp4"
        return path if path.exists() else None

    def start(self, number: int, chunk: Chunk) -> None:
        """Start making a copy in a thread, unless one is being made."""
        if self.number is not None or self.path(number):
            return
        if self._folder is None:
            private = private_folder(self._beside.absolute().parent, prefix=".playable-")
            self._folder = self._stack.enter_context(private)
        self.number, self.share, self.problem = number, 0.0, ""
        self._thread = threading.Thread(target=self._make, args=(number, chunk, self._folder))
        self._thread.start()

    def stop(self) -> None:
        """Stop, wait until ffmpeg has ended, and remove the copies."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._stack.close()

    def _make(self, number: int, chunk: Chunk, folder: Path) -> None:
        part = folder / f"{number}.part.mp4"

        def follow(line: str) -> None:
            if self._stopping.is_set():
                raise _StoppedError
            done = line.removeprefix(_PROGRESS)
            if done != line and done.isdigit():
                self.share = min(int(done) / 10**6 / chunk.duration, 1.0)

        sound = [] if chunk.sound is None else ["-map", f"0:{chunk.sound}", "-c:a", "aac"]
        args = [
            *("-loglevel", "error", "-max_error_rate", "1", "-i", url(chunk.file)),
            *("-map", f"0:{chunk.video_stream}", "-vf", f"scale=-2:{_COPY_HEIGHT}"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-g", "30", "-pix_fmt", "yuv420p"),
            *sound,
            *("-movflags", "+faststart", "-progress", "-", "-y", url(part)),
        ]
        try:
            run(args, on_line=follow)
            part.rename(folder / f"{number}.mp4")
        except _StoppedError:
            pass
        except (UserError, OSError) as error:
            self.problem = f"No copy could be made of {chunk.path.name}: {error}"
        finally:
            part.unlink(missing_ok=True)
            self.number = None


class _StoppedError(Exception):
    """Signal that the command ends."""
