"""A stream of real clips with sound for `bench_highlights_loop`.

Clips of actions, in folders by class and named `..._g07_...` by the scene, as UCF101's are, follow
each other; other videos give the sound. A highlight shows one class and has a sound of its own.
Some other moments have that sound too, so it alone does not tell. The labelled clips and the
recording show no scene in common, and have other parts of each sound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.errors import InputError
from common.files import write_text
from experiments.highlights.demo.synthetic_stream import LABELS_NAME, RECORDING_NAME, TRUTH_NAME
from experiments.media.ffmpeg import run, url
from experiments.media.recording import Chunk, read_chunk

_WIDTH, _HEIGHT, _RATE, _SAMPLE_RATE = 320, 240, 25, 44100
_CALM_SECONDS = (2.0, 5.0)  # shortest and longest of a shot
_HIGHLIGHT_SECONDS = (4.0, 8.0)
_GAP_SECONDS = 12.0  # least time between two highlights
_DISTRACTORS = 0.15  # share of other shots that have the sound of a highlight
_SCENE = re.compile(r"_g(\d+)_")


@dataclass(frozen=True)
class Sources:
    """Clips and sounds of which a stream is composed.

    Args:
        clips: folder of clips, in folders by class.
        highlight: class of the clips that are highlights.
        sounds: videos whose sound other moments have.
        highlight_sounds: videos whose sound the highlights have.
    """

    clips: Path
    highlight: str
    sounds: tuple[Path, ...]
    highlight_sounds: tuple[Path, ...]


@dataclass(frozen=True)
class _Shot:
    """Part of a video with a part of another one's sound."""

    video: Chunk
    start: float
    length: float
    sound: Chunk
    sound_start: float
    is_highlight: bool


def compose_stream(
    root: Path,
    sources: Sources,
    *,
    num_clips: int,
    num_chunks: int,
    chunk_seconds: float,
    seed: int,
) -> None:
    """Write a stream under `root`, in the layout of the demo's.

    The labels have the columns path, start, end and label alone, as a user writes them.

    Raises:
        InputError: if the sources lack clips of either kind, or sound.
        RenderError: if a file cannot be read or written.
    """
    rng = np.random.default_rng(seed)
    labelled, recorded = _pools(sources)
    (root / "clips").mkdir(parents=True, exist_ok=True)
    (root / RECORDING_NAME).mkdir(exist_ok=True)
    rows = ["path,start,end,label"]
    with tqdm(total=num_clips + num_chunks, desc="stream of clips", unit="file") as bar:
        for number in range(1, num_clips + 1):
            # Every third clip is without a highlight, as in the demo.
            shots = labelled.shots(rng, 20.0, max_highlights=int(number % 3 != 0))
            path = root / "clips" / f"clip{number:02d}.mp4"
            _compose(path, shots)
            spans = _spans(shots)
            rows += [f"clips/{path.name},{start:g},{end:g},highlight" for start, end in spans]
            rows += [] if spans else [f"clips/{path.name},,,none"]
            bar.update()
        truth, offset = ["start,end"], 0.0
        for number in range(num_chunks):
            shots = recorded.shots(rng, chunk_seconds)
            _compose(root / RECORDING_NAME / f"part{number}.mp4", shots)
            truth += [f"{offset + start:g},{offset + end:g}" for start, end in _spans(shots)]
            offset += sum(one.length for one in shots)
            bar.update()
    write_text(root / LABELS_NAME, "\n".join([*rows, ""]))
    write_text(root / TRUTH_NAME, "\n".join([*truth, ""]))


@dataclass(frozen=True)
class _Pool:
    """Videos and sounds of which shots are drawn; `half` is the part of each sound."""

    highlights: Sequence[Chunk]
    others: Sequence[Chunk]
    sounds: Sequence[Chunk]
    highlight_sounds: Sequence[Chunk]
    half: int

    def shots(
        self, rng: np.random.Generator, seconds: float, *, max_highlights: int | None = None
    ) -> list[_Shot]:
        """Draw shots that last some seconds in all; the first and the last are no highlights."""
        shots: list[_Shot] = []
        left, num_highlights, since = seconds, 0, float(rng.uniform(0, _GAP_SECONDS))
        while left > _CALM_SECONDS[0]:
            wanted = float(rng.uniform(*_HIGHLIGHT_SECONDS))
            if (
                since >= (_GAP_SECONDS if max_highlights is None else _CALM_SECONDS[1])
                and left > wanted + _CALM_SECONDS[0]
                and num_highlights != max_highlights
            ):
                new = list(self._highlight(rng, wanted))
                num_highlights, since = num_highlights + 1, 0.0
            else:
                length = min(float(rng.uniform(*_CALM_SECONDS)), left)
                is_loud = rng.random() < _DISTRACTORS
                sounds = self.highlight_sounds if is_loud else self.sounds
                new = [self._shot(rng, self.others, sounds, length, is_highlight=False)]
                since += new[0].length
            shots += new
            left -= sum(one.length for one in new)
        return shots

    def _highlight(self, rng: np.random.Generator, seconds: float) -> Iterator[_Shot]:
        """Draw the shots of one highlight; a clip may be shorter than it."""
        while seconds > 1:
            shot = self._shot(
                rng, self.highlights, self.highlight_sounds, seconds, is_highlight=True
            )
            seconds -= shot.length
            yield shot

    def _shot(
        self,
        rng: np.random.Generator,
        videos: Sequence[Chunk],
        sounds: Sequence[Chunk],
        seconds: float,
        *,
        is_highlight: bool,
    ) -> _Shot:
        video = videos[int(rng.integers(len(videos)))]
        sound = sounds[int(rng.integers(len(sounds)))]
        half = sound.duration / 2
        # Whole frames, so that the shots' lengths add up.
        length = int(min(seconds, video.duration - video.video_start, half) * _RATE) / _RATE
        return _Shot(
            video,
            float(rng.uniform(0, video.duration - video.video_start - length)),
            length,
            sound,
            half * self.half + float(rng.uniform(0, half - length)),
            is_highlight,
        )


