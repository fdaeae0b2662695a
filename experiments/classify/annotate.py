"""A copy of a video with its classes drawn into the picture."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.classify.tables import Row
from experiments.highlights.rendering.ffmpeg import SAME_BYTES
from preprocess.containers import input_words
from preprocess.decode import VideoReader, probe
from preprocess.errors import WriteError
from preprocess.transforms import FrameFit

_USUAL_FPS = 25.0
_FASTEST_FPS = 120.0


def draw_video(path: Path, rows: Iterable[Row], out: Path) -> None:
    """Write an H.264 copy of a video, with sound, each picture showing the classes of its row.

    Pictures keep the time they had: at a variable rate they are repeated or left out. Those
    between two rows show the classes of the row before.

    Args:
        path: the video.
        rows: its rows, in order.
        out: the .mp4 file, which appears when it is complete.

    Raises:
        WriteError: if it cannot be written.
        OSError: if there is no room for it.
    """
    info = probe(path)
    size = (info.width + info.width % 2, info.height + info.height % 2)  # as H.264 needs
    fps = min(info.fps or _USUAL_FPS, _FASTEST_FPS)
    temporary = out.with_name(f".{out.name}.part")
    temporary.unlink(missing_ok=True)  # into which an encoder whose owner died may still write
    encoder = _encoder(path, size, fps, temporary)
    assert encoder.stdin is not None
    assert encoder.stderr is not None
    try:
        for picture in _at_constant_rate(_drawn(path, rows, size), fps):
            encoder.stdin.write(picture.tobytes())
        encoder.stdin.close()
        said = encoder.stderr.read().decode(errors="replace").strip()
        if encoder.wait() != 0:
            raise _not_encoded(out, said)
        os.replace(temporary, out)
    except BrokenPipeError:
        said = encoder.stderr.read().decode(errors="replace").strip()
        raise _not_encoded(out, said) from None
    finally:
        encoder.kill()
        encoder.wait()
        temporary.unlink(missing_ok=True)


def _not_encoded(out: Path, said: str) -> Exception:
    """By what ffmpeg said."""
    full = os.strerror(errno.ENOSPC)
    if full in said:
        return OSError(errno.ENOSPC, full, str(out))
    return WriteError(f"{out} could not be encoded: {said.splitlines()[-1:]}")


def _encoder(path: Path, size: tuple[int, int], fps: float, out: Path) -> subprocess.Popen:
    """ffmpeg, taking raw RGB pictures; the sound, if there is any, is the original's."""
    import imageio_ffmpeg

    pictures = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}"]
    words = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-nostdin"),
        *(*pictures, "-r", f"{fps:.6f}", "-i", "-", *input_words(path)),
        *("-map", "0:v", "-map", "1:a:0?", "-c:v", "libx264", "-preset", "veryfast", "-crf", "23"),
        *(*SAME_BYTES, "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "160k"),
        *("-shortest", "-movflags", "+faststart"),
        *("-f", "mp4", f"file:{out.absolute()}"),
    ]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE)


def _drawn(
    path: Path, rows: Iterable[Row], size: tuple[int, int]
) -> Iterator[tuple[float, NDArray[Any]]]:
    """Times and pictures, the classes drawn in."""
    rows = iter(rows)
    shown, following = None, next(rows, None)
    panel: Panel | None = None
    fit = FrameFit(size)
    with VideoReader(path, fit=fit) as video:
        frame = np.empty(fit.frame_shape, np.uint8)
        while video.read_into(frame):
            if following is not None and following.frame == video.num_given - 1:
                shown, following = following, next(rows, None)
                panel = Panel(shown, size)
            if panel is not None:
                panel.draw(frame)
            yield video.time_seconds, frame


def _at_constant_rate(
    pictures: Iterator[tuple[float, NDArray[Any]]], fps: float
) -> Iterator[NDArray[Any]]:
    """Each picture as often as its time on the screen asks for."""
    start, last, num_given = None, None, 0
    for seconds, picture in pictures:
        start = seconds if start is None else start
        due = round((seconds - start) * fps)  # number of the first output picture that shows it
        while last is not None and num_given < due:
            yield last
            num_given += 1
        last = picture.copy()
    if last is not None:
        yield last


class Panel:
    """The classes of a row and their probabilities, as bars at the lower left of a picture.

    Args:
        row: what is drawn.
        size: width and height of the picture, in pixels.
    """

    def __init__(self, row: Row, size: tuple[int, int]) -> None:
        from PIL import Image, ImageDraw

        line = max(round(size[1] / 22), 14)
        num_lines = min(len(row.labels), max((size[1] - line) // line, 1))
        width = min(size[0], 18 * line)
        image = Image.new("RGB", (width, num_lines * line + line // 2), (16, 20, 26))
        draw = ImageDraw.Draw(image)
        font = _font(round(line * 0.72))
        best = list(zip(row.labels, row.probabilities, strict=True))[:num_lines]
        for number, (label, probability) in enumerate(best):
            top = line // 4 + number * line
            bar = (0, top + 1, round(width * probability), top + line - 2)
            draw.rectangle(bar, fill=(0, 92, 148) if number == 0 else (58, 67, 77))
            draw.text((line // 3, top), f"{probability:4.0%}  {label}", (240, 244, 248), font)
        self._pixels = np.asarray(image)[-size[1] :]

    def draw(self, frame: NDArray[np.uint8]) -> None:
        """Blend into an RGB frame."""
        height, width = self._pixels.shape[:2]
        place = frame[frame.shape[0] - height :, :width]
        place[:] = (place.astype(np.uint16) + 3 * self._pixels.astype(np.uint16)) // 4


def _font(size: int) -> Any:
    """Matplotlib's own sans-serif, so that nothing need be installed."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)
