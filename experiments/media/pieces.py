"""The pieces that a reel is joined of, counted in pictures.

A cut is moved to the nearest picture, so pictures and sound keep their distance. Pieces have a
constant rate: players and editors agree on it, a cross-fade needs it, and no error of time can
add up. A picture of a variable-rate source is shown again until the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from common.errors import InputError
from experiments.media.recording import Chunk

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_LAYOUTS = {"mono": "mono", "5.1": "5.1", "5.1(side)": "5.1", "7.1": "7.1"}


@dataclass(frozen=True)
class Form:
    """What all pieces of a reel have in common.

    Args:
        rate: pictures a second.
        width: in pixels, even, as H.264 needs.
        height: likewise.
        aspect: width of a pixel by its height.
        sample_rate: of the sound; 0 for a reel without.
        layout: of the sound's channels.
    """

    rate: Fraction
    width: int
    height: int
    aspect: Fraction
    sample_rate: int
    layout: str

    def samples(self, num_frames: int) -> int:
        """Number of samples, rounded, that last as long as `num_frames` pictures."""
        return round(num_frames * self.sample_rate / self.rate)


def reel_form(chunks: Sequence[Chunk]) -> Form:
    """The picture of the first chunk and the sound of the first that has any."""
    first = chunks[0]
    sounding = next((one for one in chunks if one.sound is not None), None)
    sample_rate, layout = 0, ""
    if sounding is not None:
        sample_rate = sounding.sample_rate if sounding.sample_rate in _AAC_RATES else 48000
        layout = _LAYOUTS.get(sounding.layout, "stereo")
    width, height = (max(side // 2 * 2, 2) for side in (first.width, first.height))
    return Form(first.rate, width, height, first.aspect, sample_rate, layout)


@dataclass(frozen=True)
class Stretch:
    """Pictures of one chunk, [first, first + count), on a grid that holds its first picture."""

    chunk: Chunk
    first: int
    count: int

    def seconds(self, picture: int, rate: Fraction) -> float:
        """Time at which one of the pictures is shown, in seconds of the chunk."""
        return max(0.0, self.chunk.first_picture + float((self.first + picture) / rate))


Side = tuple[Stretch, ...]


@dataclass(frozen=True)
class Piece:
    """One side; or two of the same length, of which the first fades into the second."""

    sides: tuple[Side, ...]

    @property
    def num_frames(self) -> int:
        """Number of pictures."""
        return num_frames(self.sides[0])

    def time(self, picture: int, rate: Fraction) -> float:
        """Time of the recording, in seconds, that a picture mainly shows."""
        late = 2 * picture >= self.num_frames
        for stretch in self.sides[-1 if late else 0]:
            if picture < stretch.count:
                break
            picture -= stretch.count
        return stretch.chunk.offset + stretch.seconds(min(picture, stretch.count - 1), rate)


def num_frames(side: Side) -> int:
    """Number of pictures in some stretches."""
    return sum(stretch.count for stretch in side)


def plan(
    chunks: Sequence[Chunk],
    segments: Sequence[tuple[float, float]],
    crossfade: float,
    rate: Fraction,
) -> list[Piece]:
    """Pieces of some segments: what is shown alone, and what fades between two of them.

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
            ending = _part(sides[number - 1], before - head, before)
            pieces.append(Piece((ending, _part(side, 0, head))))
        if length > head + tail:
            pieces.append(Piece((_part(side, head, length - tail),)))
    return pieces


def _fades(
    sides: Sequence[Side], segments: Sequence[tuple[float, float]], fade: int, rate: Fraction
) -> list[int]:
    """Frames that fade before each side, and after the last: 0 at both ends of the reel.

    Each cut is moved to a picture, so a segment of just the length that is needed may be a
    picture short; the fade is then a picture shorter.

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
        if lacking > len(side):
            least = float((fades[number] + fades[number + 1]) / rate)
            raise InputError(
                f"A segment must last as long as its cross-fades, here {least:.3f} seconds. "
                f"Received {start:.3f} to {end:.3f}; leave it out or lower the crossfade."
            )
        if lacking > 0:
            shorter = number + 1 if fades[number + 1] >= fades[number] else number
            fades[shorter] = max(fades[shorter] - lacking, 0)
    return fades


def _side(chunks: Sequence[Chunk], start: float, end: float, rate: Fraction) -> Side:
    stretches = []
    for chunk in chunks:
        begin, stop = max(start - chunk.offset, 0.0), min(end - chunk.offset, chunk.duration)
        first, last = (_nearest(time - chunk.first_picture, rate) for time in (begin, stop))
        if begin < stop and first < last:
            stretches.append(Stretch(chunk, first, last - first))
    return tuple(stretches)


def _nearest(seconds: float, rate: Fraction) -> int:
    """The picture that begins nearest to a time; between two the later, so lengths are kept."""
    return math.floor(seconds * rate + 0.5 + 1e-6)


def _part(side: Side, start: int, stop: int) -> Side:
    """Pictures [start, stop) of a side."""
    kept, before = [], 0
    for one in side:
        low, high = max(start - before, 0), min(stop - before, one.count)
        if low < high:
            kept.append(replace(one, first=one.first + low, count=high - low))
        before += one.count
    return tuple(kept)
