"""Arguments with which ffmpeg seeks to a piece of a reel and renders it.

Sound stays PCM, of exactly as many samples as the frames last, and becomes AAC only once, in the
whole reel: the padding of AAC at each join would delay it against the frames.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
from av.video.frame import VideoFrame

from experiments.media.ffmpeg import SAME_BYTES, RenderError, run
from experiments.media.pieces import Form, FrameRange, Piece
from experiments.media.recording import Chunk
from preprocess.errors import DecodeError
from preprocess.video import ffmpeg
from preprocess.video.video_file import find_video_stream, open_container

# Images a second of the strip that shows the score, which changes slowly.
STRIP_RATE = 5
UPRIGHT_LEAD_SECONDS = 10
"""Seconds before a stretch that are kept where its frames are turned upright first."""
_VIDEO_ARGS = (
    *("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p"),
    *SAME_BYTES,
)
_SOUND = ("-c:a", "pcm_f32le")
# Tried in turn. Even the first is not 0, since a decoder of sound needs a little of what is before.
_PREROLL_SECONDS = (0.1, 10.0, 60.0)
_TURNING_CODECS = {"h264", "hevc"}  # with messages on how to turn a picture (SEI, type 47)


def find_preroll(stretch: FrameRange, rate: Fraction) -> int:
    """Number of frames before a stretch at which reading must begin.

    In a file without an index, or a damaged one, a seek may land behind the cut. So each preroll
    is tried out; if none lands before the cut, reading begins with the file.
    """
    max_preroll = math.ceil(stretch.seconds(0, rate) * rate)
    for seconds in _PREROLL_SECONDS:
        preroll = math.ceil(seconds * rate)
        if preroll < max_preroll and _lands_before(stretch, preroll, rate):
            return preroll
    return max_preroll


def input_args(
    stretch: FrameRange, preroll: int, rate: Fraction, *, turns: bool = False
) -> list[str]:
    """Arguments with which ffmpeg opens a stretch's file at a preroll.

    A seek goes to the keyframe before. All frames from there are kept, so that one that began
    before the cut and is still shown at the cut is there. Where the size of the frames changes on
    the way, ffmpeg would restart its filters, which would then count from 0 again; that is turned
    off. But only restarted filters turn each frame as it says, which `turns` asks for; see
    `find_turning_preroll`.
    """
    start = stretch.seconds(0, rate) - float(preroll / rate)
    seek = ["-noaccurate_seek", "-ss", f"{start:.6f}"] if start > 0 else []
    anew = [] if turns else ["-reinit_filter", "0"]
    return [*seek, *anew, *ffmpeg.input_args(stretch.chunk.file)]


def find_turning_preroll(stretch: FrameRange, rate: Fraction) -> int | None:
    """Preroll, in frames, of a stretch whose frames change their orientation on the way.

    In streams of some codecs a frame says how it and those after it are turned, until another
    frame says otherwise. Where the orientation may have changed, reading begins with the file.
    Only the keyframes of the last seconds and the file's first are read, since all would take
    long.

    Returns:
        The number of frames from the file's beginning, or None if all keyframes that were read
        are turned in the same way.
    """
    start = stretch.seconds(0, rate)
    stop = start + float(stretch.count / rate)
    before = max(start - _PREROLL_SECONDS[1], 0.0)
    first: bytes | None = None
    seen: list[bytes | None] = []
    try:
        with open_container(stretch.chunk.file) as container:
            stream = find_video_stream(container)
            codec = stream.codec_context
            if codec is None or codec.name not in _TURNING_CODECS:
                return None
            # Decoding keyframes alone is what makes this cheap.
            codec.skip_frame = "NONKEY"
            begin = (container.start_time or 0) / av.time_base
            if before:
                first = next(map(_matrix, container.decode(stream)), None)
                container.seek(round((before + begin) * av.time_base), backward=True)
            for frame in container.decode(stream):
                if frame.time is not None and frame.time - begin >= stop:
                    break
                seen.append(_matrix(frame))
    except (av.error.FFmpegError, DecodeError):  # damaged; rendering says how
        pass
    # A keyframe without a message keeps the orientation that an earlier one has set, so it is
    # uncertain where the file's first keyframe has a message.
    changes = len(set(seen)) > 1 or (first is not None and None in seen)
    return math.ceil(start * rate) if changes else None


def _matrix(frame: VideoFrame) -> bytes | None:
    """Display matrix of a frame, by which it asks to be turned, or None."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    return None if matrix is None else bytes(matrix)


