"""A recording to measure on, of any length: some minutes are encoded, then repeated."""

from __future__ import annotations

import math
from pathlib import Path

from tqdm import tqdm

from experiments.media.ffmpeg import run, url

PICTURES_A_SECOND = 30
_ENCODED_MINUTES = 3.0
_PICTURE = f"testsrc2=s=1280x720:r={PICTURES_A_SECOND}:d={{0}},noise=alls=8:allf=t"
_SOUND = "sine=440:d={0},volume=0.5[tone];anoisesrc=d={0}:a=0.1:seed=1[noise];[tone][noise]amix"
_ENCODERS = (
    *("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"),
    *("-b:v", "3M", "-maxrate", "3M", "-bufsize", "6M"),
    *("-g", "60", "-keyint_min", "60", "-sc_threshold", "0"),
    *("-c:a", "aac", "-b:a", "128k", "-ac", "2"),
)


def make_recording(folder: Path, minutes: float) -> Path:
    """Write a recording of so many minutes into a folder; returns its path.

    Raises:
        RenderError: if ffmpeg fails.
    """
    seconds = 60 * min(minutes, _ENCODED_MINUTES)
    piece, whole = folder / "piece.mp4", folder / "recording.mp4"
    sources = [text.format(f"{seconds:g}") for text in (_PICTURE, _SOUND)]
    with tqdm(total=round(seconds * PICTURES_A_SECOND), unit=" pictures", desc="encoding") as bar:

        def advance(line: str) -> None:
            name, _, value = line.partition("=")
            if name == "frame":
                bar.update(int(value) - bar.n)

        inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
        quiet = ["-loglevel", "error", "-nostats", "-progress", "pipe:1"]
        run([*quiet, *inputs, *_ENCODERS, url(piece)], on_line=advance)
    times = math.ceil(60 * minutes / seconds)
    repeat = ["-stream_loop", str(times - 1), "-i", url(piece), "-t", f"{60 * minutes:g}"]
    run(["-loglevel", "error", *repeat, "-c", "copy", url(whole)])
    piece.unlink()
    return whole
