"""Videos of many kinds, whose frames show their own numbers.

Picture i shows i as 16 blocks, 4 x 4, row by row, least significant bit first: bright is 1. Bright
and dark are different colours, so that swapped channels show, and no picture but the first looks
like itself mirrored or turned.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np

RATE = 25
NUM_FRAMES = 30
_BRIGHT, _DARK = (235, 205, 150), (20, 40, 70)
_X264 = "-c:v libx264 -preset ultrafast -crf 8 -bf 2 -g 12 -pix_fmt yuv420p"
_X265 = "-c:v libx265 -preset ultrafast -crf 8 -g 12 -x265-params log-level=error"
_MPEG2 = "-c:v mpeg2video -q:v 2 -bf 2 -g 12"
_PAL = "-vf scale=720:576:flags=neighbor"
_FIELDS = "-vf setfield=tff -flags +ildct+ilme"
_FLV_HEADER_BYTES = 13  # written once, though the clock begins again after a reconnect
_GAP = "-vf setpts=(N+gt(N\\,14)*500)/25/TB -fps_mode vfr"
_SOUND = "-f lavfi -i sine=d=1.2:r=48000"

# Words for ffmpeg between its input, the numbered pictures, and the file. Another input, where
# there is one, comes first.
ENCODED: Mapping[str, str] = {
    # Progressive: codecs in the containers that they come in.
    **{f"h264.{suffix}": _X264 for suffix in ("mp4", "mkv", "mov", "ts", "flv", "m4v", "m2ts")},
    "h264.avi": f"{_X264} -bf 0",
    "h264_10bit.mkv": f"{_X264} -pix_fmt yuv420p10le",
    "h264_444.mp4": f"{_X264} -pix_fmt yuv444p",
    "h264_full_range.mp4": f"{_X264} -vf scale=out_range=full -color_range pc",
    "h264_bt709.mp4": f"{_X264} -vf scale=out_color_matrix=bt709 -colorspace bt709",
    "h264_open_gop.ts": f"{_X264} -x264-params open-gop=1",
    "h264_fragmented.mp4": f"{_X264} -movflags frag_keyframe+empty_moov",
    **{f"hevc.{suffix}": _X265 for suffix in ("mp4", "mkv", "ts")},
    **{f"mpeg4.{suffix}": "-c:v mpeg4 -q:v 2 -bf 2" for suffix in ("avi", "mp4", "mkv")},
    "mpeg4.3gp": "-c:v mpeg4 -q:v 2",
    "mpeg1.mpg": "-c:v mpeg1video -q:v 2 -bf 2 -g 12",
    **{f"mpeg2.{suffix}": _MPEG2 for suffix in ("mpg", "ts", "vob", "mkv")},
    "mpeg2.mxf": f"{_PAL} {_MPEG2} -bf 0",
    "vp8.webm": "-c:v libvpx -crf 4 -b:v 2M -deadline realtime",
    "vp9.webm": "-c:v libvpx-vp9 -crf 10 -b:v 0 -deadline realtime -cpu-used 8",
    "av1.mkv": "-c:v libaom-av1 -crf 10 -cpu-used 8 -usage realtime",
    "theora.ogv": "-c:v libtheora -q:v 9",
    "mjpeg.avi": "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p",
    "mjpeg.mov": "-c:v mjpeg -q:v 2 -pix_fmt yuvj422p",
    "ffv1.mkv": "-c:v ffv1 -pix_fmt yuv420p",
    "prores.mov": "-c:v prores_ks -profile:v 0",
    "dnxhr.mov": "-vf scale=320:240:flags=neighbor -c:v dnxhd -profile:v dnxhr_lb -pix_fmt yuv422p",
    "dv.avi": f"{_PAL} -c:v dvvideo -pix_fmt yuv420p",
    "huffyuv.avi": "-c:v huffyuv -pix_fmt yuv422p",
    "utvideo.avi": "-c:v utvideo -pix_fmt yuv420p",
    "wmv2.wmv": "-c:v wmv2 -q:v 2",
    "flv1.flv": "-c:v flv -q:v 2",
    "h263.3gp": "-vf scale=176:144:flags=neighbor -c:v h263 -q:v 2",
    "msmpeg4.avi": "-c:v msmpeg4 -q:v 2",
    "raw.avi": "-c:v rawvideo -pix_fmt bgr24",
    "png.mov": "-c:v png -pix_fmt rgba",
    "qtrle.mov": "-c:v qtrle -pix_fmt argb",
    # Interlaced.
    "interlaced_h264.mp4": f"{_X264} {_FIELDS} -bf 0",
    "interlaced_h264.ts": f"{_X264} {_FIELDS} -bf 2",
    "fake_interlaced.mkv": f"{_X264} -x264-params fake-interlaced=1:pic-struct=1",
    "interlaced_mpeg2.mpg": f"{_MPEG2} {_FIELDS}",
    "interlaced_mpeg2.ts": f"{_MPEG2} {_FIELDS}",
    "interlaced_mpeg2.mxf": f"{_MPEG2} -bf 0 {_FIELDS} {_PAL},setfield=tff",
    "interlaced_mpeg4.avi": f"-c:v mpeg4 -q:v 2 {_FIELDS}",
    "interlaced_dv.avi": "-vf scale=720:576:flags=neighbor,setfield=bff -c:v dvvideo "
    "-pix_fmt yuv420p -flags +ildct",
    "interlaced_ffv1.mkv": "-vf setfield=tff -c:v ffv1 -pix_fmt yuv420p -field_order tt",
    "interlaced_prores.mov": "-vf setfield=tff -c:v prores_ks -profile:v 0 -flags +ildct",
    # Uneven rates, and clocks that begin elsewhere than at 0.
    "vfr.mp4": f"{_X264} -vf setpts=(N+mod(N\\,5)*0.15)/25/TB -fps_mode vfr",
    "vfr.mkv": f"{_X264} -vf setpts=(N*N/30)/25/TB -fps_mode vfr -enc_time_base 1/1000",
    "slow.mp4": f"{_X264} -vf setpts=N*2/TB -fps_mode vfr -enc_time_base 1/1000",
    "ntsc.mp4": f"{_X264} -vf setpts=N*1001/30000/TB -r 30000/1001",
    **{f"gap.{suffix}": f"{_X264} -bf 0 {_GAP}" for suffix in ("mp4", "mkv", "flv", "ts")},
    "late.ts": f"{_X264} -output_ts_offset 100",
    "clock_wraps.ts": f"{_X264} -output_ts_offset 95443",  # 33 bits of 90 kHz end at 95443.7 s
    "picture_late.mp4": f"{_SOUND} {_X264} -vf setpts=PTS+0.5/TB -c:a aac -map 1:v -map 0:a",
    "picture_late.ts": f"{_SOUND} {_X264} -vf setpts=PTS+0.5/TB -c:a mp2 -map 1:v -map 0:a",
    "sound_late.mkv": f"{_SOUND} {_X264} -af adelay=500 -c:a aac -map 1:v -map 0:a",
}
_ORIENTATIONS = {
    "90": "-display_rotation 90",
    "180": "-display_rotation 180",
    "270": "-display_rotation 270",
    "hflip": "-display_hflip",
    "vflip": "-display_vflip",
    "90_hflip": "-display_rotation 90 -display_hflip",
    "270_hflip": "-display_rotation 270 -display_hflip",
    "180_vflip": "-display_rotation 180 -display_vflip",
    "by_30": "-display_rotation 30",
}
QUICK = (
    *("h264.mp4", "mpeg1.mpg", "mpeg4.avi", "wmv2.wmv", "vp8.webm", "h264_bt709.mp4", "vfr.mkv"),
    *("interlaced_h264.mp4", "interlaced_mpeg2.mpg", "mixed_interlaced.mkv", "interlaced_dv.avi"),
    *("turned_90.mp4", "turned_hflip.mp4", "turned_270_hflip.mov", "turned_by_stream.ts"),
    *("joined.ts", "joined.mpg", "joined.flv", "two_sizes.mkv", "two_sizes_joined.ts"),
    *("picture_late.mp4", "begins_amid.ts", "cover.m4v"),
)
"""Names of one or two videos of each kind, for the quick run."""


@dataclass(frozen=True)
class Specimen:
    """Video with what is known of it.

    Args:
        path: the file.
        numbers: numbers that its frames show; None for a video that was not made here.
        restarts: whether its clock begins again, so that its frames must come at even steps
            whatever the file says.
    """

    path: Path
    numbers: tuple[int, ...] | None = None
    restarts: bool = False


def ffmpeg(*args: object) -> None:
    """Run the ffmpeg program.

    Raises:
        RuntimeError: with what it says, if it fails.
    """
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error"]
    done = subprocess.run([*program, *map(str, args)], capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace"))


def numbered(first: int, count: int, *, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    """Draw frames that show their numbers, uint8 (count, height, width, 3), RGB."""
    bits = (np.arange(first, first + count)[:, None] >> np.arange(16)) & 1
    blocks = np.where(bits.reshape(count, 4, 4, 1), _BRIGHT, _DARK).astype(np.uint8)
    return blocks.repeat(size[1] // 4, axis=1).repeat(size[0] // 4, axis=2)


class SpecimenMaker:
    """Maker of videos in a folder.

    Args:
        folder: an existing folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._scratch = folder / ".scratch"
        self._scratch.mkdir()
        for name, first in (("first", 0), ("second", NUM_FRAMES)):
            self._write_images(self._scratch / f"{name}.nut", numbered(first, NUM_FRAMES))
        large = numbered(NUM_FRAMES, NUM_FRAMES, size=(320, 240))
        self._write_images(self._scratch / "large.nut", large)
        tall = numbered(NUM_FRAMES, NUM_FRAMES, size=(120, 160))
        self._write_images(self._scratch / "tall.nut", tall)

    def make(self, name: str) -> Specimen:
        """Make the video of a name among `names()`."""
        path = self._folder / name
        once, both = tuple(range(NUM_FRAMES)), tuple(range(2 * NUM_FRAMES))
        if name in ENCODED:
            self._encode(path, ENCODED[name])
            return Specimen(path, once)
        kind, _, which = path.stem.partition("_")
        if kind == "turned":
            return Specimen(self._turn(path, which))
        if kind == "joined":
            return Specimen(self._join(path, _JOINED[name]), both, restarts=True)
        return Specimen(*_OTHERS[name](self, path))

    def _write_images(self, path: Path, images: np.ndarray) -> None:
        args = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "rawvideo"]
        args += ["-pix_fmt", "rgb24", "-s", f"{images.shape[2]}x{images.shape[1]}"]
        args += ["-r", str(RATE), "-i", "-", "-c:v", "ffv1", "-pix_fmt", "bgr0", str(path)]
        subprocess.run(args, input=images.tobytes(), check=True)

    def _encode(self, path: Path, args: str, *, source: str = "first") -> Path:
        # In a filter a comma is escaped, so the words are parted at blanks alone.
        inputs, rest = [], args.split()
        if rest[0] == "-f":
            inputs, rest = rest[:4], rest[4:]
        ffmpeg(*inputs, "-i", self._scratch / f"{source}.nut", *rest, path)
        return path

    def _turn(self, path: Path, which: str) -> Path:
        upright = self._encode(self._scratch / "upright.mp4", _X264)
        if which == "by_stream":  # a message in the stream, not in the container
            turn = "h264_metadata=display_orientation=insert:rotate=90:flip=horizontal"
            ffmpeg("-i", upright, "-c", "copy", "-bsf:v", turn, path)
        else:
            ffmpeg(*_ORIENTATIONS[which].split(), "-i", upright, "-c", "copy", path)
        return path

    def _join(self, path: Path, args: str, *, second: str = "second") -> Path:
        content = b""
        for source in ("first", second):
            part = self._encode(self._scratch / f"part{path.suffix}", args, source=source)
            header = _FLV_HEADER_BYTES if content and path.suffix == ".flv" else 0
            content += part.read_bytes()[header:]
        path.write_bytes(content)
        return path

    def _two_sizes_joined(self, path: Path) -> tuple[Path, tuple[int, ...], bool]:
        return self._join(path, _X264, second="large"), tuple(range(2 * NUM_FRAMES)), True

    def _two_sizes(self, path: Path, second: str = "large") -> tuple[Path, tuple[int, ...], bool]:
        """Make a video whose size changes on the way, in a file of one clock."""
        args = "-c:v libvpx -crf 4 -b:v 2M -deadline realtime -f ivf"
        if path.suffix == ".mkv":
            args = f"{_X264} -bf 0 -f h264"
        joined = self._join(self._scratch / "two_sizes.raw", args, second=second)
        if path.suffix == ".mkv":
            # A raw stream has no clock of its own.
            ffmpeg("-f", "h264", "-r", RATE, "-i", joined, "-c", "copy", path)
        else:
            _rewrite_ivf(joined)
            ffmpeg("-f", "ivf", "-i", joined, "-c", "copy", path)
        return path, tuple(range(2 * NUM_FRAMES)), False

    def _two_shapes(self, path: Path) -> tuple[Path, tuple[int, ...], bool]:
        return self._two_sizes(path, second="tall")

    def _mixed_interlaced(self, path: Path) -> tuple[Path, tuple[int, ...], bool]:
        """Make a video that is progressive first and then interlaced."""
        content = b""
        for source, fields in (("first", ""), ("second", f"{_FIELDS} -bf 0")):
            part = self._scratch / "part.h264"
            content += self._encode(part, f"{_X264} {fields} -bf 0", source=source).read_bytes()
        raw = self._scratch / "mixed.h264"
        raw.write_bytes(content)
        ffmpeg("-f", "h264", "-r", RATE, "-i", raw, "-c", "copy", path)
        return path, tuple(range(2 * NUM_FRAMES)), False

    def _turns_on_the_way(self, path: Path) -> tuple[Path, tuple[int, ...], bool]:
        """Make a video that is upright and then turned, by messages in the stream; TS is joined."""
        suffix = ".ts" if path.suffix == ".ts" else ".h264"
        content = b""
        for source, degrees in (("first", 0), ("second", 90)):
            turn = f"-bsf:v h264_metadata=display_orientation=insert:rotate={degrees}"
            part = self._scratch / f"part{suffix}"
            content += self._encode(part, f"{_X264} -bf 0 {turn}", source=source).read_bytes()
        whole = path if suffix == ".ts" else self._scratch / "turns.h264"
        whole.write_bytes(content)
        if whole != path:
            ffmpeg("-f", "h264", "-r", RATE, "-i", whole, "-c", "copy", path)
        return path, (), suffix == ".ts"

    def _begins_amid(self, path: Path) -> tuple[Path, tuple[int, ...], bool]:
        """Make a recorded stream: frames before its first keyframe cannot be decoded."""
        whole = self._encode(self._scratch / "whole.ts", _X264)
        content = whole.read_bytes()
        # Tables of a transport stream come every 100 ms, so a cut file can still be read.
        start = len(content) // 4 // 188 * 188
        path.write_bytes(content[start:])
        return path, (), False

    def _cover(self, path: Path) -> tuple[Path, tuple[int, ...], bool]:
        """Make sound with a cover picture, which is no video."""
        image = self._scratch / "cover.png"
        ffmpeg("-i", self._scratch / "first.nut", "-frames:v", 1, image)
        args = [*_SOUND.split(), "-i", image, "-map", "0:a", "-map", "1:v", "-c:a", "aac"]
        ffmpeg(*args, "-c:v", "copy", "-disposition:v", "attached_pic", "-f", "mp4", path)
        return path, (), False

    def _two_streams(self, path: Path) -> tuple[Path, tuple[int, ...], bool]:
        first, second = (self._scratch / f"{name}.nut" for name in ("first", "large"))
        args = ["-i", first, "-i", second, "-map", "0:v", "-map", "1:v"]
        ffmpeg(*args, *_X264.split(), path)
        return path, tuple(range(NUM_FRAMES)), False


