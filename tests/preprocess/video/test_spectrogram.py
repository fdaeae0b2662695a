"""Pictures of sound against tones whose place is known, and a plain Fourier sum."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.errors import PreprocessError
from preprocess.video.sound import Sound
from preprocess.video.spectrogram import Spectrogram, SpectrogramTrack

RATE = 16000
USUAL = Spectrogram()
SMALL = Spectrogram(num_bins=24, columns=16, window_seconds=0.5, fft_seconds=0.064, channels=1)


def tone(hz: float, seconds: float = 6, amplitude: float = 1.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE))
    return np.clip(samples, -1, 1).astype(np.float32)


def blocks(samples: np.ndarray, sizes: list[int], first: int = 0) -> list[Sound]:
    """Samples in blocks of these sizes, over and over."""
    sounds, place, turn = [], 0, 0
    while place < len(samples):
        part = samples[place : place + sizes[turn % len(sizes)]]
        sounds.append(Sound(part.astype(np.float32), RATE, (first + place) / RATE))
        place, turn = place + len(part), turn + 1
    return sounds


# Rows from the bottom: 128 * ln(hz / 60) / ln(8000 / 60), rounded down.
@pytest.mark.parametrize(
    ("hz", "row"), [(100, 13), (450, 52), (1000, 73), (2500, 97), (5000, 115), (7900, 127)]
)
def test_a_tone_lights_its_row(hz: float, row: int) -> None:
    """Red when the scale is linear, upside down, or off by a row."""
    image = USUAL.image(tone(hz), 5.5)
    assert image.shape == (128, 128, 3)
    assert image.dtype == np.uint8
    assert (image.argmax(axis=0) == 127 - row).all()
    assert (image == image[..., :1]).all()


@pytest.mark.parametrize(("low", "high"), [(100, 140), (1000, 1150), (4000, 4600)])
def test_two_tones_are_two(low: float, high: float) -> None:
    """Red when the window is too short, or none, so that its skirts fill the gap."""
    column = USUAL.image(tone(low, amplitude=0.4) + tone(high, amplitude=0.4), 5.5)[:, 64, 0]
    rows = [127 - math.floor(128 * math.log(hz / 60) / math.log(8000 / 60)) for hz in (low, high)]
    between = column[rows[1] + 1 : rows[0]].astype(int)
    assert between.min() < column[rows].min() - 60  # 60 of 255 steps are 19 dB


@pytest.mark.parametrize("hz", [500, 1000, 4000])  # whole multiples of 16000 / 2048
@pytest.mark.parametrize(("amplitude", "value"), [(1, 255), (0.1, 191), (0.01, 128), (5e-5, 0)])
def test_brightness_is_decibels(hz: float, amplitude: float, value: int) -> None:
    """Red when power and amplitude are mixed up: -20 dB is 3/4 of the way up from -80 to 0."""
    image = USUAL.image(tone(hz, amplitude=amplitude), 5.5)
    assert image.max() == pytest.approx(value, abs=1)


def test_rows_against_a_plain_fourier_sum() -> None:
    """Red when a row leaves out a component or takes a neighbour's, at any frequency."""
    samples, n = noise(2).astype(np.float64), SMALL.fft_samples
    image = SMALL.image(samples, 1.5)[..., 0]
    hop = round(0.5 * RATE / 16)
    wave = np.exp(-2j * np.pi * np.outer(np.arange(n // 2 + 1), np.arange(n)) / n)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    for column in range(16):
        end = 24000 - (15 - column) * hop
        power = np.abs(wave @ (window * samples[end - n : end]) * 2 / window.sum()) ** 2
        for row in range(24):
            bottom, middle, top = (60 * (8000 / 60) ** ((row + x) / 24) for x in (0, 0.5, 1))
            hz = np.arange(n // 2 + 1) * RATE / n
            inside = power[(hz >= bottom) & (hz < top)]
            strongest = max(np.interp(middle, hz, power), inside.max(initial=0))
            expected = 255 * np.clip(1 + 10 * math.log10(strongest) / 80, 0, 1)
            assert image[23 - row, column] == pytest.approx(expected, abs=0.51)


def test_the_picture_scrolls() -> None:
    """Red when columns are computed anew from wherever the picture happens to end."""
    samples = noise(9)
    track = SpectrogramTrack(USUAL, [Sound(samples, RATE)])
    column_seconds = 5 / 128
    now = track.image(6.0)
    for moved in (1, 13, 64):
        later = track.image(6.0 + moved * column_seconds)
        np.testing.assert_array_equal(later[:, :-moved], now[:, moved:])
    begun = 154 * column_seconds - 0.001  # the last column that has ended is number 152
    np.testing.assert_array_equal(track.image(begun), track.image(153 * column_seconds))


def test_a_click_is_where_it_was() -> None:
    """Red when time runs to the left, or a column shows what comes after it."""
    samples = np.zeros(6 * RATE)
    samples[3 * RATE] = 1
    image = USUAL.image(samples, 5.0)[..., 0]
    lit = np.flatnonzero(image.max(axis=0) > 60)
    ends = 5 - 5 * (1 - (lit + 1) / 128)
    assert len(lit) >= 2
    assert (ends > 3).all()
    assert (ends - 0.128 < 3).all()


def test_nothing_after_the_moment_is_shown() -> None:
    samples, time = noise(8), 6.3
    changed = samples.copy()
    changed[round(time * RATE) :] = 0.9
    expected = USUAL.image(samples, time)
    np.testing.assert_array_equal(USUAL.image(changed, time), expected)
    for each in (samples, changed):
        track = SpectrogramTrack(USUAL, [Sound(each, RATE)])
        np.testing.assert_array_equal(track.image(time), expected)


def test_before_and_after_the_sound_is_silence() -> None:
    """Red when the first seconds repeat a sample, wrap around, or fail."""
    samples = noise(3)
    early = USUAL.image(samples, 1.25)
    assert not early[:, :96].any()
    assert early[:, 96:].any(axis=(0, 2)).all()
    late = USUAL.image(samples, 6.0)  # shows 1 s to 6 s
    assert late[:, :51].any(axis=(0, 2)).all()  # up to 3 s
    assert not late[:, 56:].any()  # what lies more than 0.128 s behind the end
    assert not USUAL.image(samples, 0.0).any()
    assert not USUAL.image(samples, -1.0).any()
    assert not USUAL.image(samples, 60.0).any()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40000),
    st.lists(st.integers(1, 9000), min_size=1, max_size=4),
    st.lists(st.floats(0, 4), min_size=1, max_size=5),
)
def test_blocks_change_no_pixel(num_samples: int, sizes: list[int], times: list[float]) -> None:
    """Red when a column at the seam of two blocks is lost, doubled or starts from silence."""
    samples = noise(3)[:num_samples]
    whole = SpectrogramTrack(SMALL, [Sound(samples, RATE)])
    track = SpectrogramTrack(SMALL, iter(blocks(samples, sizes)))
    for time in times:
        image = track.image(time)
        np.testing.assert_array_equal(image, whole.image(time))
        np.testing.assert_array_equal(image, SMALL.image(samples, time))


@pytest.mark.parametrize("begin", [0.6, 1.0, 2.34])
def test_beginning_in_the_middle(begin: float) -> None:
    """Red when columns are counted from where the reading began."""
    samples = noise(5)
    first = max(round((begin - SMALL.reach_seconds) * RATE), 0)
    track = SpectrogramTrack(SMALL, blocks(samples[first:], [5000], first))
    for time in np.arange(begin, 5, 0.07):
        np.testing.assert_array_equal(track.image(time), SMALL.image(samples, time))


def test_sound_is_taken_as_it_is_needed() -> None:
    """Red when a whole recording is decoded before its first picture."""
    taken = []

    def endless():
        for number in range(10**9):
            taken.append(number)
            yield Sound(noise(1, number), RATE, float(number))

    track = SpectrogramTrack(SMALL, endless())
    track.image(10.0)
    assert 10 <= len(taken) <= 12
    track.image(3.0)
    assert len(taken) <= 12


def test_no_sound() -> None:
    track = SpectrogramTrack(USUAL, None)
    assert track.image(7.0).shape == (128, 128, 3)
    assert not track.image(7.0).any()


def test_columns_do_not_drift() -> None:
    """Red when a column's width is not a whole number of samples, and times are told as if."""
    odd = Spectrogram(sample_rate=22050, num_bins=8, columns=100, window_seconds=3.0, channels=1)
    samples = np.zeros(22050 * 600, np.float32)
    samples[22050 * 599 :] = 0.5
    track = SpectrogramTrack(odd, [Sound(samples, 22050)])
    assert not track.image(598.99).any()
    assert track.image(599.05).any()


def test_rounding_errors_of_times_do_not_count() -> None:
    """Red when a sum of 0.01 s that falls short by 1e-16 shows the column before."""
    fine = Spectrogram(num_bins=8, columns=50, window_seconds=0.5, channels=1)
    track = SpectrogramTrack(fine, [Sound(noise(3), RATE)])
    for number, time in enumerate(np.cumsum(np.full(250, 0.01)), start=1):
        between = (number + 0.5) / 100
        np.testing.assert_array_equal(track.image(time), track.image(between))


def test_another_sample_rate_is_refused() -> None:
    track = SpectrogramTrack(USUAL, [Sound(noise(1), 44100)])
    with pytest.raises(PreprocessError, match="44100; read it with sample_rate=16000"):
        track.image(1.0)


def test_settings_round_trip() -> None:
    changed = Spectrogram(cutoff_hz=4000, num_bins=96, columns=64, channels=1, floor_db=-60)
    assert Spectrogram.from_json(json.loads(json.dumps(changed.to_json()))) == changed


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cutoff_hz": 9000}, "half the sample rate, 8000. .*set sample_rate to 18000"),
        ({"sample_rate": 8000}, "half the sample rate, 4000"),
        ({"low_hz": 8000}, "low_hz must be below cutoff_hz"),
        ({"low_hz": 0}, "low_hz must be above 0"),
        ({"columns": 0}, "columns must be above 0"),
        ({"window_seconds": math.nan}, "window_seconds must be above 0"),
        ({"columns": 16}, "fft_seconds must be at least the width of a column, 0.3125"),
        ({"floor_db": 0.0}, "floor_db must be below 0"),
        ({"channels": 2}, "channels must be 1 or 3"),
    ],
)
def test_settings_out_of_range(values: dict[str, float], message: str) -> None:
    with pytest.raises(PreprocessError, match=message):
        Spectrogram(**values)
