"""Reels of recordings whose pictures change on the way: size, pixel shape, format, range, turn.

Each file is two encodings joined. What a reel shows is compared with the pictures as drawn, fitted
into the first one's size by hand.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from experiments.highlights.rendering.opening import opened_recording
from experiments.highlights.rendering.render import render_reel
from experiments.highlights.selection.selection import Segment
from experiments.highlights.selection.shots import shots_near
from experiments.media.recording import read_recording

sys.path.insert(0, str(Path(__file__).parent))
import counters
from counters import ffmpeg

from tests.processes import REPOSITORY

REPORTED = REPOSITORY.parent / "shared/clips/reported"
RATE = 25
SIZE = (160, 120)
GROUND = 60
BARS = 16


def blocks(number: int, width: int, height: int) -> np.ndarray:
    """A grey picture (height, width) whose 4 x 4 blocks say a number, as in ../shared/clips."""
    bits = np.array([number >> bit & 1 for bit in range(16)]).reshape(4, 4)
    rows = np.arange(height) * 4 // height
    columns = np.arange(width) * 4 // width
    return np.where(bits[rows][:, columns] == 1, 225, GROUND).astype(np.uint8)


def number_in(image: np.ndarray) -> int:
    """What a grey picture without bars says."""
    height, width = image.shape
    centres = [
        image[round((row + 0.5) * height / 4), round((column + 0.5) * width / 4)]
        for row in range(4)
        for column in range(4)
    ]
    return sum(1 << bit for bit, value in enumerate(centres) if value > 140)


def part(path: Path, first: int, size: tuple[int, int], *args: str, step: int = 1) -> bytes:
    """50 pictures as a bare H.264 stream, the first with a number."""
    pixels = b"".join(blocks(first + step * place, *size).tobytes() for place in range(50))
    ffmpeg(
        *("-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{size[0]}x{size[1]}", "-r", str(RATE)),
        *("-i", "-", "-c:v", "libx264", "-crf", "12", "-bf", "0", "-g", "10"),
        *("-pix_fmt", "yuv420p", *args, "-f", "h264", str(path)),
        stdin=pixels,
    )
    return path.read_bytes()


def joined(folder: Path, first: bytes, second: bytes) -> Path:
    """Two streams as one file."""
    raw, out = folder / "raw.h264", folder / "changes.mkv"
    raw.write_bytes(first + second)
    ffmpeg("-f", "h264", "-framerate", str(RATE), "-i", str(raw), "-c", "copy", str(out))
    return out


def shown(path: Path) -> list[np.ndarray]:
    """Grey pictures of a reel, black at 16 whatever it says of its range."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [frame.to_ndarray(format="yuv420p")[: frame.height] for frame in frames]


