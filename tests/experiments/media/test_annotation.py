"""Annotated copies against ffmpeg's own reading of the video and of the copy.

Each picture shows its number in the upper half, as eight blocks that are bright for 1; so does each
image of the panel, along the bottom.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from experiments.media.annotation import annotate
from experiments.media.ffmpeg import require_encoders
from preprocess.video.decode import VideoReader
from preprocess.video.transforms import FrameFit
from tests.processes import REPOSITORY

REPORTED = REPOSITORY.parent / "shared/clips/reported"
SIZE = (160, 120)
PANEL = (64, 8)


def ffmpeg(*args: object, stdin: bytes = b"") -> tuple[bytes, str]:
    """What the program writes and what it says."""
    done = subprocess.run(
        [get_ffmpeg_exe(), "-y", *map(str, args)], input=stdin, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout, done.stderr.decode(errors="replace")


def numbered(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A grey picture (H, W) that shows a number in its upper half."""
    bits = np.array([number >> bit & 1 for bit in range(8)]).reshape(2, 4)
    rows, columns = np.arange(size[1]) * 4 // size[1], np.arange(size[0]) * 4 // size[0]
    upper = bits[np.minimum(rows, 1)][:, columns]
    return np.where((upper == 1) & (rows < 2)[:, None], 225, 60).astype(np.uint8)


