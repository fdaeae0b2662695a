"""Rendering of a recording's segments to one reel file.

Each piece is sought and rendered on its own, so the cost follows the reel's length and not the
recording's; then all are joined without encoding the frames again. With an overlay, the
score is drawn at the reel's lower left: a small strip of images holds a bar and its number.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike

from common.errors import InputError
from common.files import not_written
from experiments.media.ffmpeg import DiskFullError, RenderError, complaints, private_folder, run
from experiments.media.piece_args import (
    STRIP_RATE,
    UPRIGHT_LEAD_SECONDS,
    find_turning_preroll,
    piece_args,
    upright_args,
)
from experiments.media.pieces import Form, FrameRange, Piece, plan, reel_form
from experiments.media.recording import Chunk, in_order, read_chunk, recording_duration
from preprocess.video.time_ranges import format_time
from preprocess.video.video_file import open_container

Scores = tuple[ArrayLike, ArrayLike]
_SHARE_OF_PIECES = 0.95  # of the progress; the rest is joining
_TOLERANCE_SECONDS = 0.1  # sound may end a little after the last frame


def render_reel(
    recording: Sequence[Path] | Sequence[Chunk],
    segments: Sequence[tuple[float, float]],
    out: Path,
    *,
    crossfade: float = 0.0,
    scores: Scores | None = None,
    threshold: float | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
    on_notice: Callable[[str], None] = warnings.warn,
    overwrite: bool = False,
) -> None:
    """Render the segments of a recording, one after the other, into a file.

    Cuts are moved to the nearest frame. The file is H.264 and AAC in MP4, with the frame size,
    aspect and rate of the first chunk; loudness is kept. All temporary files lie in one folder
    beside `out`, which is removed afterwards; `out` appears when it is complete.

    Args:
        recording: files of the recording in order, see `recording_chunks`; or their chunks.
        segments: starts and ends in seconds of the recording, sorted, without overlap.
        out: the .mp4 file.
        crossfade: time by which two segments overlap, in seconds.
        scores: times, ascending, and probabilities, (N,) each, to be drawn into the frames.
        threshold: probability that is marked in the drawing.
        on_progress: called with the fraction of the work that is done, up to 1.
        on_notice: called with sentences about damage that did not stop the work.
        overwrite: whether `out` may exist.

    Raises:
        InputError: if the segments, the crossfade or the scores are invalid.
        RenderError: if the recording cannot be read or the reel cannot be written.
    """
    paths = [one.path if isinstance(one, Chunk) else one for one in recording]
    check_output(out, paths, overwrite)
    if not (math.isfinite(crossfade) and crossfade >= 0):
        raise InputError(f"crossfade must be 0 or more seconds. Received {crossfade}.")
    if scores is not None:
        _check_scores(scores)
    chunks = in_order(one if isinstance(one, Chunk) else read_chunk(one) for one in recording)
    segments = _checked(segments, recording_duration(chunks))
    form = reel_form(chunks)
    pieces = plan(chunks, segments, crossfade, form.rate)
    with _explain_errors(out), private_folder(out.absolute().parent, prefix=".reel-") as folder:
        reel = _Reel(folder, form, pieces, (scores, threshold), on_progress, on_notice)
        reel.render()
        reel.join("reel.mp4")
        # Rendering takes minutes, in which another program may have written a file of that name.
        if not overwrite and out.exists():
            raise RenderError(_exists(out))
        os.replace(folder / "reel.mp4", out)
    on_progress(1.0)


def check_output(out: Path, recording: Sequence[Path], overwrite: bool) -> None:
    """Check that a reel of a recording can be written.

    Raises:
        RenderError: if it cannot.
    """
    if out.suffix.lower() != ".mp4":
        raise RenderError(f"A reel is an .mp4 file. Received {out}.")
    # By inode, since another path or a link may lead to the same file.
    if any(out.exists() and path.exists() and out.samefile(path) for path in recording):
        raise RenderError(f"{out} is the recording itself; give the reel another name.")
    check_writable(out, overwrite)


def check_writable(out: Path, overwrite: bool) -> None:
    """Check that a file can be written, before the work whose result it is.

    Raises:
        RenderError: if it cannot.
    """
    if out.is_dir() or (out.exists() and not overwrite):
        raise RenderError(_exists(out))
    folder = out.absolute().parent
    if not folder.is_dir():
        reason = "its folder is a file" if folder.exists() else "there is no such folder"
        raise RenderError(f"Cannot write to {out}: {reason}. Make {folder}, or name another.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RenderError(f"Cannot write to {out}: {folder} may not be written. Name another.")


def _exists(out: Path) -> str:
    return f"{out} exists. Give another name, or allow it to be overwritten."


def _check_scores(scores: Scores) -> None:
    times, probabilities = (np.asarray(values, float) for values in scores)
    if times.ndim != 1 or times.shape != probabilities.shape or not len(times):
        raise InputError(
            "scores must be as many times as probabilities. "
            f"Received shapes {times.shape} and {probabilities.shape}."
        )
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise InputError("The times of scores must be finite and ascending.")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise InputError("The probabilities of scores must be in [0, 1], and none NaN.")


def _checked(segments: Sequence[tuple[float, float]], duration: float) -> list[tuple[float, float]]:
    """Check segments, and move an end that rounding put past the recording's end back to it."""
    if not segments:
        raise InputError("A reel must have at least one segment.")
    before = 0.0
    for start, end in segments:
        if not start < end or not math.isfinite(end - start):
            raise InputError(f"A segment must end after its start. Received {start} to {end}.")
        if start < before:
            raise InputError(
                "Segments must be sorted, from 0 seconds on, and not overlap. "
                f"Received one that starts at {start} where {before} or more is due."
            )
        if start >= duration or end > duration + _TOLERANCE_SECONDS:
            raise InputError(
                f"Segments must be in the recording, which lasts {duration:.3f} seconds. "
                f"Received {start} to {end}."
            )
        before = end
    return [(start, min(end, duration)) for start, end in segments]


