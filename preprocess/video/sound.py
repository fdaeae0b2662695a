"""Sound of one file as samples on the picture's clock, read with the ffmpeg program."""

from __future__ import annotations

import math
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import av
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from preprocess.errors import DecodeError, PreprocessError
from preprocess.video.ffmpeg import in_plain_words, input_args
from preprocess.video.video_file import clock_restarts, open_container, video_streams

Samples = NDArray[np.float32]
_COMPLAINT = re.compile(r"^(?:\[[^\]]*\] ?)*\[(?:panic|fatal|error)\] (?P<text>.*)$", re.MULTILINE)
_ENOUGH_BYTES = 2**20
_PREROLL_SECONDS = 1.0  # decoders and the resampler need what comes before
_LARGEST_SLIP_SECONDS = 0.02  # between samples and their timestamps; Matroska rounds by 0.0005


@dataclass(frozen=True, eq=False)
class Sound:
    """Consecutive samples of sound.

    Args:
        samples: mono samples in [-1, 1], float32 (N,).
        sample_rate: samples per second.
        start_seconds: time of sample 0 on the clock of `VideoReader.time_seconds`, where the first
            picture is shown at 0.
        complaint: ffmpeg's first message so far about sound that it could not decode, which is
            silent; empty if there is none.
    """

    samples: Samples
    sample_rate: int
    start_seconds: float = 0.0
    complaint: str = ""


def read_sound(
    path: str | os.PathLike[str],
    *,
    sample_rate: int = 16000,
    start: float = 0.0,
    duration: float | None = None,
    track: int = 0,
) -> Sound | None:
    """Read the sound of a file at once; None if it has none.

    Args and exceptions are those of `iter_sound`.
    """
    blocks = iter_sound(path, sample_rate=sample_rate, start=start, duration=duration, track=track)
    if blocks is None:
        return None
    parts = list(blocks)
    if not parts:
        return Sound(np.zeros(0, np.float32), sample_rate, start)
    samples = np.concatenate([part.samples for part in parts])
    return Sound(samples, sample_rate, parts[0].start_seconds, parts[-1].complaint)


def iter_sound(
    path: str | os.PathLike[str],
    *,
    block_seconds: float = 30.0,
    sample_rate: int = 16000,
    start: float = 0.0,
    duration: float | None = None,
    track: int = 0,
) -> Iterator[Sound] | None:
    """Iterate over the sound of a file in consecutive blocks; None if it has no sound.

    Samples are placed by their timestamps: sound that begins after the picture, or has a gap, is
    silent there, and sound before the first picture is left out. Channels are averaged. Where the
    timestamps begin again, as in files joined byte by byte, the sound continues.

    Args:
        path: a video or audio file.
        block_seconds: length of a block; the last may be shorter.
        sample_rate: samples per second, to which other rates are resampled.
        start: start in seconds after the first picture.
        duration: largest duration in seconds; None for the rest of the sound.
        track: number of the audio stream, from 0; `video_file.audio_tracks` lists them.

    Raises:
        PreprocessError: if an argument is out of its range, the file has sound but no such track,
            or there is no ffmpeg program.
        DecodeError: if the file cannot be opened, or, after the last block, if ffmpeg gave up.
    """
    _check_blocks(sample_rate, block_seconds, start, duration)
    clock = _read_clock(path, track)
    if clock is None:
        return None
    return _blocks(
        _decoder(path, clock, start, sample_rate, track),
        sample_rate=sample_rate,
        first=round(start * sample_rate),
        block=max(round(block_seconds * sample_rate), 1),
        wanted=None if duration is None else round(duration * sample_rate),
    )


def _check_blocks(
    sample_rate: int, block_seconds: float, start: float, duration: float | None
) -> None:
    values = {"sample_rate": sample_rate, "block_seconds": block_seconds, "duration": duration}
    for name, value in values.items():
        if value is not None and not 0 < value < math.inf:
            raise PreprocessError(f"{name} must be above 0. Received {value}.")
    if not 0 <= start < math.inf:
        raise PreprocessError(f"start must be 0 or later, in seconds. Received {start}.")


@dataclass(frozen=True)
class _Clock:
    """Timestamps of a file, in seconds.

    Args:
        file_start: earliest timestamp of all streams.
        video_start: timestamp of the first picture.
        restarts: True if the timestamps begin again on the way.
    """

    file_start: float
    video_start: float
    restarts: bool