def inside(image: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, width and height of what is not bars."""
    columns = np.flatnonzero(image.max(axis=0) > (BARS + GROUND) / 2)
    rows = np.flatnonzero(image.max(axis=1) > (BARS + GROUND) / 2)
    return (
        int(columns[0]),
        int(rows[0]),
        int(columns[-1] - columns[0] + 1),
        int(rows[-1] - rows[0] + 1),
    )


def check_reel(source: Path, out: Path, box: tuple[int, int, int, int]) -> list[np.ndarray]:
    """A reel from before, across and after the change, of whose second half a box is not bars."""
    segments = [(0.4, 1.2), (1.6, 2.4), (2.8, 3.6)]
    render_reel([source], segments, out)
    images = shown(out)
    wanted = [*range(10, 30), *range(40, 60), *range(70, 90)]
    assert len(images) == len(wanted)
    assert {image.shape for image in images} == {SIZE[::-1]}
    left, top, width, height = box
    for number, image in zip(wanted, images, strict=True):
        whole = image if number < 50 else image[top : top + height, left : left + width]
        assert number_in(whole) == number
        bars = image.copy()
        if number >= 50:
            assert inside(image) == pytest.approx(box, abs=2)
            bars[max(top - 2, 0) : top + height + 2, max(left - 2, 0) : left + width + 2] = BARS
            assert bars.max() < (BARS + GROUND) / 2
    return images


# What changes, how the second part is made, and where it lies in a picture of 160 x 120.
CHANGES = {
    "larger": ((320, 240), [], (0, 0, 160, 120)),
    "smaller": ((80, 60), [], (0, 0, 160, 120)),
    "portrait": ((120, 160), [], (35, 0, 90, 120)),
    "wide": ((320, 120), [], (0, 30, 160, 60)),
    "odd": ((97, 161), ["-pix_fmt", "yuv444p"], (44, 0, 72, 120)),
    "wide pixels": (SIZE, ["-vf", "setsar=2/1"], (0, 30, 160, 60)),
    "narrow pixels": (SIZE, ["-vf", "setsar=1/2"], (40, 0, 80, 120)),
    "size and pixels": ((320, 120), ["-vf", "setsar=1/2"], (0, 0, 160, 120)),
    "format": (SIZE, ["-pix_fmt", "yuv444p"], (0, 0, 160, 120)),
    "depth": (SIZE, ["-pix_fmt", "yuv420p10le"], (0, 0, 160, 120)),
    "range": (SIZE, ["-vf", "scale=out_range=pc", "-color_range", "pc"], (0, 0, 160, 120)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_on_the_way(change, tmp_path):
    """Red if a picture is cut off, stretched or lost where the stream changes."""
    size, args, box = CHANGES[change]
    first = part(tmp_path / "first.h264", 0, SIZE)
    source = joined(tmp_path, first, part(tmp_path / "second.h264", 50, size, *args))
    images = check_reel(source, tmp_path / "reel.mp4", box)
    before, after = (np.percentile(images[place], 95) for place in (5, 55))
    assert abs(before - after) < 6  # brightness is kept, of another range too


def turning(degrees: int) -> list[str]:
    """Words that have each keyframe say how it is turned, counterclockwise."""
    return ["-bsf:v", f"h264_metadata=display_orientation=insert:rotate={degrees}"]


def fitted_by_ffmpeg(source: Path) -> np.ndarray:
    """Grey pictures (T, 120, 160): each turned by the program, and fitted into 160 x 120."""
    fit = f"scale={SIZE[0]}:{SIZE[1]}:force_original_aspect_ratio=decrease:out_range=tv"
    fit += f",format=yuv420p,pad={SIZE[0]}:{SIZE[1]}:-1:-1"
    args = ["-i", str(source), "-vf", fit, "-fps_mode", "passthrough", "-f", "rawvideo", "-"]
    content = np.frombuffer(ffmpeg(*args), np.uint8).reshape(-1, SIZE[1] * SIZE[0] * 3 // 2)
    return content[:, : SIZE[0] * SIZE[1]].reshape(-1, SIZE[1], SIZE[0])


TURNS = [(None, 90), (None, 180), (180, None), (180, 90)]
KINDS = ["mkv", "mp4", "ts", "joined ts"]


def turned_files():
    """Every kind of file with every turn; the quick ones have each kind and each turn once."""
    for place, kind in enumerate(KINDS):
        for number, turns in enumerate(TURNS):
            is_quick = place == number
            yield pytest.param(kind, turns, marks=[] if is_quick else [pytest.mark.slow])


@pytest.mark.parametrize(("kind", "turns"), turned_files())
def test_a_turn_that_changes_on_the_way(kind, turns, tmp_path):
    """Red if pictures keep the turn of the first one that is read, or their number is another.

    A stream that is turned goes on to be where nothing more is said, as ffmpeg reads it.
    """
    args = [[] if degrees is None else turning(degrees) for degrees in turns]
    streams = [part(tmp_path / "part.h264", 50 * n, SIZE, *args[n]) for n in range(2)]
    source = tmp_path / f"turns.{kind.split()[-1]}"
    wholes = streams if kind == "joined ts" else [b"".join(streams)]
    sound = ["-f", "lavfi", "-i", f"sine=d={100 / RATE / len(wholes)}", "-c:a", "aac"]
    content = b""
    for whole in wholes:
        raw = tmp_path / "raw.h264"
        raw.write_bytes(whole)
        inputs = ["-f", "h264", "-framerate", str(RATE), "-i", str(raw)]
        ffmpeg(*inputs, *sound, "-c:v", "copy", str(source))
        content += source.read_bytes()
    source.write_bytes(content)
    out = tmp_path / "reel.mp4"
    with opened_recording([source], beside=out, say=lambda line: None) as chunks:
        render_reel(chunks, [(0.4, 1.2), (1.6, 2.4), (2.8, 3.6)], out, crossfade=0.2)
    images, expected = shown(out), fitted_by_ffmpeg(source)
    assert len(expected) == 100
    # Sound may begin before the first picture, and a cut is moved to the nearest one.
    early = round(0.4 * RATE) - math.floor((0.4 - chunks[0].video_start) * RATE + 0.5)
    wanted = {14: 24, 21: 46, 24: 49, 25: 50, 29: 54, 40: 80, 49: 89}  # but for those that fade
    assert len(images) == 3 * 20 - 2 * 5
    for place, number in wanted.items():
        apart = np.abs(images[place].astype(int) - expected[number - early])
        assert apart.mean() < 6, (place, number)
    assert np.abs(counters.read_sound(out)).max() > 0.05


def test_a_change_of_shot_at_a_change_of_size(tmp_path):
    """Red if the measuring begins anew there, and so has no picture before to compare with."""
    first = part(tmp_path / "first.h264", 0, SIZE, step=0)
    second = part(tmp_path / "second.h264", 0xFF00, (320, 240), step=0)
    chunks = read_recording([joined(tmp_path, first, second)])
    assert shots_near(chunks, [Segment(1.7, 3.5, 0.9, 2.0)]) == pytest.approx([2.0], abs=0.021)


def test_chunks_of_other_shapes(tmp_path):
    """Red if a chunk is fitted by its pixels' number instead of their shape, or not turned."""
    shapes = {  # size, words of the second file's header, where it lies in 160 x 120
        "anamorphic": ((80, 120), ["-vf", "setsar=2/1"], [], (0, 0, 160, 120)),
        "turned": (SIZE, [], ["-display_rotation", "90"], (35, 0, 90, 120)),
        "mirrored": (SIZE, [], ["-display_hflip"], (0, 0, 160, 120)),
        "large": ((640, 240), [], [], (0, 30, 160, 60)),
    }
    first = tmp_path / "first.mp4"
    part(tmp_path / "first.h264", 0, SIZE)
    ffmpeg("-framerate", str(RATE), "-i", str(tmp_path / "first.h264"), "-c", "copy", str(first))
    for name, (size, args, header, box) in shapes.items():
        source, out = tmp_path / f"{name}.mp4", tmp_path / f"{name} reel.mp4"
        part(tmp_path / "second.h264", 50, size, *args)
        plain = tmp_path / "plain.mp4"
        raw = str(tmp_path / "second.h264")
        ffmpeg("-framerate", str(RATE), "-i", raw, "-c", "copy", str(plain))
        ffmpeg(*header, "-i", str(plain), "-c", "copy", str(source))
        render_reel([first, source], [(1.6, 2.4)], out)
        images = shown(out)
        assert len(images) == 20, name
        left, top, width, height = box
        for number, image in enumerate(images[10:], 50):
            assert inside(image) == pytest.approx(box, abs=2), name
            whole = image[top : top + height, left : left + width]
            upright = {"turned": np.rot90(whole, -1), "mirrored": whole[:, ::-1]}.get(name, whole)
            assert number_in(upright) == number, name


@pytest.mark.skipif(not REPORTED.exists(), reason="needs the clips in ../shared/clips/reported")
@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("vp8res.webm", (0, 0, 160, 120)),
        ("res2x.mkv", (0, 0, 160, 120)),
        ("portrait.mkv", (35, 0, 90, 120)),
    ],
)
def test_reported_changes(name, box, tmp_path):
    """Red as above, in the files that were reported; of which res2x.mkv has a gap."""
    out = tmp_path / "reel.mp4"
    render_reel([REPORTED / name], [(0.6, 1.4), (1.6, 2.4), (2.6, 3.4)], out)
    images = shown(out)
    wanted = [*range(15, 35), *range(40, 60), *range(65, 85)]
    assert len(images) == len(wanted)
    left, top, width, height = box
    for number, image in zip(wanted, images, strict=True):
        whole = image if number < 50 else image[top : top + height, left : left + width]
        assert abs(number_in(whole) - number) <= 2 or 49 <= number <= 52
