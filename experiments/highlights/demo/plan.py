"""Plan of the demo stream: what happens when, drawn from the seed before anything is rendered.

An excited moment is seen in the face and heard in the voice at once. The other moments show one
sign of it without the rest, so that no single sign tells: a *bang*, a loud sound of the game,
beside a calm face; a *yawn* or a silent *laugh*, an open mouth without a sound; a *flash* of the
game. They are labelled as nothing. When the streamer speaks, shouts and draws breath is planned
too, for the mouth and the sound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from preprocess.errors import PreprocessError

CLIPS_PER_GROUP = 3
LEAST_SECONDS = 8.0  # of a clip, or of a chunk of the recording
# Frame rates of the clips, in turn; they differ, as those of real clips do.
_RATES = (Fraction(30), Fraction(30), Fraction(30000, 1001), Fraction(25))
_RECORDING_RATE = Fraction(30)
_RECORDING = 0  # its number; clips are numbered from 1

_SHORTEST, _LONGEST = 4.0, 12.0  # of excited moments, in seconds
_SHORT_ONES = 2.5  # the higher, the fewer are long; their mean is 6.3 s
_MEAN_LENGTH = _SHORTEST + (_LONGEST - _SHORTEST) / (_SHORT_ONES + 1)
_RECORDING_SHARE = 0.12
_LEAST_GAP = 12.0  # between two of the recording, in seconds
_MARGIN = 1.5  # between moments of a clip, and to its ends, in seconds
_NUM_DRAWS = 50  # of the recording's plan; the one with a moment deepest across a border is taken

# The place of a purpose is part of its seed: new ones go to the end, or the stream changes.
_PURPOSES = (
    *("lengths", "recording", "moments"),
    *("look", "palette", "pitch"),  # of a group
    *("voice", "face", "blinks", "cuts"),  # of a stream
    *("syllable", "loud", "second", "scene"),  # of one of its parts
)


class Kind(StrEnum):
    """Kinds of moments in the stream."""

    EXCITED = "excited"
    BANG = "bang"
    YAWN = "yawn"
    LAUGH = "laugh"
    FLASH = "flash"


class Moment(NamedTuple):
    """Moment [start, end) of the stream, in seconds."""

    start: float
    end: float
    kind: Kind


_DISTRACTORS = {  # probability, shortest and longest length in seconds
    Kind.BANG: (0.35, 2.0, 4.5),
    Kind.YAWN: (0.2, 2.0, 3.5),
    Kind.LAUGH: (0.2, 2.0, 4.0),
    Kind.FLASH: (0.25, 0.6, 0.6),
}


@dataclass(frozen=True)
class StreamPlan:
    """Plan of one clip, or of the recording.

    Args:
        seed: seed of the whole stream.
        number: number of the clip, from 1; 0 for the recording.
        group: group whose clips look alike, from 1; the recording is a group of its own, 0.
        rate: frames per second.
        num_frames: number of frames.
        moments: moments, sorted, without overlap.
    """

    seed: int
    number: int
    group: int
    rate: Fraction
    num_frames: int
    moments: tuple[Moment, ...]

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return float(self.num_frames / self.rate)

    def of(self, *kinds: Kind) -> list[Moment]:
        """Return the moments of some kinds, in order."""
        return [moment for moment in self.moments if moment.kind in kinds]

    def random(self, purpose: str, *numbers: int) -> np.random.Generator:
        """Generator of its own for a purpose, independent of all other draws."""
        return random_numbers(self.seed, purpose, self.number, *numbers)


def random_numbers(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """Generator of its own for a purpose and some numbers."""
    return np.random.default_rng((seed, _PURPOSES.index(purpose), *numbers))


def plan_clips(num_clips: int, clip_seconds: float, seed: int) -> list[StreamPlan]:
    """Plan the labelled clips; two of three have one excited moment, about a fifth of their time.

    Raises:
        PreprocessError: if an argument is out of its range.
    """
    _check_counts(num_clips=num_clips)
    _check_seconds("clip_seconds", clip_seconds)
    excited = [number for number in range(1, num_clips + 1) if number % CLIPS_PER_GROUP != 0]
    rng = random_numbers(seed, "lengths")
    longest = min(_LONGEST, clip_seconds / 2)
    lengths = dict(zip(excited, _lengths(rng, len(excited), longest), strict=True))
    return [
        _plan_clip(number, clip_seconds, lengths.get(number), seed)
        for number in range(1, num_clips + 1)
    ]


def plan_recording(num_chunks: int, chunk_seconds: float, seed: int) -> StreamPlan:
    """Plan the recording: about an eighth is excited, and one moment crosses a chunk's end.

    Raises:
        PreprocessError: if an argument is out of its range.
    """
    _check_counts(num_chunks=num_chunks)
    _check_seconds("chunk_seconds", chunk_seconds)
    chunk_frames = round(chunk_seconds * _RECORDING_RATE)
    num_frames = num_chunks * chunk_frames
    duration = float(num_frames / _RECORDING_RATE)
    rng = random_numbers(seed, "recording")
    number = max(1, round(_RECORDING_SHARE * duration / _MEAN_LENGTH))
    lengths = _lengths(rng, number, min(_LONGEST, chunk_seconds / 2))
    borders = [float(chunk * chunk_frames / _RECORDING_RATE) for chunk in range(1, num_chunks)]
    # A highlight in two files is the hard case for scoring and rendering, so one is sought.
    draws = [_spread(rng, lengths, duration) for _ in range(_NUM_DRAWS)]
    spans = max(draws, key=lambda spans: _deepest(spans, borders))
    moments = _moments(random_numbers(seed, "moments", _RECORDING), spans, duration)
    return StreamPlan(seed, _RECORDING, 0, _RECORDING_RATE, num_frames, moments)


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise PreprocessError(f"{name} must be 1 or more. Received {value}.")


def _check_seconds(name: str, seconds: float) -> None:
    if not LEAST_SECONDS <= seconds <= 3600:
        raise PreprocessError(f"{name} must be {LEAST_SECONDS:g} to 3600. Received {seconds}.")


def _plan_clip(number: int, seconds: float, length: float | None, seed: int) -> StreamPlan:
    rng = random_numbers(seed, "moments", number)
    rate = _RATES[number % len(_RATES)]
    num_frames = round(seconds * rng.uniform(0.9, 1.1) * rate)
    duration = float(num_frames / rate)
    spans = []
    if length is not None:
        start = round(rng.uniform(_MARGIN, duration - length - _MARGIN), 3)
        spans = [(start, round(start + length, 3))]
    group = 1 + (number - 1) // CLIPS_PER_GROUP
    return StreamPlan(seed, number, group, rate, num_frames, _moments(rng, spans, duration))


def _lengths(rng: np.random.Generator, number: int, longest: float) -> list[float]:
    """Draw lengths of excited moments, one from each quantile, so that their sum hardly varies."""
    shares = rng.permutation((np.arange(number) + rng.uniform(size=number)) / number)
    return [float(_SHORTEST + (longest - _SHORTEST) * share**_SHORT_ONES) for share in shares]


def _spread(
    rng: np.random.Generator, lengths: Sequence[float], duration: float
) -> list[tuple[float, float]]:
    """Place spans of these lengths in the recording, far enough from each other."""
    least = np.full(len(lengths) + 1, _LEAST_GAP)
    least[[0, -1]] = _MARGIN
    spare = duration - sum(lengths) - least.sum()
    # A Dirichlet draw sums to 1: the time that is left is shared out among the gaps.
    gaps = least + spare * rng.dirichlet(np.full(len(least), 2.0))
    starts = np.cumsum(gaps[:-1]) + np.cumsum([0.0, *lengths[:-1]])
    return [
        (round(float(start), 3), round(float(start) + length, 3))
        for start, length in zip(starts, lengths, strict=True)
    ]


def _deepest(spans: Sequence[tuple[float, float]], borders: Sequence[float]) -> float:
    """Largest depth of a border inside a span, in seconds; negative if none lies inside."""
    depths = [min(border - start, end - border) for start, end in spans for border in borders]
    return max(depths, default=0.0)


def _moments(
    rng: np.random.Generator, spans: Sequence[tuple[float, float]], duration: float
) -> tuple[Moment, ...]:
    """Make the excited moments, and distractors between them."""
    edges = [0.0, *(edge for span in spans for edge in span), duration]
    calm = zip(edges[::2], edges[1::2], strict=True)
    found = [Moment(*span, Kind.EXCITED) for span in spans]
    return tuple(sorted(found + [one for span in calm for one in _distractors(rng, *span)]))


def _distractors(rng: np.random.Generator, start: float, end: float) -> list[Moment]:
    found: list[Moment] = []
    time = start + _MARGIN + rng.uniform(0, 1.5)
    often = [share for share, _, _ in _DISTRACTORS.values()]
    while True:
        kind = list(_DISTRACTORS)[rng.choice(len(_DISTRACTORS), p=often)]
        length = rng.uniform(*_DISTRACTORS[kind][1:])
        if time + length > end - _MARGIN:
            return found
        found.append(Moment(round(time, 3), round(time + length, 3), kind))
        time += length + _MARGIN + rng.uniform(0, 3)


Span = tuple[float, float]
_BREATH_SHARE = 0.8  # of the starts and ends of excited moments, which have a pause beside them
_BREATH_SECONDS = (0.3, 0.5)
_SHOUT_SECONDS = 0.6  # on average
_SHOUT_GAP = 0.06
_LONG_PAUSE_SHARE = 0.2


class Syllable(NamedTuple):
    """Syllable of speech or, louder and higher, of shouting; times in seconds."""

    start: float
    end: float
    is_shout: bool


def syllables(plan: StreamPlan) -> list[Syllable]:
    """Plan all syllables, in order.

    An excited moment is shouted from its start to its end. Elsewhere there are phrases with
    pauses of 150 to 400 ms, or longer, between them; who yawns or laughs says nothing.
    """
    rng = plan.random("voice")
    excited = plan.of(Kind.EXCITED)
    silent = [*_breaths(rng, excited), *(one[:2] for one in plan.of(Kind.YAWN, Kind.LAUGH))]
    taken = [*silent, *(one[:2] for one in excited)]
    spoken = [one for one in _speech(rng, plan.duration) if not _overlaps(one, taken)]
    shouted = [shout for one in excited for shout in _shouts(rng, one)]
    return sorted([*spoken, *shouted])


def _breaths(rng: np.random.Generator, excited: Sequence[Moment]) -> list[Span]:
    """Draw pauses that end where excitement begins, or begin where it ends."""
    spans = []
    for one in excited:
        before, after = rng.uniform(*_BREATH_SECONDS, 2)
        taken = rng.uniform(size=2) < _BREATH_SHARE
        spans += [(one.start - before, one.start)] if taken[0] else []
        spans += [(one.end, one.end + after)] if taken[1] else []
    return spans


def _speech(rng: np.random.Generator, duration: float) -> Iterator[Syllable]:
    """Yield phrases of a few syllables with pauses between them."""
    time = rng.uniform(0, 0.5)
    while True:
        for _ in range(rng.integers(3, 9)):
            length = rng.uniform(0.11, 0.24)
            if time + length > duration:
                return
            yield Syllable(time, time + length, False)
            time += length + rng.uniform(0.015, 0.05)
        is_long = rng.uniform() < _LONG_PAUSE_SHARE
        time += rng.uniform(0.7, 1.8) if is_long else rng.uniform(0.15, 0.4)


def _shouts(rng: np.random.Generator, one: Moment) -> list[Syllable]:
    """Make long syllables that fill a moment."""
    length = one.end - one.start
    parts = rng.dirichlet(np.full(round(length / _SHOUT_SECONDS), 8.0)) * (length + _SHOUT_GAP)
    ends = one.start + np.cumsum(parts) - _SHOUT_GAP
    starts = [one.start, *(ends[:-1] + _SHOUT_GAP)]
    return [Syllable(float(a), float(b), True) for a, b in zip(starts, ends, strict=True)]


def _overlaps(syllable: Syllable, spans: Sequence[Span]) -> bool:
    return any(syllable.start < end and start < syllable.end for start, end in spans)