def shift(stretch: FrameRange, preroll: int, rate: Fraction) -> int:
    """Microseconds from ffmpeg's time 0, which follows the seek, to the start of the stretch."""
    return round(min(stretch.seconds(0, rate), float(preroll / rate)) * 10**6)


def _lands_before(stretch: FrameRange, preroll: int, rate: Fraction) -> bool:
    lines: list[str] = []
    args = [
        *("-loglevel", "info", *input_args(stretch, preroll, rate)),
        *("-map", f"0:{stretch.chunk.video_stream}", "-vf", "settb=AVTB,showinfo"),
        *("-frames:v", "1", "-f", "null", "-"),
    ]
    try:
        lines = run(args)
    except RenderError:
        return False
    shown = (re.match(r"\[Parsed_showinfo_1 @ \w+\] n: *0 pts: *(-?\d+)", line) for line in lines)
    # `showinfo` prints the time of the first frame after the seek, in microseconds (`AVTB`). Half a
    # frame late is on the same place of the grid.
    first = next((int(found[1]) for found in shown if found), None)
    return first is not None and first <= shift(stretch, preroll, rate) + 10**6 / 2 / rate


def piece_args(
    piece: Piece, form: Form, num_samples: int, name: str, strip: tuple[str, int, int] | None
) -> list[str]:
    """Arguments of ffmpeg that render one piece of a reel.

    Args:
        piece: which frames are shown.
        form: rate, size and sound format of the reel.
        num_samples: number of samples of its sound.
        name: name of the output, in the folder where ffmpeg runs.
        strip: file of raw RGBA images to be laid over the lower left, their width and height in
            pixels; or None.
    """
    stretches = [stretch for side in piece.sides for stretch in side]
    prerolls = [find_preroll(stretch, form.rate) for stretch in stretches]
    inputs: list[str] = []
    for stretch, preroll in zip(stretches, prerolls, strict=True):
        inputs += input_args(stretch, preroll, form.rate)
    if strip is not None:
        size = f"{strip[1]}x{strip[2]}"
        inputs += ["-f", "rawvideo", "-pix_fmt", "rgba", "-s", size, "-r", str(STRIP_RATE)]
        inputs += ["-i", strip[0]]
    graph = _video_graph(piece, form, prerolls, strip is not None)
    outputs = ["-map", "[picture]", *_VIDEO_ARGS]
    if form.sample_rate:
        graph += _sound_graph(piece, form, prerolls, num_samples)
        outputs += ["-map", "[sound]", *_SOUND]
    return [
        *("-loglevel", "error", "-nostats", "-progress", "pipe:1"),
        *("-max_error_rate", "1", *inputs),  # damage is reported, but stops nothing
        *("-filter_complex", ";".join(graph), *outputs, "-fps_mode", "passthrough"),
        *("-map_metadata", "-1", "-map_chapters", "-1", "-f", "mov", name),
    ]


