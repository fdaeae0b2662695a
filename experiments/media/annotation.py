"""Copies of videos with a panel drawn into their frames, and the text that is drawn in panels."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import av
import numpy as np
from matplotlib import get_data_path
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font
from PIL import ImageFont

from experiments.media.ffmpeg import (
    SAME_BYTES,
    SOUND_ENCODER,
    VIDEO_ENCODER,
    DiskFullError,
    fed_pipe,
    private_folder,
    run,
)
from experiments.media.piece_args import fit_filters
from experiments.media.recording import read_recording
from preprocess.video.ffmpeg import input_args
from preprocess.video.frame_reader import FrameFolderReader
from preprocess.video.transforms import FrameFit
from preprocess.video.video_file import UNKNOWN_CODEC, audio_tracks

FOLDER_RATE = 25
"""Frames per second at which a folder of frames is shown."""
# Named pipes in the private folder: raw frames of a folder, and panels with their times.
_FRAMES_FILE, _PANELS = "pictures.rgb", "panels.nut"
# Time base of the stream of panels.
_MILLISECONDS = Fraction(1, 1000)
_OUTPUT = (
    *VIDEO_ENCODER,
    *SAME_BYTES,
    # Each frame keeps its time. The encoder's own time base, one tick a frame, would round the
    # times of a video whose rate varies.
    *("-fps_mode", "passthrough", "-enc_time_base", "filter"),
    *("-map_metadata", "-1", "-map_chapters", "-1", "-movflags", "+faststart", "-f", "mp4"),
)


class Panel(Protocol):
    """A picture for the lower left of a video, which may change with time."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of every image, in pixels."""

    def images(self) -> Iterator[tuple[float, bytes]]:
        """Yield raw RGBA images, each with the time in seconds from which it is shown.

        Times count from the video's first frame and ascend from 0. The iterator does not end by
        itself, so that an image is ready for the last frame however long the video is.
        """