def _pools(sources: Sources) -> tuple[_Pool, _Pool]:
    """Videos of the labelled clips and of the recording; no scene is in both."""
    highlights: tuple[list[Chunk], list[Chunk]] = ([], [])
    others: tuple[list[Chunk], list[Chunk]] = ([], [])
    for folder in sorted(path for path in sources.clips.iterdir() if path.is_dir()):
        files = [path for path in sorted(folder.iterdir()) if _SCENE.search(path.name)]
        scenes = sorted({_scene(path) for path in files})
        kind = highlights if folder.name == sources.highlight else others
        for path in files:
            kind[scenes.index(_scene(path)) % 2].append(read_chunk(path))
    sounds = [read_chunk(path) for path in sources.sounds]
    highlight_sounds = [read_chunk(path) for path in sources.highlight_sounds]
    silent = [one.path for one in (*sounds, *highlight_sounds) if one.sound is None]
    if silent or not (sounds and highlight_sounds):
        raise InputError(
            "--sounds and --highlight-sounds must name videos with sound. "
            f"Received {', '.join(map(str, silent)) or 'none'}."
        )
    if not all((*highlights, *others)):
        raise InputError(
            f"--clips must be a folder with {sources.highlight} and other classes, each of clips "
            f"of two scenes or more (..._g01_..., ..._g02_...). Received {sources.clips}."
        )
    labelled, recorded = (
        _Pool(highlights[half], others[half], sounds, highlight_sounds, half) for half in (0, 1)
    )
    return labelled, recorded


def _scene(path: Path) -> str:
    found = _SCENE.search(path.name)
    assert found is not None
    return found[1]


def _spans(shots: Sequence[_Shot]) -> list[tuple[float, float]]:
    """Highlights among the shots, in seconds; shots that touch are one."""
    spans: list[tuple[float, float]] = []
    time = 0.0
    for one in shots:
        end = round(time + one.length, 3)
        if one.is_highlight:
            start = spans.pop()[0] if spans and spans[-1][1] == time else time
            spans.append((start, end))
        time = end
    return spans


def _compose(path: Path, shots: Sequence[_Shot]) -> None:
    """Join shots to a file, in H.264 and AAC."""
    inputs: list[str] = []
    graph: list[str] = []
    for number, one in enumerate(shots):
        video, sound = (
            f"{2 * number}:{one.video.video_stream}",
            f"{2 * number + 1}:{one.sound.sound}",
        )
        inputs += ["-ss", f"{one.start:.6f}", "-i", url(one.video.file)]
        inputs += ["-ss", f"{one.sound_start:.6f}", "-i", url(one.sound.file)]
        graph.append(
            f"[{video}]fps={_RATE},scale={_WIDTH}:{_HEIGHT},setsar=1,format=yuv420p,"
            f"tpad=stop_mode=clone:stop=-1,trim=end_frame={round(one.length * _RATE)},"
            f"setpts=PTS-STARTPTS[v{number}]"
        )
        graph.append(
            f"[{sound}]aresample={_SAMPLE_RATE},aformat=sample_fmts=fltp:channel_layouts=mono,apad,"
            f"atrim=end_sample={round(one.length * _SAMPLE_RATE)},asetpts=PTS-STARTPTS[a{number}]"
        )
    labels = "".join(f"[v{number}][a{number}]" for number in range(len(shots)))
    graph.append(f"{labels}concat=n={len(shots)}:v=1:a=1[picture][sound]")
    args = [
        *("-loglevel", "error", "-max_error_rate", "1", *inputs),
        *("-filter_complex", ";".join(graph), "-map", "[picture]", "-map", "[sound]"),
        *("-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-g", str(2 * _RATE)),
        *("-c:a", "aac", "-b:a", "96k", "-movflags", "+faststart", "-y", url(path)),
    ]
    run(args)