def _video_graph(piece: Piece, form: Form, prerolls: Sequence[int], has_strip: bool) -> list[str]:
    graph, number, ends = [], 0, []
    for place, side in enumerate(piece.sides):
        labels = ""
        for stretch in side:
            graph.append(f"{_video_chain(stretch, number, prerolls[number], form)}[v{number}]")
            labels += f"[v{number}]"
            number += 1
        # `concat` computes times of its own; `fps` puts them back on the grid of the reel.
        graph.append(f"{labels}concat=n={len(side)}:v=1:a=0,fps={form.rate}[side{place}]")
        ends.append(f"[side{place}]")
    last = ends[0]
    if len(ends) == 2:
        seconds = float(piece.num_frames / form.rate)
        graph.append(f"[side0][side1]xfade=transition=fade:duration={seconds:.6f}:offset=0[faded]")
        last = "[faded]"
    if has_strip:
        # The strip is one image every 1 / STRIP_RATE s and may end before the frames; its last
        # image stays.
        graph.append(f"{last}[{number}:v]overlay=x=0:y=H-h:eof_action=repeat[drawn]")
        last = "[drawn]"
    graph.append(f"{last}fps={form.rate},trim=end_frame={piece.num_frames}[picture]")
    return graph


def _video_chain(stretch: FrameRange, number: int, preroll: int, form: Form) -> str:
    """Filters that give the frames of a stretch at the reel's rate and size."""
    chunk, before = stretch.chunk, shift(stretch, preroll, form.rate)
    filters = [
        # Time 0 becomes the cut; `fps` drops what is before and repeats frames of a slower rate.
        *("settb=AVTB", f"setpts=PTS-{before}", f"fps={form.rate}:start_time=0"),
        # A file may end before its last frame of the grid: that frame is repeated, then cut.
        *("tpad=stop=-1:stop_mode=clone", f"trim=end_frame={stretch.count}"),
        *_fitted(chunk, form),
        f"setsar={form.aspect.numerator}/{form.aspect.denominator}",
    ]
    return f"[{number}:{chunk.video_stream}]{','.join(filters)}"


def _fitted(chunk: Chunk, form: Form) -> list[str]:
    """Filters that fit each frame into the reel's size, between bars where its shape differs.

    Frames of the chunk's first size keep their pixels if the reel has that size. Of an odd size
    the last line is left out.
    """
    even = chunk.width // 2 * 2, chunk.height // 2 * 2
    keeps_pixels = (*even, chunk.aspect) == (form.width, form.height, form.aspect)
    first = (chunk.width, chunk.height) if keeps_pixels else (form.width, form.height)
    filters = fit_filters((form.width, form.height), form.aspect, kept_size=first)
    return [*filters, f"crop={form.width}:{form.height}:0:0"]


def upright_args(stretch: FrameRange, preroll: int, form: Form, name: str) -> list[str]:
    """Arguments of ffmpeg that write a stretch and what is before it, fitted and upright.

    Where the orientation changes on the way, ffmpeg must restart its filters, so none of them may
    keep anything from one frame to the next; see `input_args`.

    Args:
        stretch: which frames.
        preroll: number of frames before them at which reading begins.
        form: rate, size and sound format of the reel.
        name: name of the output, in the folder where ffmpeg runs. Its time 0 lies
            `UPRIGHT_LEAD_SECONDS` before the stretch's first frame.
    """
    lead = UPRIGHT_LEAD_SECONDS
    moved = f"PTS+{lead}/TB-{shift(stretch, preroll, form.rate) / 10**6:.6f}/TB"
    aspect = f"setsar={form.aspect.numerator}/{form.aspect.denominator}"
    fitted = [*_fitted(stretch.chunk, form), aspect, "settb=AVTB", f"setpts={moved}"]
    # FFV1 is lossless: these frames are encoded once more for the reel.
    outputs = [
        "-map",
        f"0:{stretch.chunk.video_stream}",
        "-c:v",
        "ffv1",
        "-fps_mode",
        "passthrough",
    ]
    outputs += ["-vf", ",".join([*fitted, "select=gte(t\\,0)"])]
    if stretch.chunk.sound is not None:
        outputs += ["-map", f"0:{stretch.chunk.sound}", "-c:a", "pcm_f32le"]
        outputs += ["-af", f"asettb=AVTB,asetpts={moved},aselect=gte(t\\,0)"]
    seconds = lead + float((stretch.count + 1) / form.rate) + 1
    return [
        *("-loglevel", "error", "-max_error_rate", "1"),
        *input_args(stretch, preroll, form.rate, turns=True),
        *(*outputs, "-t", f"{seconds:.6f}", "-f", "nut", name),
    ]