@contextmanager
def _explain_errors(out: Path) -> Iterator[None]:
    """Turn errors of writing a reel into messages for the user."""
    try:
        yield
    except BrokenPipeError:  # raised by `on_progress`, whose standard output is closed
        raise
    except DiskFullError as error:
        raise RenderError(f"{not_written(out, error)} Make room, and try again.") from error
    except OSError as error:
        raise RenderError(not_written(out, error.strerror or error)) from error


class _Reel:
    """One reel in the making: its pieces lie in a private folder, under names of our own."""

    def __init__(
        self,
        folder: Path,
        form: Form,
        pieces: Sequence[Piece],
        drawn: tuple[Scores | None, float | None],
        on_progress: Callable[[float], None],
        on_notice: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._form = form
        self._pieces = pieces
        self._scores, self._threshold = drawn
        self._on_progress = on_progress
        self._on_notice = on_notice
        self._total = sum(piece.num_frames for piece in pieces)
        self._frames = 0
        self._done = 0

    def render(self) -> None:
        """Render all pieces, one after the other; x264 uses all cores."""
        for number, piece in enumerate(self._pieces):
            strip = self._strip(piece)
            stop = self._done + piece.num_frames
            # The difference of two rounded sums: no rounding error adds up over the pieces.
            num_samples = self._form.samples(stop) - self._form.samples(self._done)
            self._frames = 0
            shown = self._upright(piece)
            args = piece_args(shown, self._form, num_samples, _name(number), strip)
            errors = complaints(run(args, self._folder, self._on_line))
            self._check_piece(piece, errors)
            self._done = stop

    def _upright(self, piece: Piece) -> Piece:
        """Return the piece with upright copies in place of stretches whose orientation changes."""
        sides, number = [], 0
        for side in piece.sides:
            stretches = []
            for stretch in side:
                preroll = find_turning_preroll(stretch, self._form.rate)
                if preroll is not None:
                    copy = self._folder / f"upright{number}.nut"
                    run(upright_args(stretch, preroll, self._form, copy.name), self._folder)
                    stretches.append(_copied(stretch, self._form, copy))
                else:
                    stretches.append(stretch)
                number += 1
            sides.append(tuple(stretches))
        return Piece(tuple(sides))

    def join(self, name: str) -> None:
        """Join the pieces into one file of the folder, without encoding their frames again."""
        (self._folder / "list.txt").write_text("\n".join(self._list_lines()), "ascii")
        args = [
            *("-loglevel", "error", "-nostats", "-progress", "pipe:1"),
            *("-f", "concat", "-i", "list.txt", "-map", "0:v", "-c:v", "copy"),
        ]
        if self._form.sample_rate:
            # Sound is encoded here for the first time, with times counted in samples, so that
            # rounded durations of pieces leave no gaps.
            args += ["-map", "0:a", "-af", "asetpts=N/SR/TB", "-c:a", "aac", "-b:a", "192k"]
        args += ["-map_metadata", "-1", "-movflags", "+faststart", "-f", "mp4", name]
        self._frames = 0
        errors = complaints(run(args, self._folder, self._on_join_line))
        if self._frames != self._total:
            raise RenderError(
                f"ffmpeg joined {self._frames} of {self._total} pictures: {errors[-1:]}"
            )

    def _list_lines(self) -> Iterator[str]:
        """Yield the lines of the list of pieces.

        Each sum of durations is exact to the microsecond, so that no rounding error adds up.
        """
        yield "ffconcat version 1.0"
        before, num_frames = 0, 0
        for number, piece in enumerate(self._pieces):
            num_frames += piece.num_frames
            after = round(num_frames * 10**6 / self._form.rate)
            yield f"file {_name(number)}"
            yield f"duration {(after - before) / 10**6:.6f}"
            before = after

    def _strip(self, piece: Piece) -> tuple[str, int, int] | None:
        if self._scores is None:
            return None
        rate, size = self._form.rate, strip_size(self._form.width, self._form.height)
        count = math.ceil(piece.num_frames / rate * STRIP_RATE)
        # For each image of the strip, the frame that is shown then.
        frames = (min(int(n * rate / STRIP_RATE), piece.num_frames - 1) for n in range(count))
        times = [piece.time(frame, rate) for frame in frames]
        write_strip(self._folder / "strip.rgba", times, self._scores, size, self._threshold)
        return "strip.rgba", *size

    def _check_piece(self, piece: Piece, errors: Sequence[str]) -> None:
        rate = self._form.rate
        start, end = piece.time(0, rate), piece.time(piece.num_frames - 1, rate)
        place = f"{format_time(start)} to {format_time(end)}"
        # ffmpeg may end a damaged file early and still report success.
        if self._frames != piece.num_frames:
            reason = errors[-1] if errors else "it gave no reason"
            raise RenderError(
                f"{place}: only {self._frames} of {piece.num_frames} pictures could be rendered. "
                f"ffmpeg: {reason}"
            )
        if errors:
            self._on_notice(f"{place} may look or sound damaged. ffmpeg: {errors[0]}")

    def _on_line(self, line: str) -> None:
        self._heard(line, self._done, 0.0, _SHARE_OF_PIECES)

    def _on_join_line(self, line: str) -> None:
        self._heard(line, 0, _SHARE_OF_PIECES, 0.999 - _SHARE_OF_PIECES)

    def _heard(self, line: str, before: int, base: float, width: float) -> None:
        """Take one line of ffmpeg's progress: `frame=123`, others, then `progress=continue`."""
        name, _, value = line.partition("=")
        if name == "frame":
            self._frames = int(value)
        if name == "progress":
            share = min((before + self._frames) / self._total, 1.0)
            self._on_progress(base + width * share)


def _copied(stretch: FrameRange, form: Form, copy: Path) -> FrameRange:
    """Return a stretch that is read from its upright copy, which has the reel's form."""
    with open_container(copy) as container:
        begin = (container.start_time or 0) / 10**6  # microseconds, PyAV's time base
    chunk = replace(
        stretch.chunk,
        copy=copy,
        video_start=UPRIGHT_LEAD_SECONDS - begin,
        width=form.width,
        height=form.height,
        aspect=form.aspect,
        video_stream=0,
        sound=None if stretch.chunk.sound is None else 1,
    )
    return replace(stretch, chunk=chunk, first=0)


def _name(number: int) -> str:
    return f"piece{number:06d}.mov"


# Colours of the strip as RGBA.
_GROUND = (16, 20, 26, 200)
_BAR = (0, 92, 148, 230)
_TEXT = (240, 244, 248, 255)
_MARK = (255, 190, 60, 255)


def strip_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the strip for frames of the given size, in pixels."""
    return min(width, max(width // 4, 48)), min(height, max(height // 20, 14))


def write_strip(
    path: Path,
    times: Iterable[float],
    scores: tuple[ArrayLike, ArrayLike],
    size: tuple[int, int],
    threshold: float | None = None,
) -> None:
    """Write raw RGBA images, one for each time, that show the score at that time.

    Args:
        path: file to write.
        times: times in seconds of the recording.
        scores: times, ascending, and probabilities; they are interpolated linearly.
        size: width and height in pixels.
        threshold: probability at which the bar is marked, or None.
    """
    shown = np.interp(list(times), np.asarray(scores[0], float), np.asarray(scores[1], float))
    with path.open("wb") as file:
        for score in shown:
            file.write(_image(round(100 * float(np.clip(score, 0, 1))), size, threshold))


@lru_cache(maxsize=101)  # one for each whole percentage
def _image(percent: int, size: tuple[int, int], threshold: float | None) -> bytes:
    width, height = size
    pixels = np.full((height, width, 4), _GROUND, np.uint8)
    cv2.rectangle(pixels, (0, 1), (round((width - 1) * percent / 100), height - 2), _BAR, -1)
    if threshold is not None:
        mark = round((width - 1) * threshold)
        cv2.line(pixels, (mark, 0), (mark, height - 1), _MARK, max(1, height // 16))
    scale = height / 32
    place = (round(6 * scale), round(height * 0.78))
    cv2.putText(
        pixels,
        f"{percent}%",
        place,
        cv2.FONT_HERSHEY_SIMPLEX,
        scale,
        _TEXT,
        thickness=max(1, round(2 * scale)),
        lineType=cv2.LINE_AA,
    )
    return pixels.tobytes()
