"""A copy of a video with a panel drawn into its pictures, for every command that makes one."""

from __future__ import annotations

import errno
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

import av
import numpy as np

from common.errors import InputError
from experiments.media.ffmpeg import SAME_BYTES, DiskFullError, RenderError, private_folder, run
from experiments.media.piece_args import fit_filters
from experiments.media.recording import read_recording
from preprocess.video.ffmpeg import input_words
from preprocess.video.frame_reader import FrameFolderReader
from preprocess.video.transforms import FrameFit
from preprocess.video.video_file import UNKNOWN_CODEC, audio_tracks

FOLDER_RATE = 25
"""Pictures a second that a folder of frames is shown at."""
_PICTURES, _PANELS = "pictures.rgb", "panels.nut"
_RELEASE_SECONDS = 0.05
_MILLISECONDS = Fraction(1, 1000)
_ENCODERS = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p")
_SOUND = ("-c:a", "aac")
_OUTPUT = (
    *_ENCODERS,
    *SAME_BYTES,
    *("-fps_mode", "passthrough", "-enc_time_base", "filter"),
    *("-map_metadata", "-1", "-map_chapters", "-1", "-movflags", "+faststart", "-f", "mp4"),
)


class Panel(Protocol):
    """What is drawn into the lower left of a video."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""

    def images(self) -> Iterator[tuple[float, bytes]]:
        """Raw RGBA images and the seconds after the video's first picture from which each is shown.

        Times ascend, from 0. There is no last one: an image is always ready for the last picture.
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

    Each picture is there at its time, upright, and so is the sound, as AAC: all tracks that FFmpeg
    can decode, with their languages and titles. Pictures of another size than the first are fitted
    into it. An odd width or height gets a black line more. A folder of frames is shown at 25 a
    second.

    Args:
        path: a video file, or a folder of frame000001.jpg and on.
        make_panel: given width and height of the pictures, returns what is drawn.
        out: the .mp4 file, which appears when it is complete.
        duration_seconds: of the video, for the progress.
        on_progress: is given the share of the work that is done.

    Raises:
        RenderError: if the video cannot be read, or the copy cannot be written.
        DecodeError: if a folder's picture cannot be read.
        OSError: if there is no room for it.
    """

    def heard(line: str) -> None:
        name, _, value = line.partition("=")
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


def require_encoders() -> None:
    """See that ffmpeg is there and can write H.264 and AAC.

    Raises:
        InputError: if not.
    """
    sources = ["-f", "lavfi", "-i", "color=s=16x16:d=0.1", "-f", "lavfi", "-i", "anullsrc"]
    args = ["-loglevel", "error", *sources, *_ENCODERS, *_SOUND, "-t", "0.1", "-f", "null", "-"]
    try:
        run(args)
    except RenderError as error:
        raise InputError(
            f"Annotated videos need an ffmpeg that writes H.264 and AAC. {error} Install "
            "imageio-ffmpeg, name another by IMAGEIO_FFMPEG_EXE, or leave them out."
        ) from error


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
    stack.enter_context(_fed(folder / _PANELS, partial(_write_panels, panel)))
    # Where the size changes on the way, ffmpeg would start its filters anew and lose panels.
    pictures = ["-reinit_filter", "0", *input_words(path)]
    fit = fit_filters(size, chunk.aspect, kept_size=size)
    fit.append(f"setsar={chunk.aspect.numerator}/{chunk.aspect.denominator}")
    chain = f"[0:{chunk.picture}]{','.join(fit)}"
    delay_seconds = max(chunk.first_picture, 0.0)
    return _args(pictures, chain, _sound_args(path), delay_seconds=delay_seconds)


def _sound_args(path: Path) -> list[str]:
    """The arguments that bring all sound tracks into the copy."""
    args: list[str] = []
    # One that is unknown, such as the spatial sound of a telephone, would end the whole copy.
    known = [track for track in audio_tracks(path) if track.codec != UNKNOWN_CODEC]
    for number, track in enumerate(known):
        args += ["-map", f"0:a:{track.number}"]
        # No other metadata is copied, since it may tell more than a person means to pass on.
        for name, value in (("language", track.language), ("title", track.title)):
            args += [f"-metadata:s:a:{number}", f"{name}={value}"] if value else []
    return [*args, *_SOUND] if args else []


def _folder_args(
    path: Path, folder: Path, make_panel: Callable[[tuple[int, int]], Panel], stack: ExitStack
) -> list[str]:
    with FrameFolderReader(path, fit=FrameFit((1, 1))) as reader:
        size = (reader.info.width, reader.info.height)
    panel = make_panel(size)
    stack.enter_context(_fed(folder / _PICTURES, partial(_write_pictures, path, size)))
    stack.enter_context(_fed(folder / _PANELS, partial(_write_panels, panel)))
    form = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}"]
    pictures = [*form, "-r", str(FOLDER_RATE), "-i", _PICTURES]
    return _args(pictures, "[0:v]pad=ceil(iw/2)*2:ceil(ih/2)*2", [], delay_seconds=0.0)


def _args(pictures: list[str], chain: str, sound: list[str], *, delay_seconds: float) -> list[str]:
    """The arguments of ffmpeg, less the output's name.

    Args:
        pictures: of the input.
        chain: the filters before the panel, which make even sides, as H.264 needs.
        sound: of the output.
        delay_seconds: when the first picture is shown.
    """
    graph = [
        f"{chain}[shown]",
        f"[1:v]setpts=PTS+{math.floor(delay_seconds * 1000) / 1000}/TB[panel]",
        "[shown][panel]overlay=x=0:y=H-h:shortest=1[picture]",
    ]
    return [
        *("-loglevel", "error", "-nostats", "-progress", "pipe:1", "-max_error_rate", "1"),
        *(*pictures, "-f", "nut", "-i", _PANELS),
        *("-filter_complex", ";".join(graph), "-map", "[picture]", *sound, *_OUTPUT),
    ]


def _write_panels(panel: Panel, pipe: BinaryIO) -> None:
    """A stream of images with their times; those of a raw stream would be equally far apart."""
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
    """A pipe that PyAV writes to.

    It raises no error that a reader who is gone causes, since PyAV would replace it by its own.
    """

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self.is_closed = False
        """Whether the reader of the pipe is gone."""

    def write(self, data: bytes) -> int:
        """Pass bytes on; without a reader they are lost."""
        try:
            if not self.is_closed:
                self._pipe.write(data)
                self._pipe.flush()
        except BrokenPipeError:
            self.is_closed = True
        return len(data)


def _write_pictures(path: Path, size: tuple[int, int], pipe: BinaryIO) -> None:
    fit = FrameFit(size)
    frame = np.empty(fit.frame_shape, np.uint8)
    with FrameFolderReader(path, fit=fit) as reader:
        while reader.read_into(frame):
            pipe.write(frame.tobytes())


@contextmanager
def _fed(path: Path, write: Callable[[BinaryIO], None]) -> Iterator[None]:
    """A named pipe, out of which ffmpeg takes what is written while it runs; nothing is stored.

    Raises:
        Exception: afterwards, what writing has raised.
    """
    raised: list[Exception] = []

    def feed() -> None:
        try:
            with path.open("wb") as pipe:
                write(pipe)
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
