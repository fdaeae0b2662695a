"""Move cuts to where they are least noticed: a quiet moment, or a change of shot.

`run` reads the loudness of all the sound while it scores, and keeps it; else only the sound near
each cut is read. Changes of shot are found in `shots`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import median_filter
from scipy.signal import find_peaks

from common.errors import InputError
from experiments.highlights.selection.scores import Floats
from experiments.highlights.selection.selection import ROUNDING, Segment
from experiments.highlights.selection.shots import at_once
from experiments.media.recording import Chunk
from preprocess.errors import DecodeError
from preprocess.video.sound import iter_sound, read_sound

MAX_SHIFT_SECONDS = 1.0
"""Largest distance by which a cut moves."""
INWARD = 2.0
"""Weight of a second that shortens a segment against one that lengthens it."""
SILENCE_DB = -60.0
BESIDE_SECONDS = 0.1
"""Distance from a quiet moment within which a change of shot counts as quiet too."""
_FLOOR_DB = -120.0  # of digital silence, whose loudness is minus infinity
_WORST_COST = 0.5  # seconds, of a moment that is only just quiet; silence costs nothing


class Candidates(NamedTuple):
    """Moments that are good to cut at.

    Args:
        times: times in seconds, (K,).
        costs: cost of each in seconds: a moment of cost c is as good as one of no cost that is
            c seconds farther away, (K,).
    """

    times: Floats
    costs: Floats


NOWHERE = Candidates(np.zeros(0), np.zeros(0))


def snap_cuts(
    segments: Sequence[Segment],
    *,
    duration: float,
    quiet: Candidates = NOWHERE,
    shots: ArrayLike = (),
    max_shift: float = MAX_SHIFT_SECONDS,
    min_length: float = 0.0,
    max_length: float | None = None,
    max_duration: float | None = None,
) -> list[Segment]:
    """Move the starts and ends of segments to the best moment near them, if there is one.

    The nearest moment is the best. One that shortens the segment counts as twice as far, and a
    quiet moment as farther by its cost. A change of shot is preferred to the quiet moment beside
    it; amid sound it is taken only where nothing near is quiet. A cut stays where it is at either
    end of the recording, where two segments touch, and where nothing near fits the limits.

    Args:
        segments: segments, sorted, without overlap.
        duration: length of the recording, in seconds.
        quiet: quiet moments, as `quiet_moments` gives them.
        shots: times of changes of shot, in seconds.
        max_shift: largest distance by which a cut may move, in seconds.
        min_length: shortest length that a segment may get; none loses more than half of itself.
        max_length: longest length that a segment may get.
        max_duration: longest length that all segments together may get.
    """
    shot_times = np.asarray(shots, np.float64)
    moments = np.concatenate([shot_times, quiet.times])
    costs = np.concatenate([_shot_costs(shot_times, quiet, max_shift), quiet.costs])
    near = _Nearby(moments, costs, max_shift)
    length = sum(one.length for one in segments)
    spare = np.inf if max_duration is None else max(0.0, max_duration - length)
    # Start and end of all segments between those of the recording: the edge before a start is at `2
    # * place`, that after an end at `2 * place + 3`.
    edges = [0.0, *(edge for one in segments for edge in (one.start, one.end)), duration]
    snapped: list[Segment] = []
    for place, one in enumerate(segments):
        # A segment that breaks a limit already may stay as it is, but get no worse.
        min_allowed = max(min(min_length, one.length), one.length / 2)
        max_allowed = max(np.inf if max_length is None else max_length, one.length)
        start, end, after = one.start, one.end, edges[2 * place + 3]
        if start - edges[2 * place] > ROUNDING:
            before = snapped[-1].end if snapped else 0.0
            longest = min(max_allowed, one.length + spare)
            start = near.best(start, -1, max(before, end - longest), end - min_allowed)
        # What a cut gives or takes is left for the cuts after it.
        spare -= one.start - start
        if after - end > ROUNDING:
            longest = min(max_allowed, end - start + spare)
            end = near.best(end, 1, start + min_allowed, min(after, start + longest))
        spare -= end - one.end
        snapped.append(replace(one, start=start, end=end))
    return snapped


def snap_note(before: Sequence[Segment], after: Sequence[Segment], shots: ArrayLike = ()) -> str:
    """Describe how many cuts `snap_cuts` moved, and to what.

    Args:
        before: segments before the move.
        after: the same segments after it.
        shots: times of changes of shot.
    """
    moved = [
        new
        for old, one in zip(before, after, strict=True)
        for was, new in ((old.start, one.start), (old.end, one.end))
        if new != was
    ]
    note = f"--snap moved {len(moved)} of {2 * len(after)} cuts"
    if not moved:
        return f"{note}."
    to_shots = int(np.isin(moved, np.asarray(shots, np.float64)).sum())
    return f"{note}: {len(moved) - to_shots} to quiet moments, {to_shots} to changes of shot."


def _shot_costs(shots: Floats, quiet: Candidates, max_shift: float) -> Floats:
    """Costs of changes of shot, (S,), such that none is chosen at the price of a cut word.

    Beside a quiet moment, picture and sound both allow the cut: the change of shot wins against
    that moment, on whichever side it lies. Amid sound it costs more than the farthest quiet
    moment. Without a quiet moment the cut was amid sound before, so nothing is lost.
    """
    apart = np.abs(shots[:, None] - quiet.times)  # (S, K)
    beside = np.where(apart <= BESIDE_SECONDS, quiet.costs - INWARD * BESIDE_SECONDS, np.inf)
    amid_sound = INWARD * max_shift + 2 * _WORST_COST
    return beside.min(axis=1, initial=amid_sound)


@dataclass(frozen=True)
class _Nearby:
    """Candidates (K,), their costs (K,), and the largest distance of a move, in seconds."""

    moments: Floats
    costs: Floats
    max_shift: float

    def best(self, cut: float, outward: int, low: float, high: float) -> float:
        """Best moment for a cut in [low, high], or the cut itself if there is none.

        Args:
            cut: time of the cut, in seconds.
            outward: 1 if a later cut lengthens the segment, -1 if an earlier one does.
            low: earliest moment allowed.
            high: latest moment allowed.
        """
        shifts = (self.moments - cut) * outward
        able = np.abs(shifts) <= self.max_shift
        able &= (self.moments >= low) & (self.moments <= high)
        if not able.any():
            return cut
        far = np.where(shifts < 0, -INWARD * shifts, shifts) + self.costs
        return float(self.moments[np.argmin(np.where(able, far, np.inf))])


def quiet_moments(
    envelope: ArrayLike,
    step: float,
    *,
    start: float = 0.0,
    below: float = 6.0,
    context: float = 10.0,
) -> Candidates:
    """Find pauses: moments whose loudness is a minimum well below its surroundings.

    Of a longer pause, both ends and the middle are returned. Silence, below -60 dB, is quiet
    whatever surrounds it.

    Args:
        envelope: loudness in dB, (M,); minus infinity is allowed.
        step: seconds from one value to the next.
        start: time of the first value, in seconds.
        below: decibels by which a minimum must lie under the median of its surroundings.
        context: length of the surroundings, in seconds.

    Raises:
        InputError: if a value is NaN or plus infinity, or the step is not positive.
    """
    raw = np.asarray(envelope, np.float64)
    if raw.ndim != 1 or np.isnan(raw).any() or np.isposinf(raw).any():
        raise InputError(f"envelope must be (M,) values in dB. Received shape {raw.shape}.")
    if not step > 0:
        raise InputError(f"step must be positive. Received {step}.")
    if not len(raw):
        return NOWHERE
    loudness = np.maximum(raw, _FLOOR_DB)
    width = min(len(loudness), max(3, round(context / step)))
    depth = median_filter(loudness, size=width, mode="nearest") - loudness
    # `find_peaks` finds no peak at an end; with a wall there a pause may begin or end the sound.
    # The walls are one value, hence the 1 that is subtracted below.
    walled = np.concatenate([[-np.inf], -loudness, [-np.inf]])
    pauses = find_peaks(walled, plateau_size=1)[1]
    edges = np.stack([pauses["left_edges"], pauses["right_edges"]]) - 1  # (2, pauses)
    places = np.unique(np.concatenate([*edges, edges.sum(axis=0) // 2]))
    silent = loudness[places] <= SILENCE_DB
    places = places[silent | (depth[places] >= below)]
    deep = np.maximum(depth[places], below)
    costs = np.where(loudness[places] <= SILENCE_DB, 0.0, _WORST_COST * below / deep)
    return Candidates(start + places * step, costs)


STEP_SECONDS = 0.02  # of the loudness
BLOCK_SECONDS = 30.0
"""Seconds of sound that `read_loudness` reads at a time."""
_AROUND = 6.0  # heard before and after a cut; what is loud is judged by it
_SAMPLE_RATE = 16000


def quiet_near(
    chunks: Sequence[Chunk],
    segments: Sequence[Segment],
    *,
    on_progress: Callable[[float], object] = lambda share: None,
) -> Candidates:
    """Find quiet moments within some seconds of each start and end.

    Args:
        chunks: the recording.
        segments: segments whose starts and ends count.
        on_progress: that of `shots_near`.

    Raises:
        DecodeError: if the sound of a chunk cannot be read.
    """
    cuts = sorted({edge for one in segments for edge in (one.start, one.end)})
    places = [(chunk, cut) for cut in cuts for chunk in chunks if _holds(chunk, cut)]
    found = at_once(lambda one: _near(*one), places, on_progress)
    if not found:
        return NOWHERE
    times = np.concatenate([each.times for each in found])
    costs = np.concatenate([each.costs for each in found])
    return Candidates(times, costs)


class Loudness(NamedTuple):
    """Loudness of a file's sound, in steps of 20 ms.

    Args:
        times: middles of the steps, in seconds of the recording, (M,).
        levels: loudness of each in dB, (M,); silence is minus infinity.
    """

    times: Floats
    levels: Floats


def read_loudness(
    chunk: Chunk, *, is_stopped: Callable[[], bool] = lambda: False
) -> Loudness | None:
    """Read the loudness of all of a file's sound, as far as it can be decoded.

    Args:
        chunk: the file.
        is_stopped: asked after each block of `BLOCK_SECONDS`; True ends the reading.

    Returns:
        None for a file without sound.

    Raises:
        DecodeError: if the file cannot be opened.
    """
    blocks = iter_sound(
        chunk.file, sample_rate=_SAMPLE_RATE, track=chunk.track, block_seconds=BLOCK_SECONDS
    )
    if blocks is None:
        return None
    levels = [np.zeros(0)]
    with suppress(DecodeError):  # what was decoded before counts
        # Blocks are whole numbers of steps, but for the last.
        for block in blocks:
            if is_stopped():
                break
            levels.append(loudness_db(block.samples, block.sample_rate))
    # As precise as it is kept, so that a second run moves the cuts to the same moments.
    found = np.concatenate(levels).astype(np.float32).astype(np.float64)
    zero = chunk.offset + chunk.video_start
    middles = np.arange(len(found), dtype=np.float64) + 0.5
    return Loudness(np.asarray(zero + STEP_SECONDS * middles, np.float64), found)


def quiet_in(loudness: Iterable[Loudness | None], segments: Sequence[Segment]) -> Candidates:
    """Find quiet moments within some seconds of each start and end, in loudness that was read.

    They are those of `quiet_near`, which reads the sound near each cut instead.

    Args:
        loudness: loudness of each file of the recording, or None for one without sound.
        segments: segments whose starts and ends count.
    """
    cuts = sorted({edge for one in segments for edge in (one.start, one.end)})
    found = [NOWHERE]
    for heard in loudness:
        if heard is None or not len(heard.times):
            continue
        ends = heard.times[0] - STEP_SECONDS, heard.times[-1] + STEP_SECONDS
        for cut in cuts:
            if not ends[0] <= cut <= ends[1]:
                continue
            near = slice(*np.searchsorted(heard.times, (cut - _AROUND, cut + _AROUND)).tolist())
            times = heard.times[near]
            found.append(quiet_moments(heard.levels[near], STEP_SECONDS, start=float(times[0])))
    return Candidates(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def loudness_db(samples: np.ndarray, sample_rate: int) -> Floats:
    """Loudness of each 20 ms of sound (N,) in [-1, 1]; 0 dB is a constant 1, silence -inf."""
    length = round(STEP_SECONDS * sample_rate)
    whole = samples[: len(samples) // length * length].astype(np.float64)
    power = np.square(whole).reshape(-1, length).mean(axis=1)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(power)


def _holds(chunk: Chunk, time: float) -> bool:
    return chunk.sound is not None and chunk.offset <= time <= chunk.offset + chunk.duration


def _near(chunk: Chunk, cut: float) -> Candidates:
    """Find quiet moments near a cut, in seconds of the recording."""
    zero = chunk.offset + chunk.video_start  # where the sound's clock stands at 0
    # On the steps of `read_loudness`, so that both find the same moments.
    start = max(math.floor((cut - zero - _AROUND) / STEP_SECONDS) * STEP_SECONDS, 0.0)
    sound = read_sound(
        chunk.file,
        sample_rate=_SAMPLE_RATE,
        start=start,
        duration=cut - zero + _AROUND - start,
        track=chunk.track,
    )
    if sound is None or not len(sound.samples):
        return NOWHERE
    loudness = loudness_db(sound.samples, sound.sample_rate)
    middle = zero + sound.start_seconds + STEP_SECONDS / 2
    return quiet_moments(loudness, STEP_SECONDS, start=middle)
