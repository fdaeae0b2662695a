"""Measure highlights of a long recording: rendering beside the original's way, and scoring.

    python -m experiments.bench_highlights --minutes 60

The recording is encoded like a stream: 1280x720, 30 frames per second, H.264 of 3 Mbit/s with a
keyframe every 2 s, AAC. Then, in one run:

- 10 highlights of 10 s, spread over it, become a reel: by us, and in eqy/autotosis' way, which
  decodes from the start of the recording for each of them. Both encode with the same settings.
- a ResNet-18 with random weights scores it: from the file to the CSV, and the two parts alone,
  decoding to the same pictures and the model on as many pictures. Each of these lives in a
  process of its own; they take turns, round by round, and medians are compared.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tqdm import tqdm

from common import formatting
from common.command_line import parse_arguments
from common.errors import InputError
from experiments.benchmarks import Remote, carry_out, closing_all, keep_results, take_turns
from experiments.media import ffmpeg
from experiments.process import runtime
from experiments.process.runtime import Threads
from experiments.runs.run import require_place


@dataclass(frozen=True)
class Arguments:
    """Seconds of rendering a reel and of scoring, ours beside the original's way and bare work."""

    minutes: float = 60.0
    """Length of the recording."""
    rounds: int = 3
    """How often each is timed, but the original's way once; the median counts."""
    fps: float = 2.0
    """Pictures a second that are scored."""
    threads: str = "auto"
    """Of scoring: auto, or INTRA,INTER."""
    original: bool = True
    """Whether to measure the original's way, which takes long."""
    out: Path = Path("runs/bench_highlights")
    """Folder for table.md and results.json."""


