"""Pieces from which a reel is joined, counted in frames.

A cut is moved to the nearest frame, so frames and sound stay in step. Pieces have a constant
rate: players and editors agree on it, a cross-fade needs it, and no error of time can add up. A
frame of a variable-rate source is repeated until the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from common.errors import InputError
from experiments.media.recording import Chunk

# Sample rates that AAC can have (ISO/IEC 14496-3); sound of any other rate is resampled.
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
# Channel layouts that are kept; all others become stereo.
_LAYOUTS = {"mono": "mono", "5.1": "5.1", "5.1(side)": "5.1", "7.1": "7.1"}


@dataclass(frozen=True)
class Form:
    """Rate, size and sound format that all pieces of a reel share.

    Args:
        rate: frames per second.
        width: width in pixels; even, as H.264 needs.
        height: height in pixels; even.
        aspect: width of a pixel divided by its height.
        sample_rate: samples of sound per second; 0 for a reel without sound.
        layout: layout of the sound's channels, in ffmpeg's words.
    """

    rate: Fraction
    width: int
    height: int
    aspect: Fraction
    sample_rate: int
    layout: str

    def samples(self, num_frames: int) -> int:
        """Number of samples of sound, rounded, that last as long as `num_frames` frames."""
        return round(num_frames * self.sample_rate / self.rate)


def reel_form(chunks: Sequence[Chunk]) -> Form:
    """Form of a reel: size and rate of the first chunk, sound of the first that has any."""
    first = chunks[0]
    sounding = next((one for one in chunks if one.sound is not None), None)
    sample_rate, layout = 0, ""
    if sounding is not None:
        sample_rate = sounding.sample_rate if sounding.sample_rate in _AAC_RATES else 48000
        layout = _LAYOUTS.get(sounding.layout, "stereo")
    width, height = (max(side // 2 * 2, 2) for side in (first.width, first.height))
    return Form(first.rate, width, height, first.aspect, sample_rate, layout)


@dataclass(frozen=True)
class FrameRange:
    """Frames [first, first + count) of one chunk, on a grid that begins at its first frame."""

    chunk: Chunk
    first: int
    count: int

    def seconds(self, frame: int, rate: Fraction) -> float:
        """Time at which a frame of the stretch is shown, in seconds of the chunk."""
        return max(0.0, self.chunk.video_start + float((self.first + frame) / rate))


Side = tuple[FrameRange, ...]


@dataclass(frozen=True)
class Piece:
    """A piece of a reel: one side, or two of equal length that fade into each other."""

    sides: tuple[Side, ...]

    @property
    def num_frames(self) -> int:
        """Number of frames of the piece."""
        return num_frames(self.sides[0])

    def time(self, frame: int, rate: Fraction) -> float:
        """Time of the recording, in seconds, that a frame of the piece mainly shows."""
        # In a cross-fade the second side is the stronger one from the middle on.
        late = 2 * frame >= self.num_frames
        for stretch in self.sides[-1 if late else 0]:
            if frame < stretch.count:
                break
            frame -= stretch.count
        return stretch.chunk.offset + stretch.seconds(min(frame, stretch.count - 1), rate)


def num_frames(side: Side) -> int:
    """Number of frames of a side."""
    return sum(stretch.count for stretch in side)


def plan(
    chunks: Sequence[Chunk],
    segments: Sequence[tuple[float, float]],
    crossfade: float,
    rate: Fraction,
) -> list[Piece]:
    """Divide segments into pieces: those shown alone, and the cross-fades between them.

    Args:
        chunks: the recording.
        segments: start and end of each, in seconds of the recording, in order.
        crossfade: length of a cross-fade, in seconds; 0 for hard cuts.
        rate: frames per second of the reel.

    Raises:
        InputError: if a segment is shorter than a picture or than its cross-fades.
    """
    sides = [_side(chunks, *segment, rate) for segment in segments]
    fades = _fades(sides, segments, round(crossfade * rate), rate)
    pieces: list[Piece] = []
    for number, side in enumerate(sides):
        length, head, tail = num_frames(side), fades[number], fades[number + 1]
        if head:
            before = num_frames(sides[number - 1])
            # The last frames of the side before fade into the first ones of this side.
            ending = _cut(sides[number - 1], before - head, before)
            pieces.append(Piece((ending, _cut(side, 0, head))))
        if length > head + tail:
            pieces.append(Piece((_cut(side, head, length - tail),)))
    return pieces


def _fades(
    sides: Sequence[Side], segments: Sequence[tuple[float, float]], fade: int, rate: Fraction
) -> list[int]:
    """Number of frames that fade before each side and after the last; 0 at the reel's ends.

    Each cut is moved to a frame, so a segment of just the length that is needed may be a frame
    short; the fade is then a frame shorter.

    Raises:
        InputError: if a segment is shorter than a picture or than its cross-fades.
    """
    fades = [0, *[fade] * (len(sides) - 1), 0]
    for number, (side, (start, end)) in enumerate(zip(sides, segments, strict=True)):
        length = num_frames(side)
        if length < 1:
            raise InputError(
                f"At {float(rate):g} frames per second a picture lasts {float(1 / rate):g} "
                f"seconds, and a segment must last as long. Received {start:.3f} to {end:.3f}; "
                "leave it out, or make it longer."
            )
        lacking = fades[number] + fades[number + 1] - length
        # Rounding can take one frame of each stretch of a side, and no more.
        if lacking > len(side):
            least = float((fades[number] + fades[number + 1]) / rate)
            raise InputError(
                f"A segment must last as long as its cross-fades, here {least:.3f} seconds. "
                f"Received {start:.3f} to {end:.3f}; leave it out or lower the crossfade."
            )
        if lacking > 0:
            # The longer of its two fades gives way.
            shorter = number + 1 if fades[number + 1] >= fades[number] else number
            fades[shorter] = max(fades[shorter] - lacking, 0)
    return fades


def _side(chunks: Sequence[Chunk], start: float, end: float, rate: Fraction) -> Side:
    stretches = []
    for chunk in chunks:
        begin, stop = max(start - chunk.offset, 0.0), min(end - chunk.offset, chunk.duration)
        first, last = (_nearest(time - chunk.video_start, rate) for time in (begin, stop))
        if begin < stop and first < last:
            stretches.append(FrameRange(chunk, first, last - first))
    return tuple(stretches)


def _nearest(seconds: float, rate: Fraction) -> int:
    """Number of the frame that begins nearest to a time.

    Midway between two it is the later one at the start and at the end of a segment alike, so that
    lengths are kept.
    """
    # A time midway may come out a little smaller in binary; the small term makes up for that.
    return math.floor(seconds * rate + 0.5 + 1e-6)


def _cut(side: Side, start: int, stop: int) -> Side:
    """Frames [start, stop) of a side."""
    kept, before = [], 0
    for one in side:
        low, high = max(start - before, 0), min(stop - before, one.count)
        if low < high:
            kept.append(replace(one, first=one.first + low, count=high - low))
        before += one.count
    return tuple(kept)