def _read_clock(path: str | os.PathLike[str], track: int) -> _Clock | None:
    """Read the clock of a file; None if it has no sound.

    Raises:
        PreprocessError: if there is no such track.
    """
    with open_container(Path(path)) as container:
        num_tracks = len(container.streams.audio)
        if not num_tracks:
            return None
        if not 0 <= track < num_tracks:
            raise PreprocessError(
                f"The sound tracks of {path} are numbered 0 to {num_tracks - 1}. Received {track}."
            )
        file_start = (container.start_time or 0) / av.time_base
        streams = video_streams(container)
        if not streams:
            return _Clock(file_start, file_start, restarts=False)
        start, tick = streams[0].start_time, streams[0].time_base
        video_start = file_start if start is None or tick is None else float(start * tick)
    return _Clock(file_start, video_start, clock_restarts(path))


def _decoder(
    path: str | os.PathLike[str], clock: _Clock, start: float, sample_rate: int, track: int
) -> list[str]:
    """Command that writes float32 samples, from `start` on the picture's clock."""
    from_timestamp = clock.video_start + start
    seek = from_timestamp - clock.file_start - _PREROLL_SECONDS
    clock_args = ["-copyts"]
    if clock.restarts:
        # ffmpeg continues where a clock begins again if it may change timestamps: in formats that
        # are known for it (MPEG) by itself, in others (FLV) where this threshold makes them errors.
        # It cannot seek there, and its clock then begins with the file.
        seek = 0.0
        clock_args = ["-dts_error_threshold", "1"]
        from_timestamp -= clock.file_start
    # Two resamplers: the first converts rate and channels, the second inserts silence or drops
    # samples where the timestamps ask for it.
    filters = (
        f"aresample={sample_rate}:ochl=mono:osf=flt:rematrix_maxval=1,"
        f"aresample=async=1:min_hard_comp={_LARGEST_SLIP_SECONDS}"
        f":first_pts={round(from_timestamp * sample_rate)}"  # in samples of its input: so two
    )
    return [
        *(_ffmpeg(), "-hide_banner", "-nostdin", "-loglevel", "level+error", *clock_args),
        *(("-ss", f"{seek:.6f}") if seek > 0 else ()),
        *(*input_args(path), "-map", f"0:a:{track}", "-af", filters),
        *("-c:a", "pcm_f32le", "-f", "f32le", "pipe:1"),
    ]


def _blocks(
    args: list[str], *, sample_rate: int, first: int, block: int, wanted: int | None
) -> Iterator[Sound]:
    """Yield the decoder's output in blocks; its sample 0 is number `first` of the recording."""
    with tempfile.TemporaryFile() as messages:
        decoder = subprocess.Popen(
            args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages
        )
        assert decoder.stdout is not None
        try:
            place, ending = first, None if wanted is None else first + wanted
            # One block is read ahead, so that the last block can carry ffmpeg's final messages.
            samples = _read(decoder.stdout, place, block, ending)
            while len(samples):
                following = _read(decoder.stdout, place + len(samples), block, ending)
                if not len(following) and place + len(samples) != ending:
                    decoder.wait()  # so that all its messages are written
                complaint = _complaint(_text(messages))
                yield Sound(samples, sample_rate, place / sample_rate, complaint)
                place, samples = place + len(samples), following
            if place != ending and decoder.wait() != 0:
                raise DecodeError(_complaint(_text(messages)) or "ffmpeg gave up on the sound")
        finally:
            decoder.kill()
            decoder.stdout.close()
            decoder.wait()


def _read(pipe: IO[bytes], place: int, block: int, ending: int | None) -> Samples:
    """Read the next block of samples; it is shorter at the end of the file and before `ending`."""
    wanted = block if ending is None else min(block, ending - place)
    content = pipe.read(4 * wanted)
    samples = np.frombuffer(content, "<f4", len(content) // 4)
    # Damaged float sound may hold anything, and some codecs overshoot 1.
    return np.nan_to_num(np.clip(samples, -1, 1), copy=False)


def _text(messages: IO[bytes]) -> str:
    """Beginning of ffmpeg's messages, read without moving the position at which it writes."""
    return os.pread(messages.fileno(), _ENOUGH_BYTES, 0).decode(errors="replace")


def _complaint(message: str) -> str:
    """First error among ffmpeg's messages; empty if there is none."""
    found = _COMPLAINT.search(message)
    return in_plain_words(found["text"].strip()) if found else ""


def _ffmpeg() -> str:
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise PreprocessError(
            "Sound needs the ffmpeg program of imageio-ffmpeg, which has none here; install its "
            "wheel, or name a program in IMAGEIO_FFMPEG_EXE."
        ) from error
