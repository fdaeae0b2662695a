"""Spectrogram pictures: log frequency upwards, time to the right, loudness as brightness."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal.windows import hann

from preprocess.errors import PreprocessError
from preprocess.video.sound import Sound

ImageArray = NDArray[np.uint8]
_LOWEST_POWER = 1e-20  # keeps the logarithm finite in silence


@dataclass(frozen=True)
class Spectrogram:
    """Settings of spectrogram pictures, each of the last seconds of sound before a moment.

    Row r of R, counted from the bottom, covers the frequencies from low * (cutoff/low)^(r/R) to
    low * (cutoff/low)^((r+1)/R). It shows the strongest component there, in decibels of a sine
    of amplitude 1: black at `floor_db`, white at 0. Column c of C covers the `fft_seconds` that
    end at time - window_seconds * (1 - (c+1)/C), so nothing after `time` is in the picture.
    Columns lie on a grid of the recording, and the picture moves by whole columns.

    Args:
        cutoff_hz: highest frequency, at the top.
        low_hz: lowest frequency, at the bottom.
        num_bins: number of rows.
        columns: number of columns.
        window_seconds: duration that a picture shows, rounded to whole samples per column.
        fft_seconds: length of the Hann window of a column, at least a column's width.
        floor_db: loudness of black.
        channels: 1, or 3 equal channels.
        sample_rate: sample rate of the sound, in Hz.

    Raises:
        PreprocessError: if a setting is out of its range.
    """

    cutoff_hz: float = 8000.0
    low_hz: float = 60.0
    num_bins: int = 128
    columns: int = 128
    window_seconds: float = 5.0
    fft_seconds: float = 0.128
    floor_db: float = -80.0
    channels: Literal[1, 3] = 3
    sample_rate: int = 16000

    def __post_init__(self) -> None:
        for name in ("num_bins", "columns", "window_seconds", "low_hz", "sample_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise PreprocessError(f"{name} must be above 0. Received {getattr(self, name)}.")
        if self.cutoff_hz > self.sample_rate / 2:
            raise PreprocessError(
                f"cutoff_hz must be at most half the sample rate, {self.sample_rate / 2:g}. "
                f"Received {self.cutoff_hz:g}; set sample_rate to {2 * self.cutoff_hz:g} or more."
            )
        if not self.low_hz < self.cutoff_hz:
            raise PreprocessError(
                f"low_hz must be below cutoff_hz, {self.cutoff_hz:g}. Received {self.low_hz:g}."
            )
        if self.fft_samples < self.column_samples:
            raise PreprocessError(
                "fft_seconds must be at least the width of a column, "
                f"{self.column_samples / self.sample_rate:.4f}, or sound between two columns is "
                f"not seen. Received {self.fft_seconds:g}; raise it, or columns."
            )
        if not -math.inf < self.floor_db < 0:
            raise PreprocessError(f"floor_db must be below 0. Received {self.floor_db:g}.")
        if self.channels not in (1, 3):
            raise PreprocessError(f"channels must be 1 or 3. Received {self.channels}.")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of a picture, (num_bins, columns, channels)."""
        return (self.num_bins, self.columns, self.channels)

    @property
    def column_samples(self) -> int:
        """Number of samples between two columns."""
        return max(round(self.window_seconds * self.sample_rate / self.columns), 1)

    @property
    def fft_samples(self) -> int:
        """Number of samples that a column is computed from, an even number."""
        return 2 * round(self.fft_seconds * self.sample_rate / 2)

    @property
    def reach_seconds(self) -> float:
        """Duration before its time that a picture depends on, in seconds."""
        return (self.columns * self.column_samples + self.fft_samples) / self.sample_rate

    def image(self, samples: NDArray[np.floating], time: float) -> ImageArray:
        """Compute the picture at one moment; for many of one recording use `SpectrogramTrack`.

        Args:
            samples: mono samples (N,) in [-1, 1] from time 0 on, with silence before and after.
            time: the moment, in seconds.

        Returns:
            uint8 (num_bins, columns, channels), the highest frequency in row 0.
        """
        stop = _columns_until(time, self)
        first = max((stop - self.columns) * self.column_samples - self.fft_samples, 0)
        seen = np.asarray(samples[first : max(stop * self.column_samples, first)], np.float32)
        sound = Sound(seen, self.sample_rate, first / self.sample_rate)
        return SpectrogramTrack(self, [sound]).image(time)

    def to_json(self) -> dict[str, Any]:
        """Convert the settings to values for JSON, which `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Spectrogram:
        """Create settings from the values of `to_json`."""
        return cls(**values)


class SpectrogramTrack:
    """Spectrogram of one recording: columns are computed once, pictures cut out of them.

    Blocks are read as pictures need them. Columns are kept, usually 12 MB per hour, so that
    pictures may be asked for in any order. The division of the sound into blocks changes no pixel.

    Args:
        settings: settings of the pictures.
        blocks: consecutive blocks of sound, as `iter_sound` yields them; None for a recording
            without sound, whose pictures are black.

    Example:
        >>> track = SpectrogramTrack(settings, iter_sound("vod.mp4"))
        >>> track.image(12.5)  # uint8 (128, 128, 3)
    """

    def __init__(self, settings: Spectrogram, blocks: Iterable[Sound] | None) -> None:
        self._settings = settings
        self._blocks = iter(blocks or ())
        self._ended = False
        # The recording is kept in pieces of one picture's width, so that any picture is cut out of
        # two of them. They lie on a fixed grid, which makes them independent of the blocks.
        self._pieces: dict[int, ImageArray] = {}  # number -> (num_bins, columns)
        self._next = 0  # number of the piece that is made next
        self._samples: NDArray[np.float32] | None = None  # from that piece's first sample on
        self._piece_samples = settings.columns * settings.column_samples
        self._overlap = settings.fft_samples - settings.column_samples

    def image(self, time: float) -> ImageArray:
        """Cut out the picture at one moment, uint8 (num_bins, columns, channels).

        Raises:
            PreprocessError: if the sound has another sample rate than the settings.
            DecodeError: raised by the blocks; after it the rest is silence.
        """
        columns = self._settings.columns
        stop = _columns_until(time, self._settings)
        self._fill((stop - 1) // columns)
        number, shift = divmod(stop - columns, columns)
        pieces = [self._piece(number), self._piece(number + 1)]
        shown = np.concatenate(pieces, axis=1)[:, shift : shift + columns]
        return np.repeat(shown[..., None], self._settings.channels, axis=2)

    def _piece(self, number: int) -> ImageArray:
        """Piece of a number; black before the beginning and after the end."""
        found = self._pieces.get(number)
        if found is None:
            return np.zeros(self._settings.image_shape[:2], np.uint8)
        return found

    def _fill(self, number: int) -> None:
        """Compute the pieces up to a number, reading as many blocks as they need."""
        while not self._ended and (self._samples is None or self._next <= number):
            block = next(self._blocks, None)
            if block is not None:
                self._take(block)
            else:
                self._end()
            self._make()

    def _take(self, block: Sound) -> None:
        """Append a block; the first one may begin anywhere on the recording's clock."""
        settings = self._settings
        if block.sample_rate != settings.sample_rate:
            raise PreprocessError(
                f"The sound must have {settings.sample_rate} samples a second. Received "
                f"{block.sample_rate}; read it with sample_rate={settings.sample_rate}."
            )
        if self._samples is None:
            first = round(block.start_seconds * settings.sample_rate)
            self._next = first // self._piece_samples
            before = first - self._next * self._piece_samples + self._overlap
            self._samples = np.zeros(before, np.float32)
        self._samples = np.concatenate([self._samples, block.samples])

    def _end(self) -> None:
        """Append silence, into which the windows of the last columns reach."""
        self._ended = True
        if self._samples is not None:
            silence = np.zeros(self._piece_samples + self._settings.fft_samples, np.float32)
            self._samples = np.concatenate([self._samples, silence])

    def _make(self) -> None:
        """Compute all pieces that the samples suffice for."""
        if self._samples is None:
            return
        needed = self._piece_samples + self._overlap
        while len(self._samples) >= needed:
            self._pieces[self._next] = _columns(self._samples[:needed], self._settings)
            self._samples = self._samples[self._piece_samples :]
            self._next += 1


