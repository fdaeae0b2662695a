"""Pictures of a moment for a scorer: face, frame and sound, one above the other.

Extraction and scoring both make their pictures here, so that a model sees what it was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from common.errors import InputError
from preprocess.errors import DecodeError, PreprocessError
from preprocess.shards.settings import Compression
from preprocess.sources.clips import Clip
from preprocess.video.decode import Frame
from preprocess.video.frame_differences import DifferenceMeter
from preprocess.video.sampling import FrameSampler
from preprocess.video.sound import Sound, iter_sound
from preprocess.video.spectrogram import Spectrogram, SpectrogramTrack
from preprocess.video.time_ranges import check_sampling
from preprocess.video.transforms import FrameFit, StackedFits
from preprocess.video.video_file import audio_tracks

Part = Literal["box", "frame", "sound"]
Interpolation = Literal["smooth", "pillow-bicubic"]
# A time range, [start, stop) in seconds.
TimeRange = tuple[float, float]
WHOLE: tuple[TimeRange, ...] = ((0.0, math.inf),)
# Shortest window of a Fourier transform.
_FFT_SECONDS = 0.128


@dataclass(frozen=True)
class Box:
    """A rectangle in a video's frames, in fractions of their width and height.

    Raises:
        InputError: unless 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1.
    """

    x1: float
    y1: float
    x2: float
    y2: float

    def __post_init__(self) -> None:
        if not (0 <= self.x1 < self.x2 <= 1 and 0 <= self.y1 < self.y2 <= 1):
            raise InputError(
                "A box must be fractions of the picture with 0 <= x1 < x2 <= 1 and "
                f"0 <= y1 < y2 <= 1. Received [{self.x1}, {self.y1}, {self.x2}, {self.y2}]; "
                "divide pixels by the width and the height."
            )


def parse_box(text: str) -> Box:
    """Parse a box such as '0.7,0.1,0.95,0.4'.

    Raises:
        InputError: for anything else.
    """
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--box must be x1,y1,x2,y2, as 0.7,0.1,0.95,0.4. Received {text!r}."
        ) from error
    return Box(x1, y1, x2, y2)


@dataclass(frozen=True)
class ImageSettings:
    """Settings by which the pictures of a set of clips are made.

    Args:
        parts: squares, from top to bottom. "box": the labelled part of the frame, cut out at full
            resolution, then scaled. "frame": the whole frame. "sound": the spectrogram of the
            last `window_seconds`; black where there is no sound.
        side: side of each square, in pixels.
        fps: pictures per second, by real timestamps. Either this or `every`.
        every: step between the frames that are taken.
        audio_cutoff: highest frequency of the spectrogram, in Hz.
        window_seconds: length of the sound that a picture shows.
        sound_track: number of the audio stream of a clip, from 0.
        compression: compression of the stored bytes; it never changes a pixel.
        interpolation: scaling of box and frame; see `preprocess.video.transforms.FrameFit`.
            "pillow-bicubic" is that of eqy/autotosis, with its rounding of the box.

    Raises:
        PreprocessError: if a setting is out of its range.
    """

    keeps_times: ClassVar[bool] = True
    stride: ClassVar[int] = 1
    max_frames: ClassVar[None] = None

    parts: tuple[Part, ...] = ("box", "sound")
    side: int = 112
    fps: float | None = 2.0
    every: int | None = None
    audio_cutoff: float = 8000.0
    window_seconds: float = 5.0
    compression: Compression = "lz4"
    interpolation: Interpolation = "smooth"
    sound_track: int = 0

    def __post_init__(self) -> None:
        # JSON gives a list; the class is frozen, hence the call of `object`.
        object.__setattr__(self, "parts", tuple(self.parts))
        # In one order only, so that equal parts make equal pictures.
        known = get_args(Part)
        if not self.parts or self.parts != tuple(one for one in known if one in self.parts):
            raise PreprocessError(
                f"parts must be some of {' '.join(known)}, each once, in this order. "
                f"Received {' '.join(self.parts) or 'none'}."
            )
        if self.side < 1:
            raise PreprocessError(f"side must be at least 1 pixel. Received {self.side}.")
        if self.interpolation not in get_args(Interpolation):
            raise PreprocessError(
                f"interpolation must be one of {', '.join(get_args(Interpolation))}. Received "
                f"{self.interpolation!r}."
            )
        if self.sound_track < 0:
            raise PreprocessError(f"sound_track must be 0 or more. Received {self.sound_track}.")
        check_sampling(self.fps, self.every)
        if "sound" in self.parts:
            self.spectrogram  # noqa: B018 - it checks its settings

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Shape of a picture, (number of parts * side, side, 3)."""
        return (len(self.parts) * self.side, self.side, 3)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a picture, in pixels."""
        return (self.side, len(self.parts) * self.side)

    @property
    def spectrogram(self) -> Spectrogram:
        """Settings of the spectrogram in the part "sound"."""
        # The lowest rate that holds frequencies up to the cut-off (Nyquist).
        sample_rate = 2 * math.ceil(self.audio_cutoff)
        return Spectrogram(
            cutoff_hz=self.audio_cutoff,
            num_bins=self.side,
            columns=self.side,
            window_seconds=self.window_seconds,
            # Windows that overlap by half at least, however wide a column is in time.
            fft_seconds=max(_FFT_SECONDS, 2 * self.window_seconds / self.side),
            sample_rate=sample_rate,
        )

    def open(self, clip: Clip, *, threads: int) -> ImageReader:
        """Open a reader of a `LabelledVideo`'s pictures.

        Raises:
            DecodeError: if the file cannot be opened.
        """
        assert isinstance(clip, LabelledVideo)
        return ImageReader(
            clip.path,
            self,
            box=clip.box,
            stretches=clip.stretches,
            sound_track=self.sound_track,
            threads=threads,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain values; `from_json` reads them.

        Settings that were added later are left out at their defaults, so that those of older shards
        and of newer ones are equal.
        """
        values = asdict(self) | {"parts": list(self.parts)}
        later = {"interpolation": "smooth", "sound_track": 0}
        return {
            name: value
            for name, value in values.items()
            if name not in later or value != later[name]
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ImageSettings:
        """Make settings from the values that `to_json` returned."""
        return cls(**values)


@dataclass(frozen=True)
class LabelledVideo(Clip):
    """A clip with the box and the time ranges of which pictures are wanted.

    Args:
        box: part of its frames that shows the excitement; None for the whole.
        stretches: time ranges that are wanted, [start, end) in seconds.
    """

    box: Box | None = None
    stretches: tuple[TimeRange, ...] = WHOLE


class ImageReader(FrameSampler):
    """Reads the pictures of one video in order.

    Args:
        path: the video file; if it has no sound, that part is black.
        settings: settings of the pictures.
        box: part of the frames that shows the excitement; None for the whole.
        stretches: time ranges that are wanted, [start, end) in seconds after the first frame.
        sound_track: number of the audio stream, from 0.
        threads: number of threads of the decoder.
        meter: meter that measures each frame that is decoded, or None.

    Raises:
        DecodeError: if the file cannot be opened, or has sound but no such track.
    """

    def __init__(
        self,
        path: Path,
        settings: ImageSettings,
        *,
        box: Box | None = None,
        stretches: Sequence[TimeRange] = WHOLE,
        sound_track: int = 0,
        threads: int = 1,
        meter: DifferenceMeter | None = None,
    ) -> None:
        hears = "sound" in settings.parts
        # Track 0 is what a file without any number has, and may be missing.
        if hears and sound_track:
            _check_track(path, sound_track)

        size = (settings.side, settings.side)
        corners = None if box is None else (box.x1, box.y1, box.x2, box.y2)
        boxes = {"box": corners, "frame": None}
        seen = [part for part in settings.parts if part != "sound"]
        # Box and frame are cut from one decoded frame, so that the video is decoded once.
        fits = [
            FrameFit(size, interpolation=settings.interpolation, box=boxes[part]) for part in seen
        ]
        super().__init__(
            path,
            fit=StackedFits(tuple(fits)),
            fps=settings.fps,
            stride=settings.every,
            stretches=stretches,
            threads=threads,
            meter=meter,
        )
        # Rows above it show box and frame, rows below the sound.
        self._seen_height = len(fits) * settings.side
        self._sounds = _Sounds(path, settings, stretches, sound_track) if hears else None

    @property
    def complaint(self) -> str:
        """Description of what could not be read so far; empty if everything could."""
        return "; ".join(self.complaints)

    @property
    def complaints(self) -> tuple[str, ...]:
        """Descriptions of what could not be read so far, of the pictures and of the sound."""
        sound = self._sounds.complaint if self._sounds else ""
        sound_complaint = f"of the sound, not all could be decoded: {sound}" if sound else ""
        return tuple(filter(None, (super().complaint, sound_complaint)))

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame`, uint8 (parts * side, side, 3), with the next picture; False at the end."""
        if not super().read_into(frame):
            return False
        if self._sounds:
            frame[self._seen_height :] = self._sounds.image(self.time_seconds)
        return True

    def close(self) -> None:
        """Free the decoders."""
        super().close()
        if self._sounds:
            self._sounds.close()

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _check_track(path: Path, sound_track: int) -> None:
    """Raise DecodeError if a file has sound, but not this track."""
    tracks = audio_tracks(path)
    if tracks and sound_track >= len(tracks):
        raise DecodeError(
            f"sound track {sound_track} is wanted, and it has {'; '.join(map(str, tracks))}"
        )


class _Sounds:
    """Spectrograms of a file's time ranges, each of which is decoded when it is reached."""

    def __init__(
        self, path: Path, settings: ImageSettings, stretches: Sequence[TimeRange], track: int
    ) -> None:
        self._path = path
        self._sound_track = track
        self._spectrogram = settings.spectrogram
        self._waiting = list(stretches)
        self._end = -math.inf
        self._blocks: Generator[Sound] | None = None
        self._track: SpectrogramTrack | None = None
        self.complaint = ""

    def image(self, time: float) -> Frame:
        """Return the picture at a time, which must not lie before that of the last call."""
        # Ranges are in order, as are the times: those that lie behind are dropped unheard.
        while self._waiting and time >= self._end:
            self._begin(*self._waiting.pop(0))
        assert self._track is not None
        return self._track.image(time)

    def close(self) -> None:
        """End the decoder."""
        if self._blocks is not None:
            self._blocks.close()

    def _begin(self, start: float, end: float) -> None:
        self.close()
        # The picture at the start of a range shows the sound before it, too.
        first = max(start - self._spectrogram.reach_seconds, 0.0)
        self._end = end
        self._blocks = self._decoded(first, None if end == math.inf else end - first)
        self._track = SpectrogramTrack(self._spectrogram, self._blocks)

    def _decoded(self, start: float, duration: float | None) -> Generator[Sound]:
        """Yield the sound as far as it can be decoded; pictures show silence after that."""
        sample_rate = self._spectrogram.sample_rate
        try:
            blocks = iter_sound(
                self._path,
                sample_rate=sample_rate,
                start=start,
                duration=duration,
                track=self._sound_track,
            )
            for block in blocks or ():
                self.complaint = self.complaint or block.complaint
                yield block
        except DecodeError as error:
            self.complaint = self.complaint or str(error)
