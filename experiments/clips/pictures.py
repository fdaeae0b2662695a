"""What a model sees of a moment: face, frame and sound, one above the other in one picture.

Extraction and scoring make their pictures here, so that a model meets what it was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from common.errors import InputError
from preprocess.errors import DecodeError, PreprocessError
from preprocess.shards.settings import Compression
from preprocess.sources.clips import Clip

if TYPE_CHECKING:
    from preprocess.video.decode import Frame
    from preprocess.video.sound import Sound
    from preprocess.video.spectrogram import Spectrogram, SpectrogramTrack

Part = Literal["box", "frame", "sound"]
Interpolation = Literal["smooth", "pillow-bicubic"]
Stretch = tuple[float, float]
WHOLE: tuple[Stretch, ...] = ((0.0, math.inf),)
_FFT_SECONDS = 0.128


@dataclass(frozen=True)
class Box:
    """A part of the picture, in fractions of its width and height.

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
    """'0.7,0.1,0.95,0.4' to a box.

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
class PictureSettings:
    """How the pictures of a set of clips are made.

    Args:
        parts: squares, from top to bottom. "box": the labelled part of the picture, cut out at
            full resolution, then scaled. "frame": all of it. "sound": the spectrogram of the
            last `window_seconds`; black where there is no sound.
        side: of each square, in pixels.
        fps: pictures a second, by real timestamps. Either this or `every`.
        every: every how many frames one is taken.
        audio_cutoff: highest frequency of the spectrogram, in Hz.
        window_seconds: how much sound a picture shows.
        sound_track: which audio stream of a clip is heard, from 0.
        compression: of the stored bytes; it never changes a pixel.
        interpolation: how box and frame are scaled; see `preprocess.video.transforms.FrameFit`.
            "pillow-bicubic" is eqy/autotosis's way, with its rounding of the box.

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
        from preprocess.video.sampling import check_sampling

        object.__setattr__(self, "parts", tuple(self.parts))
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
        """(number of parts * side, side, 3)."""
        return (len(self.parts) * self.side, self.side, 3)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a picture, in pixels."""
        return (self.side, len(self.parts) * self.side)

    @property
    def spectrogram(self) -> Spectrogram:
        """How the sound's part is made."""
        from preprocess.video.spectrogram import Spectrogram

        sample_rate = 2 * math.ceil(self.audio_cutoff)
        return Spectrogram(
            cutoff_hz=self.audio_cutoff,
            num_bins=self.side,
            columns=self.side,
            window_seconds=self.window_seconds,
            fft_seconds=max(_FFT_SECONDS, 2 * self.window_seconds / self.side),
            sample_rate=sample_rate,
        )

    def open(self, clip: Clip, *, threads: int) -> PictureReader:
        """A reader of a `LabelledVideo`'s pictures.

        Raises:
            DecodeError: if the file cannot be opened.
        """
        assert isinstance(clip, LabelledVideo)
        return PictureReader(
            clip.path,
            self,
            box=clip.box,
            stretches=clip.stretches,
            sound_track=self.sound_track,
            threads=threads,
        )

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values; `from_json` makes them again.

        Settings that came later are left out where they have their default, so that older shards
        and newer ones are the same.
        """
        values = asdict(self) | {"parts": list(self.parts)}
        later = {"interpolation": "smooth", "sound_track": 0}
        return {
            name: value
            for name, value in values.items()
            if name not in later or value != later[name]
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> PictureSettings:
        """Settings from what `to_json` gave."""
        return cls(**values)


@dataclass(frozen=True)
class LabelledVideo(Clip):
    """A clip whose pictures are wanted.

    Args:
        box: the part of its picture that shows the excitement.
        stretches: what of it is wanted, [start, end) in seconds.
    """

    box: Box | None = None
    stretches: tuple[Stretch, ...] = WHOLE


class PictureReader:
    """Gives the pictures of one video, one after the other.

    Args:
        path: the video file; without sound, that part is black.
        settings: of the pictures.
        box: the part of the picture that shows the excitement; None for the whole.
        stretches: what of it is wanted, [start, end) in seconds after the first picture.
        sound_track: which audio stream is heard, from 0.
        threads: of the decoder.

    Raises:
        DecodeError: if the file cannot be opened, or has sound but no such track.
    """

    def __init__(
        self,
        path: Path,
        settings: PictureSettings,
        *,
        box: Box | None = None,
        stretches: Sequence[Stretch] = WHOLE,
        sound_track: int = 0,
        threads: int = 1,
    ) -> None:
        from preprocess.video.sampling import FrameSampler
        from preprocess.video.transforms import FrameFit, StackedFits

        hears = "sound" in settings.parts
        if hears and sound_track:
            _check_track(path, sound_track)

        size = (settings.side, settings.side)
        corners = None if box is None else (box.x1, box.y1, box.x2, box.y2)
        boxes = {"box": corners, "frame": None}
        seen = [part for part in settings.parts if part != "sound"]
        fits = [
            FrameFit(size, interpolation=settings.interpolation, box=boxes[part]) for part in seen
        ]
        self._video = FrameSampler(
            path,
            fit=StackedFits(tuple(fits)),
            fps=settings.fps,
            every=settings.every,
            stretches=stretches,
            threads=threads,
        )
        self.info = self._video.info
        self._seen_height = len(fits) * settings.side
        self._sounds = _Sounds(path, settings, stretches, sound_track) if hears else None

    @property
    def num_decoded(self) -> int:
        """Frames of the file gone through so far."""
        return self._video.num_decoded

    @property
    def num_given(self) -> int:
        """Pictures given so far."""
        return self._video.num_given

    @property
    def reached_end(self) -> bool:
        """Whether the file had no more frames."""
        return self._video.reached_end

    @property
    def time_seconds(self) -> float:
        """When the picture given last is shown, in seconds after the first."""
        return self._video.time_seconds

    @property
    def complaint(self) -> str:
        """What of the file could not be read so far; empty if all could."""
        return "; ".join(self.complaints)

    @property
    def complaints(self) -> tuple[str, ...]:
        """What could not be read so far, of the pictures and of the sound, each if there is any."""
        sound = self._sounds.complaint if self._sounds else ""
        told = f"of the sound, not all could be decoded: {sound}" if sound else ""
        return tuple(text for text in (self._video.complaint, told) if text)

    def read_into(self, frame: Frame) -> bool:
        """Fill `frame`, uint8 (parts * side, side, 3), with the next picture; False at the end."""
        if not self._video.read_into(frame):
            return False
        if self._sounds:
            frame[self._seen_height :] = self._sounds.picture(self.time_seconds)
        return True

    def close(self) -> None:
        """Free the decoders."""
        self._video.close()
        if self._sounds:
            self._sounds.close()

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _check_track(path: Path, sound_track: int) -> None:
    """Whether a file has a sound track, or no sound at all.

    Raises:
        DecodeError: if not.
    """
    from preprocess.video.video_file import audio_tracks

    tracks = audio_tracks(path)
    if tracks and sound_track >= len(tracks):
        raise DecodeError(
            f"sound track {sound_track} is wanted, and it has {'; '.join(map(str, tracks))}"
        )


class _Sounds:
    """Spectrograms of a file's stretches, each of which is decoded when it is reached."""

    def __init__(
        self, path: Path, settings: PictureSettings, stretches: Sequence[Stretch], track: int
    ) -> None:
        self._path = path
        self._sound_track = track
        self._spectrogram = settings.spectrogram
        self._waiting = list(stretches)
        self._end = -math.inf
        self._blocks: Generator[Sound] | None = None
        self._track: SpectrogramTrack | None = None
        self.complaint = ""

    def picture(self, time: float) -> Frame:
        """At a time, which never lies before the one asked for last."""
        while self._waiting and time >= self._end:
            self._begin(*self._waiting.pop(0))
        assert self._track is not None
        return self._track.picture(time)

    def close(self) -> None:
        """End the decoder."""
        if self._blocks is not None:
            self._blocks.close()

    def _begin(self, start: float, end: float) -> None:
        from preprocess.video.spectrogram import SpectrogramTrack

        self.close()
        first = max(start - self._spectrogram.reach_seconds, 0.0)
        self._end = end
        self._blocks = self._decoded(first, None if end == math.inf else end - first)
        self._track = SpectrogramTrack(self._spectrogram, self._blocks)

    def _decoded(self, start: float, duration: float | None) -> Generator[Sound]:
        """The sound as far as it can be decoded; silence after that."""
        from preprocess.video.sound import iter_sound

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