def _columns_until(time: float, settings: Spectrogram) -> int:
    """Number of a recording's columns that have ended by a moment."""
    # 1e-6 columns forgive rounding: 0.3 * sample_rate may lie just below a whole number.
    return math.floor(time * settings.sample_rate / settings.column_samples + 1e-6)


@lru_cache(maxsize=8)
def _transform(settings: Spectrogram) -> tuple[NDArray[np.float32], LogBands]:
    """Window that scales a sine's component to its amplitude, and the rows."""
    window = hann(settings.fft_samples, sym=False)
    spacing_hz = settings.sample_rate / settings.fft_samples
    bands = LogBands(settings.low_hz, settings.cutoff_hz, settings.num_bins, spacing_hz=spacing_hz)
    return (2 * window / window.sum()).astype(np.float32), bands


def _columns(samples: NDArray[np.float32], settings: Spectrogram) -> ImageArray:
    """Compute all columns of a run of samples, uint8 (num_bins, columns)."""
    window, bands = _transform(settings)
    frames = np.lib.stride_tricks.sliding_window_view(samples, settings.fft_samples)
    frames = frames[:: settings.column_samples]  # (columns, fft_samples)
    spectra = fft.rfft(frames * window, axis=1)  # (columns, fft_samples/2 + 1)
    rows = bands.strongest(spectra.real**2 + spectra.imag**2)  # (columns, num_bins)
    decibels = 10 * np.log10(np.maximum(rows, _LOWEST_POWER))
    brightness = np.clip(1 - decibels / settings.floor_db, 0, 1)
    return np.rint(255 * brightness).astype(np.uint8).T[::-1]