def _rewrite_ivf(path: Path) -> None:
    """Turn two joined IVF files into one: one header, times that continue."""
    content, place, packets = path.read_bytes(), 32, []
    while place < len(content):
        if content[place : place + 4] == b"DKIF":
            place += 32
            continue
        size = int.from_bytes(content[place : place + 4], "little")
        packets.append(content[place + 12 : place + 12 + size])
        place += 12 + size
    header = content[:24] + len(packets).to_bytes(4, "little") + content[28:32]
    body = b"".join(
        len(packet).to_bytes(4, "little") + number.to_bytes(8, "little") + packet
        for number, packet in enumerate(packets)
    )
    path.write_bytes(header + body)


_JOINED = {
    "joined.ts": _X264,
    "joined.mpg": "-c:v mpeg1video -q:v 2 -bf 2 -g 12",
    "joined.vob": _MPEG2,
    "joined.flv": _X264,
    "joined.m2ts": _X264,
    "joined_interlaced.ts": f"{_MPEG2} {_FIELDS}",
}
_OTHERS: Mapping[str, Callable[[SpecimenMaker, Path], tuple[Path, tuple[int, ...], bool]]] = {
    "two_sizes.mkv": SpecimenMaker._two_sizes,
    "two_sizes.webm": SpecimenMaker._two_sizes,
    "two_shapes.mkv": SpecimenMaker._two_shapes,
    "two_sizes_joined.ts": SpecimenMaker._two_sizes_joined,
    "mixed_interlaced.mkv": SpecimenMaker._mixed_interlaced,
    "turns_on_the_way.mkv": SpecimenMaker._turns_on_the_way,
    "turns_on_the_way.ts": SpecimenMaker._turns_on_the_way,
    "begins_amid.ts": SpecimenMaker._begins_amid,
    "cover.m4v": SpecimenMaker._cover,
    "two_streams.mp4": SpecimenMaker._two_streams,
}


def names() -> tuple[str, ...]:
    """Names of all videos that can be made."""
    turned = [f"turned_{which}.mp4" for which in _ORIENTATIONS]
    turned += ["turned_270_hflip.mov", "turned_by_stream.ts", "turned_by_stream.mkv"]
    return (*ENCODED, *turned, *_JOINED, *_OTHERS)
