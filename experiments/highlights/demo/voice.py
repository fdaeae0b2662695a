"""When the streamer of the demo speaks, shouts and draws breath, for the mouth and the sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from experiments.highlights.demo.plan import Kind, Moment, StreamPlan

Span = tuple[float, float]
_BREATH_SHARE = 0.8  # of the starts and ends of excited moments that have a pause beside them
_BREATH_SECONDS = (0.3, 0.5)
_SHOUT_SECONDS = 0.6  # on average
_SHOUT_GAP = 0.06
_LONG_PAUSE_SHARE = 0.2


class Syllable(NamedTuple):
    """One of speech or, louder and higher, of shouting; in seconds."""

    start: float
    end: float
    is_shout: bool


def syllables(plan: StreamPlan) -> list[Syllable]:
    """All that is said, in order.

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
    """Pauses that end where excitement begins, or begin where it ends."""
    spans = []
    for one in excited:
        before, after = rng.uniform(*_BREATH_SECONDS, 2)
        taken = rng.uniform(size=2) < _BREATH_SHARE
        spans += [(one.start - before, one.start)] if taken[0] else []
        spans += [(one.end, one.end + after)] if taken[1] else []
    return spans


def _speech(rng: np.random.Generator, duration: float) -> Iterator[Syllable]:
    """Phrases of a few syllables, and pauses."""
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
    """Long syllables that fill a moment."""
    length = one.end - one.start
    parts = rng.dirichlet(np.full(round(length / _SHOUT_SECONDS), 8.0)) * (length + _SHOUT_GAP)
    ends = one.start + np.cumsum(parts) - _SHOUT_GAP
    starts = [one.start, *(ends[:-1] + _SHOUT_GAP)]
    return [Syllable(float(a), float(b), True) for a, b in zip(starts, ends, strict=True)]


def _overlaps(syllable: Syllable, spans: Sequence[Span]) -> bool:
    return any(syllable.start < end and start < syllable.end for start, end in spans)