def fit_filters(
    size: tuple[int, int], aspect: Fraction, *, kept_size: tuple[int, int]
) -> list[str]:
    """Filters that fit each frame into one size, between bars where its shape differs.

    A file may change its size, its pixels' shape and its format on the way, so the sizes are
    expressions that ffmpeg evaluates for each frame.

    Args:
        size: width and height to fit into, in pixels.
        aspect: width of a pixel divided by its height.
        kept_size: frames of this size keep their pixels. The output has this size, an odd side
            made one pixel longer.
    """
    canvas = [side + side % 2 for side in kept_size]  # pad knows even sizes only
    shape = f"iw*sar/ih/{float(aspect):.9g}"  # width by height, in pixels of that aspect
    # Both sides are rounded to even numbers, since `yuv420p` has one colour sample for 2x2 pixels.
    width = f"2*max(1,round(min({size[0]},{size[1]}*{shape})/2))"
    height = f"2*max(1,round(min({size[1]},{size[0]}/({shape}))/2))"
    same_shape = f"lt(abs(sar-{float(aspect):.9g}),0.000001)"
    same = f"eq(iw,{kept_size[0]})*eq(ih,{kept_size[1]})*{same_shape}"
    return [
        f"scale=w='if({same},iw,{width})':h='if({same},ih,{height})':eval=frame:out_range=tv",
        "format=yuv420p",
        f"pad={canvas[0]}:{canvas[1]}:-1:-1:eval=frame",
    ]


def _sound_graph(piece: Piece, form: Form, prerolls: Sequence[int], num_samples: int) -> list[str]:
    """Filters of a piece's sound, exactly `num_samples` long.

    Each stretch is as long as its frames. Their rounding errors are corrected at the end.
    """
    graph, number, ends = [], 0, []
    for place, side in enumerate(piece.sides):
        labels = ""
        for stretch in side:
            graph.append(f"{_sound_chain(stretch, number, prerolls[number], form)}[a{number}]")
            labels += f"[a{number}]"
            number += 1
        fade = _sound_fade(place, num_samples) if len(piece.sides) == 2 else ""
        graph.append(f"{labels}concat=n={len(side)}:v=0:a=1{fade}[sound{place}]")
        ends.append(f"[sound{place}]")
    # `normalize` would halve both sides, which the fades have weighted already.
    mix = f"amix=inputs={len(ends)}:normalize=0," if len(ends) == 2 else ""
    graph.append(f"{''.join(ends)}{mix}apad,atrim=end_sample={num_samples}[sound]")
    return graph


def _sound_fade(place: int, num_samples: int) -> str:
    """Fade of equal power (a quarter sine), so that the sum is as loud as either side."""
    return f",afade=t={'in' if place else 'out'}:ss=0:ns={num_samples}:curve=qsin"


def _sound_chain(stretch: FrameRange, number: int, preroll: int, form: Form) -> str:
    num_samples, layout = form.samples(stretch.count), f"channel_layouts={form.layout}"
    if stretch.chunk.sound is None:
        source = f"anullsrc=r={form.sample_rate}:cl={form.layout}"
        return f"{source},atrim=end_sample={num_samples},aformat=sample_fmts=fltp:{layout}"
    before = shift(stretch, preroll, form.rate)
    filters = [
        *("asettb=AVTB", f"asetpts=PTS-{before}", "atrim=start=0"),
        # `async` fills gaps in the timestamps with silence and trims overlaps, so that the sound
        # keeps its time.
        f"aresample={form.sample_rate}:async=1:first_pts=0",
        *(f"aformat=sample_fmts=fltp:{layout}", "apad", f"atrim=end_sample={num_samples}"),
        f"asetpts=N/{form.sample_rate}/TB",
    ]
    return f"[{number}:{stretch.chunk.sound}]{','.join(filters)}"
