"""A copy of a video with what a model says of it drawn into the picture."""

from __future__ import annotations

import errno
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import numpy as np

from experiments.highlights.rendering.ffmpeg import SAME_BYTES, DiskFullError, run
from experiments.highlights.rendering.private_folder import private_folder
from experiments.highlights.rendering.recording import read_recording
from experiments.prediction.panel import Panel
from experiments.prediction.video_prediction import VideoPrediction
from preprocess.containers import input_words
from preprocess.frame_reader import FrameFolderReader
from preprocess.transforms import FrameFit

_PANEL_RATE = 10
_FOLDER_RATE = 25
_PICTURES, _PANELS = "pictures.rgb", "panels.rgba"
_RELEASE_SECONDS = 0.05
_EVEN = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # as H.264 needs
_OUTPUT = (
    *("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p"),
    *SAME_BYTES,
    *("-fps_mode", "passthrough", "-enc_time_base", "filter"),
    *("-map_metadata", "-1", "-map_chapters", "-1", "-movflags", "+faststart", "-f", "mp4"),
)


def annotate(
    path: Path,
    prediction: VideoPrediction,
    out: Path,
    *,
    on_progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Write an H.264 copy of a video with a panel in its lower left.

    Each picture is there at its time, upright, and so is the sound, as AAC. An odd width or height
    gets a black line more. A folder of frames is shown at 25 a second.

    Args:
        path: a video file, or a folder of frame000001.jpg and on.
        prediction: of it.
        out: the .mp4 file, which appears when it is complete.
        on_progress: is given the share of the work that is done.

    Raises:
        RenderError: if the video cannot be read, or the copy cannot be written.
        DecodeError: if a folder's picture cannot be read.
        OSError: if there is no room for it.
    """
    duration = prediction.duration_seconds

    def heard(line: str) -> None:
        name, _, value = line.partition("=")
        if name == "out_time_us" and value.isdecimal():
            on_progress(min(int(value) / 1e6 / max(duration, 1e-9), 1.0))

    with private_folder(out.absolute().parent, prefix=".annotating-") as folder:
        with ExitStack() as stack:
            if path.is_dir():
                words = _folder_words(path, folder, prediction, stack)
            else:
                words = _file_words(path, folder, prediction, stack)
            _run([*words, "copy.mp4"], folder, heard)
        os.replace(folder / "copy.mp4", out)


def _run(words: list[str], folder: Path, heard: Callable[[str], None]) -> None:
    try:
        run(words, folder, heard)
    except DiskFullError as error:
        raise OSError(errno.ENOSPC, str(error), str(folder)) from error


def _file_words(
    path: Path, folder: Path, prediction: VideoPrediction, stack: ExitStack
) -> list[str]:
    chunk = read_recording([path])[0]
    panel = Panel(prediction, (chunk.width, chunk.height))
    stack.enter_context(_fed(folder / _PANELS, _panels(panel)))
    pictures = input_words(path)
    sound = [] if chunk.sound is None else ["-map", f"0:{chunk.sound}", "-c:a", "aac"]
    return _words(pictures, f"0:{chunk.picture}", panel, max(chunk.first_picture, 0.0), sound)


def _folder_words(
    path: Path, folder: Path, prediction: VideoPrediction, stack: ExitStack
) -> list[str]:
    with FrameFolderReader(path, fit=FrameFit((1, 1))) as reader:
        size = (reader.info.width, reader.info.height)
    panel = Panel(prediction, size)
    stack.enter_context(_fed(folder / _PICTURES, _pictures(path, size)))
    stack.enter_context(_fed(folder / _PANELS, _panels(panel)))
    return _words(_raw("rgb24", size, _FOLDER_RATE, _PICTURES), "0:v", panel, 0.0, [])


def _words(
    pictures: list[str], stream: str, panel: Panel, delay_seconds: float, sound: list[str]
) -> list[str]:
    """The arguments of ffmpeg, less the output's name.

    Args:
        pictures: of the input.
        stream: of it, that is seen.
        panel: that is laid over it.
        delay_seconds: when the first picture is shown.
        sound: of the output.
    """
    graph = [
        f"[{stream}]{_EVEN}[shown]",
        f"[1:v]setpts=PTS+{math.floor(delay_seconds * 1000) / 1000}/TB[panel]",
        "[shown][panel]overlay=x=0:y=H-h:shortest=1[picture]",
    ]
    return [
        *("-loglevel", "error", "-nostats", "-progress", "pipe:1", "-max_error_rate", "1"),
        *(*pictures, *_raw("rgba", panel.size, _PANEL_RATE, _PANELS)),
        *("-filter_complex", ";".join(graph), "-map", "[picture]", *sound, *_OUTPUT),
    ]


def _raw(pixels: str, size: tuple[int, int], rate: int, name: str) -> list[str]:
    form = ["-f", "rawvideo", "-pix_fmt", pixels, "-s", f"{size[0]}x{size[1]}", "-r", str(rate)]
    return [*form, "-i", name]


def _panels(panel: Panel) -> Iterator[bytes]:
    """Without end: the last picture of the video is to be ffmpeg's last as well."""
    for number in count():
        yield panel.picture(number / _PANEL_RATE)


def _pictures(path: Path, size: tuple[int, int]) -> Iterator[bytes]:
    fit = FrameFit(size)
    frame = np.empty(fit.frame_shape, np.uint8)
    with FrameFolderReader(path, fit=fit) as reader:
        while reader.read_into(frame):
            yield frame.tobytes()


@contextmanager
def _fed(path: Path, pictures: Iterator[bytes]) -> Iterator[None]:
    """A named pipe, out of which ffmpeg takes pictures while they are made; nothing is stored.

    Raises:
        Exception: afterwards, what making them has raised.
    """
    raised: list[Exception] = []

    def feed() -> None:
        try:
            with path.open("wb") as pipe:
                for picture in pictures:
                    pipe.write(picture)
        except BrokenPipeError:  # ffmpeg has seen enough, or is gone
            pass
        except Exception as error:  # told by the thread that waits
            raised.append(error)

    os.mkfifo(path)
    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        yield
    finally:
        _release(path, feeder)
    if raised:
        raise raised[0]


def _release(path: Path, feeder: threading.Thread) -> None:
    """End a thread that may wait for a reader of a pipe, where none has come or will come again."""
    while feeder.is_alive():
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        feeder.join(_RELEASE_SECONDS)