def run(arguments: Arguments) -> None:
    """Measure rendering and scoring, print the table and write it.

    Raises:
        ValueError, OSError: for an impossible flag or folder.
    """
    if not (arguments.minutes >= 2 and arguments.rounds >= 1 and arguments.fps > 0):
        raise InputError("--minutes must be at least 2, --rounds at least 1, and --fps above 0.")
    threads = runtime.choose_threads(arguments.threads, workload="resnet")
    require_place(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    runtime.hush()

    with tempfile.TemporaryDirectory(prefix="bench-highlights-") as name:
        recording = make_recording(Path(name), arguments.minutes)
        rows = measure_rendering(
            recording,
            minutes=arguments.minutes,
            rounds=arguments.rounds,
            with_original=arguments.original,
        )
        rows += measure_scoring(
            recording, fps=arguments.fps, rounds=arguments.rounds, threads=threads
        )
        size_bytes = recording.stat().st_size
    keep_results(
        arguments.out,
        rows,
        table=table(rows),
        circumstances=(
            f"A recording of {arguments.minutes:g} minutes, {size_bytes / 1e9:.2f} GB; medians of "
            f"{arguments.rounds} rounds"
        ),
        threads=threads,
    )


# A recording of any length to measure on: some minutes are encoded, then repeated.


IMAGES_A_SECOND = 30
_ENCODED_MINUTES = 3.0
_VIDEO_ARGS = f"testsrc2=s=1280x720:r={IMAGES_A_SECOND}:d={{0}},noise=alls=8:allf=t"
_SOUND = "sine=440:d={0},volume=0.5[tone];anoisesrc=d={0}:a=0.1:seed=1[noise];[tone][noise]amix"
# As streams are: a constant 3 Mbit/s, and a keyframe every 60 frames, 2 seconds, wherever scenes
# cut.
_STREAM_ENCODERS = (
    *("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"),
    *("-b:v", "3M", "-maxrate", "3M", "-bufsize", "6M"),
    *("-g", "60", "-keyint_min", "60", "-sc_threshold", "0"),
    *("-c:a", "aac", "-b:a", "128k", "-ac", "2"),
)


def make_recording(folder: Path, minutes: float) -> Path:
    """Write a recording of a length in minutes into a folder; returns its path.

    Raises:
        RenderError: if ffmpeg fails.
    """
    seconds = 60 * min(minutes, _ENCODED_MINUTES)
    piece, whole = folder / "piece.mp4", folder / "recording.mp4"
    sources = [text.format(f"{seconds:g}") for text in (_VIDEO_ARGS, _SOUND)]
    with tqdm(total=round(seconds * IMAGES_A_SECOND), unit=" pictures", desc="encoding") as bar:

        def advance(line: str) -> None:
            name, _, value = line.partition("=")
            if name == "frame":
                bar.update(int(value) - bar.n)

        inputs = [arg for source in sources for arg in ("-f", "lavfi", "-i", source)]
        quiet = ["-loglevel", "error", "-nostats", "-progress", "pipe:1"]
        ffmpeg.run([*quiet, *inputs, *_STREAM_ENCODERS, ffmpeg.url(piece)], on_line=advance)
    # Encoding an hour would take longer than the measurement; copies of packets take seconds.
    times = math.ceil(60 * minutes / seconds)
    repeat = ["-stream_loop", str(times - 1), "-i", ffmpeg.url(piece), "-t", f"{60 * minutes:g}"]
    ffmpeg.run(["-loglevel", "error", *repeat, "-c", "copy", ffmpeg.url(whole)])
    piece.unlink()
    return whole


# A reel of ten highlights, rendered by us and in the way of eqy/autotosis.


NUM_HIGHLIGHTS = 10
HIGHLIGHT_SECONDS = 10.0
WORK = f"reel of {NUM_HIGHLIGHTS} highlights of {HIGHLIGHT_SECONDS:g} s"
_REEL_ENCODERS = (
    *("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p"),
    *("-c:a", "aac", "-b:a", "192k"),
)
Span = tuple[float, float]


def measure_rendering(
    recording: Path, *, minutes: float, rounds: int, with_original: bool
) -> list[Row]:
    """Time both ways on the same highlights, which are spread evenly over the recording."""
    spans = highlights(60 * minutes)
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
    """Place each highlight in the middle of its tenth of the recording, in seconds."""
    middles = [duration * (place + 0.5) / NUM_HIGHLIGHTS for place in range(NUM_HIGHLIGHTS)]
    return [
        # Whole seconds are times of frames, so that rendering moves no edge.
        (round(middle - HIGHLIGHT_SECONDS / 2), round(middle + HIGHLIGHT_SECONDS / 2))
        for middle in middles
    ]


def render_ours(recording: Path, spans: Sequence[Span], folder: Path) -> Path:
    """Render the highlights as the command does."""
    from experiments.highlights.rendering.render import render_reel

    render_reel([recording], spans, folder / "ours.mp4")
    return folder / "ours.mp4"


def render_originally(
    recording: Path,
    spans: Sequence[Span],
    folder: Path,
    on_highlight: Callable[[], object] = lambda: None,
) -> Path:
    """Render in the original's way: an ffmpeg for each highlight that decodes from the beginning.

    Its trim filters throw away all frames before the highlight; then the highlights are joined. The
    encoder's settings are ours, which are faster than the original's.
    """
    for number, (start, end) in enumerate(spans):
        graph = (
            f"[0:v]trim=start={start}:end={end},setpts=PTS-STARTPTS[v];"
            f"[0:a]atrim=start={start}:end={end},asetpts=PTS-STARTPTS[a];"
            "[v][a]concat=n=1:v=1:a=1[picture][sound]"
        )
        outputs = ["-map", "[picture]", "-map", "[sound]", *_REEL_ENCODERS, f"clip{number}.mp4"]
        inputs = ["-loglevel", "error", "-i", ffmpeg.url(recording)]
        ffmpeg.run([*inputs, "-filter_complex", graph, *outputs], folder)
        on_highlight()
    names = "".join(f"file clip{number}.mp4\n" for number in range(len(spans)))
    (folder / "list.txt").write_text(names, "ascii")
    ffmpeg.run(
        ["-loglevel", "error", "-f", "concat", "-i", "list.txt", "-c", "copy", "joined.mp4"], folder
    )
    return folder / "joined.mp4"


def _seconds(render: Callable[..., Path], recording: Path, *arguments: object) -> float:
    with tempfile.TemporaryDirectory(dir=recording.parent) as name:
        spans, *rest = arguments
        started = time.perf_counter()
        render(recording, spans, Path(name), *rest)
        return time.perf_counter() - started


# Scoring of a recording, from the file to the CSV, and its two parts alone.


BATCH_SIZE = 32
DEPTH = 18
_SYSTEMS = "experiments.bench_highlights_systems"
_SUM = "both, one after the other"
_OURS = "ours, file to CSV"


def measure_scoring(recording: Path, *, fps: float, rounds: int, threads: Threads) -> list[Row]:
    """Time scoring and its two parts on the same recording."""
    work = f"scoring at {fps:g} pictures/s, ResNet-{DEPTH}"
    plain = runtime.choose_threads("auto")
    systems = {
        "bare decoding": Remote(f"{_SYSTEMS}:BareDecoding", recording, fps, threads=plain),
        "bare model": Remote(f"{_SYSTEMS}:BareModel", recording, fps, threads=plain),
        _OURS: Remote(f"{_SYSTEMS}:Ours", recording, fps, threads, threads=threads),
    }
    with closing_all(systems):
        answers = take_turns(systems, "seconds", rounds, work="scoring")
    seconds = {name: [taken for taken, _ in pairs] for name, pairs in answers.items()}
    peaks = {name: pairs[-1][1] for name, pairs in answers.items()}
    ours = seconds.pop(_OURS)
    # Decoding and model one after the other: what a loop without overlap takes.
    both = [sum(pair) for pair in zip(*seconds.values(), strict=True)]
    reference = median(both)
    rows = [row_of(work, name, taken, peak=peaks[name]) for name, taken in seconds.items()]
    rows.append(row_of(work, _SUM, both))
    return [*rows, row_of(work, _OURS, ours, reference, peak=peaks[_OURS])]


# Rows and table.


@dataclass(frozen=True)
class Row:
    """Figures of one system at one work."""

    work: str
    system: str
    seconds: float
    """Median time of the rounds."""
    spread: float | None
    """Relative spread of the rounds, (slowest - fastest) / median; None for one round."""
    share: float | None
    """Time relative to that of the row it is compared with; None without one."""
    peak_rss_bytes: int | None
    """Peak memory of its process; None if it has none of its own."""


def row_of(
    work: str,
    system: str,
    seconds: Sequence[float],
    reference: float | None = None,
    peak: int | None = None,
) -> Row:
    """Make a row from the seconds of all rounds, compared with those of a reference."""
    middle = median(seconds)
    spread = (max(seconds) - min(seconds)) / middle if len(seconds) > 1 else None
    return Row(work, system, middle, spread, middle / reference if reference else None, peak)


def table(rows: Sequence[Row]) -> str:
    """Make a Markdown table; shares are of the row above."""
    lines = [
        "| work | system | time | spread | of the above | peak RSS |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [
            row.work,
            row.system,
            formatting.duration(row.seconds),
            formatting.or_absent(row.spread, lambda value: f"{value:.0%}"),
            formatting.or_absent(row.share, lambda value: f"{value:.3f}"),
            formatting.or_absent(row.peak_rss_bytes, formatting.size),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Run the command, and return the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.bench_highlights")
    return carry_out(lambda: run(arguments))


# Guarded, because spawned processes import this module, too.
if __name__ == "__main__":
    sys.exit(main())
