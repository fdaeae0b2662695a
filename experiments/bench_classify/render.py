"""Videos to measure on: moving shapes with the noise of a camera, 640x360 H.264."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from common.errors import UserError

SIZE = (640, 360)
FPS = 30


def render_videos(folder: Path, *, num_videos: int = 2, num_frames: int = 1500) -> Path:
    """Render some videos; returns the folder.

    Args:
        folder: made if need be.
        num_videos: how many.
        num_frames: of each.
    """
    import cv2
    import imageio_ffmpeg

    folder.mkdir(parents=True, exist_ok=True)
    words = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-nostdin"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIZE[0]}x{SIZE[1]}", "-r", str(FPS)),
        *("-i", "-", "-c:v", "libx264", "-preset", "fast", "-pix_fmt", "yuv420p"),
    ]
    for number in range(num_videos):
        random = np.random.default_rng(number)
        coarse = random.integers(0, 256, (9, 16, 3), np.uint8)
        scene = cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC)
        encoder = subprocess.Popen(
            [*words, f"file:{folder.absolute()}/{number}.mp4"], stdin=subprocess.PIPE
        )
        assert encoder.stdin is not None
        for frame in range(num_frames):
            picture = np.roll(scene, 3 * frame, axis=1)
            cv2.circle(picture, (5 * frame % SIZE[0], 180), 60, (230, 60, 40), -1)
            noise = random.integers(-4, 5, picture.shape, np.int16)
            encoder.stdin.write(np.clip(picture + noise, 0, 255).astype(np.uint8).tobytes())
        encoder.stdin.close()
        if encoder.wait() != 0:
            raise UserError("ffmpeg could not render the videos")
    return folder
