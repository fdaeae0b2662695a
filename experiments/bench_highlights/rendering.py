"""A reel of ten highlights: ours, and the way of eqy/autotosis."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from experiments.bench_highlights.table import Row, row_of
from experiments.highlights.rendering.render import render_reel
from experiments.media.ffmpeg import run, url
from experiments.media.recording import read_recording, recording_duration

NUM_HIGHLIGHTS = 10
HIGHLIGHT_SECONDS = 10.0
WORK = f"reel of {NUM_HIGHLIGHTS} highlights of {HIGHLIGHT_SECONDS:g} s"
_ENCODERS = (
    *("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p"),
    *("-c:a", "aac", "-b:a", "192k"),
)
Span = tuple[float, float]


def measure_rendering(recording: Path, *, rounds: int, with_original: bool) -> list[Row]:
    """Time both on the same highlights, which are spread evenly over the recording."""
    spans = highlights(recording_duration(read_recording([recording])))
    ours = [_seconds(render_ours, recording, spans) for _ in tqdm(range(rounds), desc="reel, ours")]
    if not with_original:
        return [row_of(WORK, "ours", ours)]
    with tqdm(total=len(spans), desc="reel, the original's way", unit=" highlights") as bar:
        original = _seconds(render_originally, recording, spans, bar.update)
    return [
        row_of(WORK, "trim from 0 for each, as the original", [original]),
        row_of(WORK, "ours", ours, original),
    ]


def highlights(duration: float) -> list[Span]:
    """Each in the middle of its tenth of the recording; at picture times, so that none is moved."""
    middles = [duration * (place + 0.5) / NUM_HIGHLIGHTS for place in range(NUM_HIGHLIGHTS)]
    return [
        (round(middle - HIGHLIGHT_SECONDS / 2), round(middle + HIGHLIGHT_SECONDS / 2))
        for middle in middles
    ]


def render_ours(recording: Path, spans: Sequence[Span], folder: Path) -> Path:
    """As the command renders them."""
    render_reel([recording], spans, folder / "ours.mp4")
    return folder / "ours.mp4"


def render_originally(
    recording: Path,
    spans: Sequence[Span],
    folder: Path,
    on_highlight: Callable[[], object] = lambda: None,
) -> Path:
    """One ffmpeg a highlight, whose trim filters throw away all before it; then they are joined.

    The original's presets are slower than those here, which are ours.
    """
    for number, (start, end) in enumerate(spans):
        graph = (
            f"[0:v]trim=start={start}:end={end},setpts=PTS-STARTPTS[v];"
            f"[0:a]atrim=start={start}:end={end},asetpts=PTS-STARTPTS[a];"
            "[v][a]concat=n=1:v=1:a=1[picture][sound]"
        )
        outputs = ["-map", "[picture]", "-map", "[sound]", *_ENCODERS, f"clip{number}.mp4"]
        inputs = ["-loglevel", "error", "-i", url(recording)]
        run([*inputs, "-filter_complex", graph, *outputs], folder)
        on_highlight()
    names = "".join(f"file clip{number}.mp4\n" for number in range(len(spans)))
    (folder / "list.txt").write_text(names, "ascii")
    run(
        ["-loglevel", "error", "-f", "concat", "-i", "list.txt", "-c", "copy", "joined.mp4"], folder
    )
    return folder / "joined.mp4"


def _seconds(render: Callable[..., Path], recording: Path, *arguments: object) -> float:
    with tempfile.TemporaryDirectory(dir=recording.parent) as name:
        spans, *rest = arguments
        started = time.perf_counter()
        render(recording, spans, Path(name), *rest)
        return time.perf_counter() - started
