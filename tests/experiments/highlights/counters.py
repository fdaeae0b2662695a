"""Videos whose frames show their numbers, with flashes and beeps, and functions that read them.

A frame shows its number as 16 black or white blocks. At each whole second one frame is white
below the blocks, and at the time of that frame the sound has a burst of 1 kHz.
"""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

SIZE = (160, 120)
SOUND_RATE = 48000
NTSC = Fraction(30000, 1001)


def ffmpeg(*args: str, stdin: bytes = b"") -> bytes:
    """Run the ffmpeg program, and return its standard output; its failure fails the test."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *args]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def image(number: int, *, flash: bool = False) -> np.ndarray:
    """Draw a grey frame (120, 160) that shows a number."""
    pixels = np.full((SIZE[1], SIZE[0]), 70, np.uint8)
    for bit in range(16):
        pixels[8:40, 10 * bit : 10 * bit + 10] = 235 if number >> bit & 1 else 20
    if flash:
        pixels[60:] = 235
    return pixels


def number_of(pixels: np.ndarray) -> int:
    """Read the number of a grey frame of any size."""
    height, width = pixels.shape
    row = pixels[round(height * 0.12) : round(height * 0.28)].mean(axis=0)
    # The middles of the blocks, which scaling and compression blur least.
    centres = ((np.arange(16) + 0.5) * width / 16).astype(int)
    return int(sum(1 << bit for bit, x in enumerate(centres) if row[x] > 128))


def flash_numbers(rate: Fraction, num_frames: int) -> list[int]:
    """Numbers of the frames nearest to whole seconds."""
    return [round(second * rate) for second in range(int(num_frames / rate) + 1)]


def sound(rate: Fraction, num_frames: int) -> bytes:
    """Make sound with a burst of 30 ms at each flash; 16 bits, one channel."""
    samples = np.zeros(round(num_frames / rate * SOUND_RATE), np.int16)
    burst = np.sin(2 * np.pi * 1000 * np.arange(SOUND_RATE * 30 // 1000) / SOUND_RATE)
    for number in flash_numbers(rate, num_frames):
        part = samples[round(number / rate * SOUND_RATE) :][: len(burst)]
        part[:] = (8000 * burst[: len(part)]).astype(np.int16)
    return samples.tobytes()


def render_counter(
    path: Path,
    rate: Fraction | int,
    seconds: float,
    *args: str,
    first: int = 0,
    has_sound: bool = True,
    kept: str = "",
) -> Path:
    """Render a video of numbered frames.

    Args:
        path: the file.
        rate: frames per second.
        seconds: length of the video.
        args: more arguments of ffmpeg for the output.
        first: number of the first frame.
        has_sound: whether there is sound.
        kept: expression of ffmpeg that selects frames to keep; makes the rate variable.
    """
    rate = Fraction(rate)
    num_frames = round(seconds * rate)
    flashes = set(flash_numbers(rate, num_frames))
    pixels = [image(first + n, flash=n in flashes).tobytes() for n in range(num_frames)]
    inputs = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", "160x120", "-r", str(rate), "-i", "-"]
    if has_sound:
        wave = path.with_suffix(".s16")
        wave.write_bytes(sound(rate, num_frames))
        inputs += ["-f", "s16le", "-ar", str(SOUND_RATE), "-ac", "1", "-i", f"file:{wave}"]
    outputs = ["-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-pix_fmt", "yuv420p"]
    outputs += ["-crf", "18", "-c:a", "aac"]
    if kept:
        outputs += ["-vf", f"select='{kept}'", "-fps_mode", "vfr"]
    ffmpeg(*inputs, *outputs, *args, f"file:{path}", stdin=b"".join(pixels))
    return path


def read_images(path: Path) -> tuple[list[np.ndarray], float]:
    """Read grey frames and the frame rate with OpenCV."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    assert capture.isOpened()
    images = []
    while True:
        found, pixels = capture.read()
        if not found:
            return images, float(capture.get(cv2.CAP_PROP_FPS))
        images.append(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))


def read_numbers(path: Path) -> list[int]:
    """Read the numbers of a file's frames."""
    return [number_of(pixels) for pixels in read_images(path)[0]]


def read_sound(path: Path) -> np.ndarray:
    """Read samples of one channel in [-1, 1], from the file's time 0 on."""
    filters = f"aresample={SOUND_RATE}:async=1:first_pts=0"
    args = ["-af", filters, "-ac", "1", "-f", "f32le", "-"]
    return np.frombuffer(ffmpeg("-i", f"file:{path}", "-vn", *args), np.float32)


def onsets(samples: np.ndarray) -> np.ndarray:
    """Find the beginnings of bursts, in seconds: half of the usual peak, after 50 ms of less."""
    loud = np.flatnonzero(np.abs(samples) > 0.1)
    begins = np.concatenate([[True], np.diff(loud) > SOUND_RATE // 20])
    return loud[begins] / SOUND_RATE


def flashes(images: list[np.ndarray], rate: float) -> np.ndarray:
    """Find the times of white frames, in seconds."""
    white = [n for n, pixels in enumerate(images) if pixels[-len(pixels) // 4 :].mean() > 160]
    return np.array(white) / rate


def has_sound(path: Path) -> bool:
    """Return whether a file has an audio stream."""
    args = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", f"file:{path}"]
    output = subprocess.run(args, capture_output=True, check=False).stderr
    return b"Audio:" in output
