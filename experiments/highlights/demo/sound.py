"""Sound of the demo stream: the streamer's voice, and the game with its music and bangs.

Each sound has random numbers of its own and a place in time, so a part of a stream can be made
without what is before it, and is the same as in the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from experiments.highlights.demo.plan import Kind, StreamPlan, random_numbers, syllables

Samples = NDArray[np.float32]
Wave = NDArray[np.floating[Any]]  # a sound while it is made

SAMPLE_RATE = 48000
_SPEECH_DB, _SHOUT_DB, _CHEER_DB, _BANG_DB = -24.0, -15.0, -25.0, -15.0  # of their mean power
_MUSIC_DB, _EFFECT_DB, _HISS_DB = -44.0, -36.0, -72.0
_VOWELS = ((730, 1090), (530, 1840), (400, 2000), (570, 840), (440, 1020))  # formants in Hz
_SHOUTED = ((880, 1500), (650, 2100), (700, 1150))
_HIGHEST_HZ = 6000
_BEATS = 4  # a second
_SCALE = (0, 3, 5, 7, 10, 12, 15)  # in semitones
_MUSIC_HZ = 220.0


class _Sound(NamedTuple):
    """Sound that begins at a time, in seconds."""

    start: float
    samples: Samples


def stream_sound(plan: StreamPlan, start: float, duration: float) -> Samples:
    """Compute a part of a stream's sound, (N,) in [-1, 1], at 48 kHz.

    Args:
        plan: plan of the stream.
        start: start of the part, in seconds.
        duration: length of the part, in seconds.
    """
    first, number = round(start * SAMPLE_RATE), round(duration * SAMPLE_RATE)
    mixed = np.zeros(number, np.float32)
    for sound in _sounds(plan, start, start + duration):
        place = round(sound.start * SAMPLE_RATE) - first
        low, high = max(place, 0), min(place + len(sound.samples), number)
        if low < high:
            mixed[low:high] += sound.samples[low - place : high - place]
    return np.clip(mixed, -1, 1)


def _sounds(plan: StreamPlan, start: float, end: float) -> Iterator[_Sound]:
    """Yield all sounds of a part of the stream."""
    pitch_hz = random_numbers(plan.seed, "pitch", plan.group).uniform(105, 190)
    for number, one in enumerate(syllables(plan)):
        if one.start < end and start < one.end:
            rng = plan.random("syllable", number)
            speak = _shout if one.is_shout else _speech
            yield _Sound(one.start, speak(rng, one.end - one.start, pitch_hz))
    for number, moment in enumerate(plan.of(Kind.EXCITED, Kind.BANG)):
        if moment.start < end and start < moment.end:
            rng = plan.random("loud", number)
            make = _cheer if moment.kind == Kind.EXCITED else _bang
            yield _Sound(moment.start, make(rng, moment.end - moment.start))
    # From two seconds before: the sounds of a second last on into the next.
    for second in range(max(int(start) - 2, 0), int(end) + 1):
        yield from _ground(plan, second)


def _speech(rng: np.random.Generator, seconds: float, pitch_hz: float) -> Samples:
    """Make a syllable: a vowel whose pitch falls."""
    times = _times(seconds)
    glide = np.linspace(rng.uniform(1, 1.15), rng.uniform(0.85, 1), len(times))
    formants = _VOWELS[rng.integers(len(_VOWELS))]
    sound = _voiced(pitch_hz * rng.uniform(0.85, 1.2) * glide, formants, 1.0)
    return _level(sound * _fades(times, 0.025, 0.05), _SPEECH_DB + rng.uniform(-3, 2))


def _shout(rng: np.random.Generator, seconds: float, pitch_hz: float) -> Samples:
    """Make a shout: a high open vowel with vibrato."""
    times = _times(seconds)
    vibrato = 1 + 0.045 * np.sin(2 * np.pi * rng.uniform(5, 7) * times + rng.uniform(0, 6))
    glide = 1 + 0.12 * np.sin(np.pi * times / seconds)
    formants = _SHOUTED[rng.integers(len(_SHOUTED))]
    pitch = 2.3 * pitch_hz * rng.uniform(0.85, 1.25) * vibrato * glide
    return _level(_voiced(pitch, formants, 0.5) * _fades(times, 0.03, 0.05), _SHOUT_DB)


def _cheer(rng: np.random.Generator, seconds: float) -> Samples:
    """Make a cheer: a band of noise that swells and ebbs."""
    times = _times(seconds)
    swell = 1 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.7, 1.5) * times + rng.uniform(0, 6))
    return _level(_noise(rng, len(times), 1000, 4500) * swell * _fades(times, 0.1, 0.1), _CHEER_DB)


def _bang(rng: np.random.Generator, seconds: float) -> Samples:
    """Make a loud sound of the game, as loud as shouting: explosion, fanfare or crowd."""
    times = _times(seconds)
    make = (_explosion, _fanfare, _crowd)[rng.integers(3)]
    return _level(make(rng, times) * _fades(times, 0.01, 0.3), _BANG_DB)


def _explosion(rng: np.random.Generator, times: Wave) -> Wave:
    rumble = _noise(rng, len(times), 40, 500) + 0.2 * _noise(rng, len(times), 500, 5000)
    return rumble * np.exp(-1.2 * times)


def _fanfare(rng: np.random.Generator, times: Wave) -> Wave:
    """Make chords of brass at the pitch of shouts, so that pitch alone tells nothing."""
    lowest = rng.uniform(260, 340)
    steps = rng.choice([1, 1.25, 4 / 3, 1.5], 1 + int(times[-1] / 0.3))
    pitch = lowest * steps[(times / 0.3).astype(int)]
    chord = [_voiced(pitch * ratio, (1200, 2400), 0.6) for ratio in (1, 1.25, 1.5)]
    return np.sum(chord, axis=0)


def _crowd(rng: np.random.Generator, times: Wave) -> Wave:
    return _noise(rng, len(times), 500, 3500) * (1 + 0.3 * np.sin(2 * np.pi * 0.8 * times))


def _ground(plan: StreamPlan, second: int) -> Iterator[_Sound]:
    """Yield the background of one second: hiss, music, and now and then an effect."""
    rng = plan.random("second", second)
    yield _Sound(second, _level(rng.standard_normal(SAMPLE_RATE, np.float32), _HISS_DB))
    key_hz = _MUSIC_HZ * 2 ** (plan.group % 12 / 12)
    for beat in range(_BEATS):
        pitch = key_hz * 2 ** (rng.choice(_SCALE) / 12)
        yield _Sound(second + beat / _BEATS, _level(_pluck(pitch, 0.6), _MUSIC_DB))
    if second % 2 == 0:
        yield _Sound(second, _level(_pluck(key_hz / 2, 1.0), _MUSIC_DB + 3))
    if rng.uniform() < 0.4:
        low, high = rng.uniform(500, 900), rng.uniform(1000, 1800)
        yield _Sound(second + rng.uniform(), _level(_blip(low, high), _EFFECT_DB))


def _pluck(pitch: float, seconds: float) -> Wave:
    times = _times(seconds)
    tones = [np.sin(2 * np.pi * pitch * k * times) / k**2 for k in (1, 2, 3)]
    return np.sum(tones, axis=0) * np.exp(-5 * times) * _fades(times, 0.005, 0.05)


def _blip(low: float, high: float) -> Wave:
    times = _times(0.12)
    pitch = np.linspace(low, high, len(times))
    return np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE) * _fades(times, 0.005, 0.05)


def _voiced(pitch: Wave, formants: tuple[float, float], tilt: float) -> Wave:
    """Sum harmonics of a pitch in Hz, (N,), strongest at the formants; `tilt` weakens high ones."""
    # The integral of the frequency, so that the phase is continuous while the pitch moves.
    phase = (2 * np.pi / SAMPLE_RATE) * np.cumsum(pitch)
    mean = float(pitch.mean())
    sound = np.zeros(len(phase), np.float32)
    for k in range(1, int(_HIGHEST_HZ / mean) + 1):
        near = sum(np.exp(-(((k * mean - formant) / 180) ** 2)) for formant in formants)
        sound += np.float32((0.08 + near) / k**tilt) * np.sin(k * phase)
    return sound


def _noise(rng: np.random.Generator, number: int, low_hz: float, high_hz: float) -> Wave:
    bands = butter(2, (low_hz, high_hz), "bandpass", fs=SAMPLE_RATE, output="sos")
    return sosfilt(bands, rng.standard_normal(number, np.float32)).astype(np.float32)


def _times(seconds: float) -> Wave:
    return np.arange(max(round(seconds * SAMPLE_RATE), 1), dtype=np.float32) / SAMPLE_RATE


def _fades(times: Wave, attack: float, release: float) -> Wave:
    """Envelope of a sound: 0 at both ends and 1 between, with raised cosines, against clicks."""
    share = np.minimum(times / attack, (times[-1] - times) / release)
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(share, 0, 1))


def _level(samples: Wave, decibels: float) -> Samples:
    """Scale a sound to a loudness in dB, by its mean power."""
    power = float(np.square(samples, dtype=np.float64).mean())
    amplitude = 10 ** (decibels / 20)
    return (samples * (amplitude / max(np.sqrt(power), 1e-9))).astype(np.float32)
