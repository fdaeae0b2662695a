"""Pictures and samples to a video file, with the ffmpeg program."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.media.ffmpeg import RenderError, complaints, url

_KEYFRAME_SECONDS = 2  # as live streams have it


def write_video(
    path: Path,
    pictures: Iterable[bytes],
    *,
    size: tuple[int, int],
    rate: Fraction,
    samples: NDArray[np.float32],
    sample_rate: int,
) -> None:
    """Write an MP4 of H.264 and AAC; it appears when it is complete. One core is used.

    Args:
        path: the file, in a folder that exists.
        pictures: planes of YUV 4:2:0.
        size: their width and height, in pixels, even.
        rate: pictures a second.
        samples: the sound, (N,), mono, in [-1, 1].
        sample_rate: samples a second.

    Raises:
        RenderError: if ffmpeg fails, with its own last complaint.
        OSError: if the folder cannot be written.
    """
    with tempfile.TemporaryDirectory(
        prefix=".video-", dir=path.parent, ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        pcm = np.rint(32767 * np.clip(samples, -1, 1)).astype("<i2")
        (folder / "sound.s16").write_bytes(pcm.tobytes())
        _encode([*_inputs(folder, size, rate, sample_rate), *_outputs(folder, rate)], pictures)
        os.replace(folder / "video.mp4", path)


def _inputs(folder: Path, size: tuple[int, int], rate: Fraction, sample_rate: int) -> list[str]:
    return [
        *("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{size[0]}x{size[1]}"),
        *("-r", str(rate), "-i", "pipe:0"),
        *("-f", "s16le", "-ar", str(sample_rate), "-ac", "1", "-i", url(folder / "sound.s16")),
    ]


def _outputs(folder: Path, rate: Fraction) -> list[str]:
    return [
        *("-map", "0:v", "-c:v", "libx264", "-preset", "veryfast", "-crf", "24"),
        *("-g", str(round(_KEYFRAME_SECONDS * rate)), "-threads", "1"),
        *("-map", "1:a", "-c:a", "aac", "-b:a", "96k"),
        *("-movflags", "+faststart", url(folder / "video.mp4")),
    ]


def _encode(words: list[str], pictures: Iterable[bytes]) -> None:
    """Run ffmpeg, with the pictures as its standard input."""
    import imageio_ffmpeg

    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error"]
    with tempfile.TemporaryFile() as messages:
        encoder = subprocess.Popen(
            [*program, *words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=messages
        )
        assert encoder.stdin is not None
        try:
            for picture in pictures:
                encoder.stdin.write(picture)
            encoder.stdin.close()
            code = encoder.wait()
        except BrokenPipeError:  # it gave up, and says why
            code = encoder.wait() or 1
        finally:
            encoder.kill()
            encoder.wait()
        if code != 0:
            messages.seek(0)
            said = complaints(messages.read().decode(errors="replace").splitlines())
            raise RenderError(f"ffmpeg failed: {said[-1] if said else f'exit code {code}'}")
