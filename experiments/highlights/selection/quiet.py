"""Quiet moments near the cuts of a reel, from the sound about each of them alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.highlights.selection.scores import Floats
from experiments.highlights.selection.segments import Segment
from experiments.highlights.selection.snapping import NOWHERE, Candidates, quiet_moments
from experiments.media.recording import Chunk
from preprocess.video.sound import read_sound

STEP_SECONDS = 0.02  # of the loudness
_AROUND_SECONDS = 6.0  # heard before and after a cut; what is loud is judged by it
_SAMPLE_RATE = 16000


def quiet_near(chunks: Sequence[Chunk], segments: Sequence[Segment]) -> Candidates:
    """Quiet moments within some seconds of each start and end.

    Raises:
        DecodeError: if the sound of a chunk cannot be read.
    """
    cuts = sorted({edge for one in segments for edge in (one.start, one.end)})
    found = [_near(chunk, cut) for cut in cuts for chunk in chunks if _holds(chunk, cut)]
    if not found:
        return NOWHERE
    times = np.concatenate([each.times for each in found])
    costs = np.concatenate([each.costs for each in found])
    return Candidates(times, costs)


def loudness_db(samples: np.ndarray, sample_rate: int) -> Floats:
    """Of each 20 ms of sound (N,) in [-1, 1]; 0 is full scale, silence minus infinity."""
    length = round(STEP_SECONDS * sample_rate)
    whole = samples[: len(samples) // length * length].astype(np.float64)
    power = np.square(whole).reshape(-1, length).mean(axis=1)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(power)


def _holds(chunk: Chunk, time: float) -> bool:
    return chunk.sound is not None and chunk.offset <= time <= chunk.offset + chunk.duration


def _near(chunk: Chunk, cut: float) -> Candidates:
    """In the time of the recording."""
    zero = chunk.offset + chunk.first_picture  # where the sound's clock stands at 0
    start = max(cut - zero - _AROUND_SECONDS, 0.0)
    sound = read_sound(
        chunk.file,
        sample_rate=_SAMPLE_RATE,
        start=start,
        duration=cut - zero + _AROUND_SECONDS - start,
        track=chunk.track,
    )
    if sound is None or not len(sound.samples):
        return NOWHERE
    loudness = loudness_db(sound.samples, sound.sample_rate)
    middle = zero + sound.start_seconds + STEP_SECONDS / 2
    return quiet_moments(loudness, STEP_SECONDS, start=middle)