def read_number(image: np.ndarray) -> int:
    height, width = image.shape
    centres = [
        image[height * (2 * r + 1) // 8, width * (2 * c + 1) // 8] for r, c in np.ndindex(2, 4)
    ]
    return sum(1 << bit for bit, value in enumerate(centres) if value > 140)


def read_panel(image: np.ndarray) -> int:
    row = image[len(image) - PANEL[1] // 2]
    return sum(1 << bit for bit in range(8) if row[8 * bit + 4] > 140)


class NumberPanel:
    """Shows how many of some times have come."""

    size = PANEL

    def __init__(self, times: list[float]) -> None:
        self._times = times

    def images(self) -> Iterator[tuple[float, bytes]]:
        start, last = self._times[0], self._times[-1]
        for number, seconds in enumerate(self._times):
            yield seconds - start, self._image(number)
        for more in count(1):
            yield last - start + more / 10, self._image(len(self._times) - 1)

    @staticmethod
    def _image(number: int) -> bytes:
        bits = np.repeat([255 * (number >> bit & 1) for bit in range(8)], 8)
        image = np.full((PANEL[1], PANEL[0], 4), 255, np.uint8)
        image[..., :3] = bits[None, :, None]
        return image.tobytes()


def write(path: Path, number: int = 60, *args: object, size=SIZE, first=0, inputs=()) -> Path:
    """Pictures numbered from `first` at 25 a second, H.264 unless the words say otherwise."""
    raw = b"".join(numbered(first + n, size).tobytes() for n in range(number))
    source = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "gray",
        "-s",
        f"{size[0]}x{size[1]}",
        "-r",
        25,
        "-i",
        "-",
    ]
    codec = ["-c:v", "libx264", "-crf", 12, "-pix_fmt", "yuv420p", "-c:a", "aac"]
    ffmpeg(*source, *inputs, *codec, *args, path, stdin=raw)
    return path


def sine(seconds: float, *before: object, hertz: int = 440) -> list[object]:
    return [*before, "-f", "lavfi", "-i", f"sine=frequency={hertz}:duration={seconds}"]


def plain(folder: Path) -> Path:
    return write(folder / "x.mp4", 60, "-shortest", inputs=sine(3))


def late(folder: Path) -> Path:
    video = write(folder / "v.mp4")
    ffmpeg(
        "-itsoffset", 1.5, "-i", video, *sine(4), "-c:v", "copy", "-c:a", "aac", folder / "x.mp4"
    )
    return folder / "x.mp4"


def early(folder: Path) -> Path:
    return write(folder / "x.mkv", inputs=sine(1, "-itsoffset", 1))


def shorter(folder: Path) -> Path:
    return write(folder / "x.mp4", inputs=sine(0.7))


def longer(folder: Path) -> Path:
    return write(folder / "x.mp4", inputs=sine(7))


def silent(folder: Path) -> Path:
    return write(folder / "x.mov")


def variable(folder: Path) -> Path:
    times = ["-vf", "settb=1/1000,setpts=N*(40+N)", "-fps_mode", "vfr", "-enc_time_base", "1/1000"]
    return write(folder / "x.mkv", 40, *times, inputs=sine(2))


def two_rates(folder: Path) -> Path:
    """25 pictures a second, then 60, in MP4."""
    times = "settb=1/3000,setpts='if(lt(N,30),N*120,3600+(N-30)*50)'"
    args = ["-vf", times, "-fps_mode", "vfr", "-enc_time_base", "1/3000"]
    return write(folder / "x.mp4", 90, *args)


def odd(folder: Path) -> Path:
    return write(folder / "x.mkv", 20, "-c:v", "ffv1", "-pix_fmt", "yuv444p", size=(161, 121))


def wide_pixels(folder: Path) -> Path:
    return write(folder / "x.mp4", 20, "-vf", "setsar=4/3")


def turned(*flags: object) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        video = write(folder / "v.mp4", 20)
        ffmpeg(*flags, "-i", video, "-c", "copy", folder / "x.mp4")
        return folder / "x.mp4"

    return make


def joined(folder: Path) -> Path:
    """Two transport streams byte by byte, so that the clock begins again."""
    parts = [write(folder / f"{n}.ts", 50, first=50 * n, inputs=sine(2)) for n in range(2)]
    path = folder / "x.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def far_start(folder: Path) -> Path:
    return write(folder / "x.ts", 40, "-output_ts_offset", 50000.123, inputs=sine(2))


def program_stream(folder: Path) -> Path:
    args = ["-c:v", "mpeg2video", "-q:v", 3, "-c:a", "mp2"]
    return write(folder / "x.mpg", 50, *args, inputs=sine(2))


def grows(folder: Path) -> Path:
    """From picture 25 on of twice the size."""
    raw = b""
    for first, size in ((0, SIZE), (25, (320, 240))):
        args = ["-bf", 0, "-f", "h264"]
        raw += write(folder / f"{first}.h264", 25, *args, first=first, size=size).read_bytes()
    (folder / "raw.h264").write_bytes(raw)
    ffmpeg(
        "-f", "h264", "-framerate", 25, "-i", folder / "raw.h264", "-c", "copy", folder / "x.mkv"
    )
    return folder / "x.mkv"


MAKERS = {
    "plain": plain, "picture late": late, "picture early": early, "sound shorter": shorter,
    "sound longer": longer, "silent": silent, "variable rate": variable, "two rates": two_rates,
    "odd sides": odd, "wide pixels": wide_pixels, "hflip": turned("-display_hflip"),
    "vflip": turned("-display_vflip"), "rotated": turned("-display_rotation", 180),
    "rotated and mirrored": turned("-display_rotation", 180, "-display_hflip"),
    "clock restarts": joined, "far start": far_start, "program stream": program_stream,
    "size changes": grows,
}  # fmt: skip


def image_times(path: Path) -> np.ndarray:
    """When each picture is shown, in seconds of the file, as ffmpeg says.

    The sound is gone through as well: a transport stream begins with what is gone through.
    """
    args = ["-map", "0:v:0", "-vf", "showinfo", "-fps_mode", "passthrough"]
    _, output = ffmpeg("-i", path, *args, "-map", "0:a:0?", "-c:a", "copy", "-f", "null", "-")
    return np.array([float(time) for time in re.findall(r"showinfo.* pts_time:\s*(\S+)", output)])


def images_of(path: Path) -> np.ndarray:
    """Grey pictures (T, H, W) of a video."""
    _, output = ffmpeg("-i", path, "-frames:v", 1, "-f", "null", "-")
    width, height = map(int, re.search(r"Video: .*?, (\d+)x(\d+)[, ]", output).groups())
    args = ["-i", path, "-fps_mode", "passthrough", "-pix_fmt", "gray", "-f", "rawvideo", "-"]
    return np.frombuffer(ffmpeg(*args)[0], np.uint8).reshape(-1, height, width)


def reader_times(path: Path) -> list[float]:
    times = []
    with VideoReader(path, fit=FrameFit((1, 1))) as video:
        while video.pass_over():
            times.append(video.time_seconds)
    return times


def copied(path: Path, out: Path) -> np.ndarray:
    """The pictures of an annotated copy."""
    annotate(path, lambda size: NumberPanel(reader_times(path)), out)
    return images_of(out)


@pytest.mark.parametrize("name", MAKERS)
def test_each_picture_has_its_own_panel_and_time(name: str, tmp_path: Path) -> None:
    """Red when a picture is lost or repeated, or it or its panel is shown at another time."""
    source, out = MAKERS[name](tmp_path), tmp_path / "copy.mp4"
    images = copied(source, out)
    numbers = list(range(len(images)))
    expected = image_times(source)
    assert len(images) == len(expected)
    upright = {"hflip": np.s_[:, ::-1], "vflip": np.s_[::-1], "rotated": np.s_[::-1, ::-1]}
    upright["rotated and mirrored"] = np.s_[::-1]
    shown = [read_number(image[upright.get(name, np.s_[:])]) for image in images]
    if name in ("vflip", "rotated", "rotated and mirrored"):  # the panel lies on some blocks
        shown = [number & 0b11110000 | place & 0b1111 for place, number in enumerate(shown)]
    assert shown == numbers
    assert [read_panel(image) for image in images] == numbers
    times = image_times(out)
    tolerance = 0.5 / 25 if name == "clock restarts" else 0.002
    np.testing.assert_allclose(np.diff(times), np.diff(expected), atol=tolerance)


def flash_and_beep(path: Path) -> tuple[float, float]:
    """When the first bright picture is shown, and when the first loud sample is heard."""
    bright = images_of(path).mean(axis=(1, 2)) > 128
    padded = ["-af", "aresample=8000:async=1:first_pts=0", "-ac", 1, "-f", "f32le", "-"]
    args = ["-map", "0:a:0", *padded, "-map", "0:v:0", "-f", "null", "/dev/null"]
    samples = np.frombuffer(ffmpeg("-i", path, *args)[0], np.float32)
    return image_times(path)[bright.argmax()], (np.abs(samples) > 0.1).argmax() / 8000


def flashing(folder: Path, name: str, *, delay: float, sound: float) -> Path:
    """A flash and a beep at 2 s of the sound, which lasts `sound`; pictures begin after `delay`."""
    image = f"color=black:s=160x120:r=25:d=5,geq=lum='255*gte(T,{2 - delay})':cb=128:cr=128"
    beep = f"aevalsrc='sin(2764*t)*gte(t,2)':d={sound}"
    inputs = ["-f", "lavfi", "-i", image, "-f", "lavfi", "-i", beep]
    ffmpeg(*inputs, "-c:v", "libx264", "-c:a", "aac", folder / "v.mkv")
    shift = ["-itsoffset", delay, "-i", folder / "v.mkv", "-i", folder / "v.mkv"]
    ffmpeg(*shift, "-map", "0:v", "-map", "1:a", "-c", "copy", folder / name)
    return folder / name


def flashes():
    """Every container with every delay and length of sound; the quick ones have each once."""
    for place, (delay, sound) in enumerate([(0, 5), (1.5, 5), (1.5, 3), (0, 2.5), (0, 9)]):
        for number, name in enumerate(("x.mp4", "x.mkv", "x.ts")):
            marks = [] if (place + number) % 3 == 1 else [pytest.mark.slow]
            yield pytest.param(name, delay, sound, marks=marks)


@pytest.mark.parametrize(("name", "delay", "sound"), flashes())
def test_flash_and_beep_coincide(name: str, delay: float, sound: float, tmp_path: Path) -> None:
    """Red when sound and pictures are moved against each other."""
    source = flashing(tmp_path, name, delay=delay, sound=sound)
    flash, beep = flash_and_beep(source)
    assert flash == pytest.approx(beep, abs=0.05)
    assert len(copied(source, tmp_path / "copy.mp4")) == 125
    flash, beep = flash_and_beep(tmp_path / "copy.mp4")
    assert flash == pytest.approx(beep, abs=0.05)


def tracks_of(path: Path) -> list[tuple[str, str, float, float]]:
    """Language, title, pitch in Hz and beginning in seconds of each sound track."""
    _, output = ffmpeg("-i", path, "-map", "0:v:0", "-frames:v", 1, "-f", "null", "-")
    found = []
    for number, stream in enumerate(
        re.findall(r"(?s)Stream #0:\d+(.*?)(?=Stream #|\Z)", output)[1:]
    ):
        if "Audio" not in stream or "->" in stream:
            break
        language = re.search(r"\((\w+)\): Audio", stream)
        title = re.search(r"(?:title|name) +: (?!SoundHandler)(.*)", stream)
        padded = ["-af", "aresample=8000:async=1:first_pts=0", "-ac", 1, "-f", "f32le", "-"]
        image = ["-map", "0:v:0", "-f", "null", "/dev/null"]  # with which a stream may begin
        content, _ = ffmpeg("-i", path, "-map", f"0:a:{number}", *padded, *image)
        samples = np.frombuffer(content, np.float32)
        pitch = np.abs(np.fft.rfft(samples)).argmax() * 8000 / len(samples)
        begin = (np.abs(samples) > 0.05).argmax() / 8000
        tongue = language[1].replace("und", "") if language else ""
        found.append((tongue, title[1] if title else "", pitch, begin))
    return found


@pytest.mark.parametrize("name", ["x.mkv", "x.mp4", "x.ts", "x.mov"])
def test_all_sound_tracks_are_kept(name: str, tmp_path: Path) -> None:
    """Red when the copy has the first track alone, or another's name, or one is moved in time."""
    args = ["-map", 0, "-map", 1, "-map", 2, "-map", 3, "-c:a", "aac", "-ac", 2]
    args += ["-metadata:s:a:1", "language=eng", "-metadata:s:a:2", "language=ger"]
    args += ["-metadata:s:a:1", "title=Mic, and 'more'=x"] * (name == "x.mkv")
    inputs = [*sine(2), *sine(1.2, hertz=880), *sine(1, "-itsoffset", 0.6, hertz=1500)]
    source, out = write(tmp_path / name, 50, *args, inputs=inputs), tmp_path / "copy.mp4"
    assert len(copied(source, out)) == 50
    expected, found = tracks_of(source), tracks_of(out)
    assert [track[0] for track in expected] == ["", "eng", "ger"]
    assert [track[:2] for track in found] == [track[:2] for track in expected]
    pitches, wanted = (np.array([track[2] for track in tracks]) for tracks in (found, expected))
    np.testing.assert_allclose(pitches, wanted, atol=2)
    begins, wanted = (np.array([track[3] for track in tracks]) for tracks in (found, expected))
    np.testing.assert_allclose(begins, wanted, atol=0.03)


def test_a_track_that_nobody_decodes(tmp_path: Path) -> None:
    """Red when it ends the copy, as the spatial sound of a telephone would, or another is lost."""
    args = ["-map", 0, "-map", 1, "-map", 2, "-c:a", "aac"]
    source = write(tmp_path / "x.mkv", 50, *args, inputs=[*sine(2), *sine(2)])
    source.write_bytes(source.read_bytes().replace(b"A_AAC", b"A_ODD", 1))
    out = tmp_path / "copy.mp4"
    assert len(copied(source, out)) == 50
    assert len(tracks_of(out)) == 1


@pytest.mark.skipif(not REPORTED.exists(), reason="needs the clips in ../shared/clips/reported")
def test_reported_videos(tmp_path: Path) -> None:
    for name in ("vdelay.mp4", "ashort.mp4", "cat.ts"):
        out = tmp_path / f"{name}.mp4"
        images = copied(REPORTED / name, out)
        assert len(images) == (200 if name == "cat.ts" else 125)
        numbers = [read_panel(image) for image in images]
        assert numbers == list(range(len(images)))
        if name == "vdelay.mp4":
            assert flash_and_beep(out) == pytest.approx((3.9, 3.9), abs=0.05)


def test_an_ffmpeg_that_cannot_encode_is_refused(tmp_path: Path, monkeypatch) -> None:
    """Red when that is found out only after the first video."""
    require_encoders()
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"Annotated videos need an ffmpeg that writes H\.264"):
        require_encoders()
    lame = tmp_path / "ffmpeg"
    lame.write_text("#!/bin/sh\necho \"Unknown encoder 'libx264'\" >&2\nexit 1\n")
    lame.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(lame))
    with pytest.raises(ValueError, match=r"Unknown encoder 'libx264'.* IMAGEIO_FFMPEG_EXE"):
        require_encoders()