class LogBands:
    """Rows of logarithmic frequency from the components of a spectrum.

    Row r of R covers [low * (cutoff/low)^(r/R), low * (cutoff/low)^((r+1)/R)) Hz. High rows hold
    many components, low ones lie between two. A row is the strongest of the components inside it
    and of the spectrum at its middle, interpolated linearly. A sine is thus equally strong in any
    row, and no row is empty.

    Args:
        low_hz: lower edge of the first row.
        cutoff_hz: upper edge of the last row, at most the frequency of the last component.
        num_bins: number of rows.
        spacing_hz: distance between components, of which the first is at 0.
    """

    def __init__(
        self, low_hz: float, cutoff_hz: float, num_bins: int, *, spacing_hz: float
    ) -> None:
        ladder = low_hz * (cutoff_hz / low_hz) ** np.linspace(0, 1, 2 * num_bins + 1) / spacing_hz
        edges = np.ceil(ladder[::2] - 1e-9).astype(np.intp)  # first component at or above
        self._begins_ends = np.stack([edges[:-1], edges[1:]], axis=1).ravel()  # (2 * num_bins,)
        self._has_components = edges[:-1] < edges[1:]
        self._below = np.floor(ladder[1::2]).astype(np.intp)
        self._share = (ladder[1::2] - self._below).astype(np.float32)

    def strongest(self, power: NDArray[np.float32]) -> NDArray[np.float32]:
        """Reduce the power of components (columns, components) to rows (columns, num_bins)."""
        middles = power[:, self._below] * (1 - self._share)
        middles += power[:, self._below + 1] * self._share
        # Pairs of begin and end: every other result is the maximum between rows, and is dropped.
        inside = np.maximum.reduceat(power, self._begins_ends, axis=1)[:, ::2]
        return np.where(self._has_components, np.maximum(inside, middles), middles)