def annotate(
    path: Path,
    make_panel: Callable[[tuple[int, int]], Panel],
    out: Path,
    *,
    duration_seconds: float = 0.0,
    on_progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Write an H.264 copy of a video with a panel in its lower left.

    Every frame keeps its time and is turned upright. The sound becomes AAC: all tracks that FFmpeg
    can decode, with their languages and titles. Frames of another size than the first are fitted
    into it. An odd width or height gets one more black line. A folder of frames is shown at 25
    frames per second.

    Args:
        path: a video file, or a folder of frame000001.jpg and on.
        make_panel: makes the panel for frames of the given width and height.
        out: the .mp4 file, which appears when it is complete.
        duration_seconds: length of the video; used for the progress only.
        on_progress: called with the fraction of the work that is done.

    Raises:
        RenderError: if the video cannot be read or the copy cannot be written.
        DecodeError: if a frame of a folder cannot be read.
        OSError: if the disk is full.
    """

    def heard(line: str) -> None:
        name, _, value = line.partition("=")
        # ffmpeg's `-progress` writes NAME=VALUE lines; this one counts microseconds of output, and
        # is `N/A` until the first frame.
        if name == "out_time_us" and value.isdecimal():
            on_progress(min(int(value) / 1e6 / max(duration_seconds, 1e-9), 1.0))

    with private_folder(out.absolute().parent, prefix=".annotating-") as folder:
        with ExitStack() as stack:
            if path.is_dir():
                args = _folder_args(path, folder, make_panel, stack)
            else:
                args = _file_args(path, folder, make_panel, stack)
            _run([*args, "copy.mp4"], folder, heard)
        os.replace(folder / "copy.mp4", out)


def _run(args: list[str], folder: Path, heard: Callable[[str], None]) -> None:
    try:
        run(args, folder, heard)
    except DiskFullError as error:
        raise OSError(errno.ENOSPC, str(error), str(folder)) from error


def _file_args(
    path: Path, folder: Path, make_panel: Callable[[tuple[int, int]], Panel], stack: ExitStack
) -> list[str]:
    chunk = read_recording([path])[0]
    size = (chunk.width, chunk.height)
    panel = make_panel(size)
    stack.enter_context(fed_pipe(folder / _PANELS, partial(_write_panels, panel)))
    # Where the size changes on the way, ffmpeg would start its filters anew and lose panels.
    video_args = ["-reinit_filter", "0", *input_args(path)]
    fit = fit_filters(size, chunk.aspect, kept_size=size)
    fit.append(f"setsar={chunk.aspect.numerator}/{chunk.aspect.denominator}")
    chain = f"[0:{chunk.video_stream}]{','.join(fit)}"
    delay_seconds = max(chunk.video_start, 0.0)
    return _args(video_args, chain, _sound_args(path), delay_seconds=delay_seconds)


def _sound_args(path: Path) -> list[str]:
    """Arguments of ffmpeg that copy all sound tracks that it can decode."""
    args: list[str] = []
    # One that is unknown, such as the spatial sound of a telephone, would end the whole copy.
    known = [track for track in audio_tracks(path) if track.codec != UNKNOWN_CODEC]
    for number, track in enumerate(known):
        args += ["-map", f"0:a:{track.number}"]
        # No other metadata is copied, since it may tell more than a person means to pass on.
        for name, value in (("language", track.language), ("title", track.title)):
            args += [f"-metadata:s:a:{number}", f"{name}={value}"] if value else []
    return [*args, *SOUND_ENCODER] if args else []


def _folder_args(
    path: Path, folder: Path, make_panel: Callable[[tuple[int, int]], Panel], stack: ExitStack
) -> list[str]:
    with FrameFolderReader(path, fit=FrameFit((1, 1))) as reader:
        size = (reader.info.width, reader.info.height)
    panel = make_panel(size)
    stack.enter_context(fed_pipe(folder / _FRAMES_FILE, partial(_write_images, path, size)))
    stack.enter_context(fed_pipe(folder / _PANELS, partial(_write_panels, panel)))
    form = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}"]
    video_args = [*form, "-r", str(FOLDER_RATE), "-i", _FRAMES_FILE]
    return _args(video_args, "[0:v]pad=ceil(iw/2)*2:ceil(ih/2)*2", [], delay_seconds=0.0)


def _args(
    video_args: list[str], chain: str, sound: list[str], *, delay_seconds: float
) -> list[str]:
    """Arguments of ffmpeg without the name of the output.

    Args:
        video_args: arguments of the video input.
        chain: filters before the panel. They make even sides, which H.264 needs.
        sound: arguments of the output's sound.
        delay_seconds: time at which the first frame is shown.
    """
    graph = [
        f"{chain}[shown]",
        # Panels count from the first frame. Rounded down to their time base, none begins after its
        # frame.
        f"[1:v]setpts=PTS+{math.floor(delay_seconds * 1000) / 1000}/TB[panel]",
        # The stream of panels has no end, so the copy ends with the video's frames.
        "[shown][panel]overlay=x=0:y=H-h:shortest=1[picture]",
    ]
    return [
        # An error rate of 1 lets ffmpeg go on past any number of damaged frames.
        *("-loglevel", "error", "-nostats", "-progress", "pipe:1", "-max_error_rate", "1"),
        *(*video_args, "-f", "nut", "-i", _PANELS),
        *("-filter_complex", ";".join(graph), "-map", "[picture]", *sound, *_OUTPUT),
    ]


def _write_panels(panel: Panel, pipe: BinaryIO) -> None:
    """Write the panel as a NUT stream, because a raw stream would show its images at one rate."""
    width, height = panel.size
    sink, last = _Sink(pipe), -1
    with av.open(sink, "w", format="nut") as container:
        stream = container.add_stream("rawvideo")
        stream.width, stream.height, stream.pix_fmt = width, height, "rgba"
        stream.time_base = stream.codec_context.time_base = _MILLISECONDS
        for seconds, image in panel.images():
            pixels = np.frombuffer(image, np.uint8).reshape(height, width, 4)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba")
            # Rounded down, and one less: no image is later than its picture.
            last = max(math.floor(seconds / _MILLISECONDS) - 1, last + 1)
            frame.pts, frame.time_base = last, _MILLISECONDS
            container.mux(stream.encode(frame))
            if sink.is_closed:
                return


class _Sink:
    """A file object for PyAV that writes to a pipe.

    It raises no error when the reader is gone, since PyAV would replace that error by its own.
    """

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self.is_closed = False
        """Whether the pipe's reader has closed it."""

    def write(self, data: bytes) -> int:
        """Write bytes to the pipe, or drop them if the reader is gone."""
        try:
            if not self.is_closed:
                self._pipe.write(data)
                self._pipe.flush()
        except BrokenPipeError:
            self.is_closed = True
        return len(data)


def _write_images(path: Path, size: tuple[int, int], pipe: BinaryIO) -> None:
    fit = FrameFit(size)
    frame = np.empty(fit.frame_shape, np.uint8)
    with FrameFolderReader(path, fit=fit) as reader:
        while reader.read_into(frame):
            pipe.write(frame.tobytes())


# Text in panels: any characters, fitted into a given width.

_ELLIPSIS = "…"
# A text is made smaller down to this fraction of its size and to this many pixels, then cut.
_SMALLEST_SHARE, _SMALLEST_PIXELS = 0.7, 9
_NO_LETTERS = "Last Resort"  # a font of boxes for all there is


def fitted(text: str, size: int, width: float) -> tuple[str, Any]:
    """Fit a text into one line of a given width, and choose the font to draw it with.

    A text that is too wide is made smaller, and then shortened. Characters that no installed font
    has are replaced by their codes.

    Args:
        text: any text.
        size: size of the letters, in pixels.
        width: width that the text must fit into, in pixels.

    Returns:
        The text as it is to be drawn, and a Pillow font.
    """
    text = " ".join(text.split())
    file = _font_file("".join(sorted({letter for letter in text if not letter.isspace()})))
    known = _letters(file)
    text = "".join(letter if ord(letter) in known else _code(letter) for letter in text)
    smallest = max(round(_SMALLEST_SHARE * size), min(size, _SMALLEST_PIXELS))
    for pixels in range(size, smallest - 1, -1):
        font = _font(file, pixels)
        if font.getlength(text) <= width:
            return text, font
    shorter = len(text)
    while shorter and font.getlength(text[:shorter] + _ELLIPSIS) > width:
        shorter -= 1
    return text[:shorter].rstrip() + _ELLIPSIS if shorter else "", font


@lru_cache(maxsize=256)
def _font_file(letters: str) -> str:
    """Path of Matplotlib's own sans-serif, or of an installed font that has all letters."""
    usual = f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    if _has_all(usual, letters):
        return usual
    installed = [font for font in fontManager.ttflist if not font.name.startswith(_NO_LETTERS)]
    # Sorted, so that the same machine draws the same picture each time.
    others = sorted({font.fname for font in installed if font.style == "normal"})
    return next((file for file in others if _has_all(file, letters)), usual)


def _has_all(file: str, letters: str) -> bool:
    return _letters(file).issuperset(map(ord, letters))


@lru_cache(maxsize=256)
def _letters(file: str) -> frozenset[int]:
    """Code points for which a font has a glyph."""
    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # no longer there, or none that can be read
        return frozenset()


@lru_cache(maxsize=64)
def _font(file: str, size: int) -> Any:
    return ImageFont.truetype(file, size)


def _code(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode()
