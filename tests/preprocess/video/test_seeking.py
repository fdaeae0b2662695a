"""Samples read with seeking against those read from the front: the same frames, the same times."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from preprocess.video import decode
from preprocess.video.decode import FrameReader, VideoReader, what_is_missing
from preprocess.video.sampling import FrameSampler
from preprocess.video.transforms import FrameFit
from preprocess.video.video_decoder import VideoDecoder
from tests.preprocess.conftest import REPOSITORY

CLIPS = REPOSITORY.parent / "shared" / "clips"
FIT = FrameFit((32, 24))
FUNCTION_SCOPED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
RATE, SECONDS = 25, 24
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2")
FILES: dict[str, tuple[str, ...]] = {
    "closed.mp4": (*X264, "-g", "50"),
    "long.mp4": (*X264, "-g", "150"),
    "open.mp4": (*X264, "-x264-params", "keyint=50:open-gop=1:b-adapt=0"),
    "refresh.mp4": (*X264, "-x264-params", "keyint=50:intra-refresh=1"),
    "uneven.mp4": (*X264, "-g", "50", "-fps_mode", "vfr", "-vf", "select='lt(t,9)+not(mod(n,7))'"),
    "late.ts": (*X264, "-g", "50", "-output_ts_offset", "100"),
    "open.ts": (*X264, "-x264-params", "keyint=50:open-gop=1:b-adapt=0"),
    "closed.mkv": (*X264, "-g", "50"),
    "no_index.mkv": (*X264, "-g", "50", "-live", "1"),
    "closed.flv": (*X264, "-g", "50"),
    "vp8.webm": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "60"),
    "mpeg1.mpg": ("-c:v", "mpeg1video", "-bf", "2", "-g", "12"),
    "mpeg4.avi": ("-c:v", "mpeg4", "-bf", "2", "-g", "50"),
}
NEVER_SOUGHT = {
    *("refresh.mp4", "no_index.mkv"),  # without keyframes, or without an index
    *("late.ts", "open.ts", "closed.flv", "mpeg1.mpg"),  # the clock may begin again
    "mpeg4.avi",  # keeps no times
}
Samples = list[tuple[float, bytes]]


def render(path: Path, *args: str) -> Path:
    source = f"testsrc2=s=96x72:r={RATE}:d={SECONDS}"
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-y"]
    subprocess.run([*program, "-f", "lavfi", "-i", source, *args, str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("seeking")
    return {name: render(root / name, *args) for name, args in FILES.items()}


def read(path: Path, **options: Any) -> tuple[Samples, FrameSampler]:
    """All samples, and the reader that gave them, at its end."""
    samples = []
    with FrameSampler(path, fit=FIT, **options) as video:
        while video.read_into(frame := np.empty(FIT.frame_shape, np.uint8)):
            samples.append((video.time_seconds, frame.tobytes()))
    return samples, video


def read_both(
    path: Path, *, eager: bool = True, damage: tuple[float, float] = (0, 0), **options: Any
) -> tuple[Samples, FrameSampler]:
    """Samples read with seeking, after a look whether they are those of reading on.

    Pictures within the damage, in seconds, may differ: they are made up from those before.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VideoReader, "seek", lambda self, seconds: None)
        expected, plain = read(path, **options)
    with pytest.MonkeyPatch.context() as patch:
        if eager:
            patch.setattr(decode, "_USUAL_KEYFRAME_SECONDS", 0.3)
            patch.setattr(decode, "_MARGIN_SECONDS", 0.0)
        found, video = read(path, **options)
    assert [time for time, _ in found] == [time for time, _ in expected]
    for (time, found_frame), (_, expected_frame) in zip(found, expected, strict=True):
        assert found_frame == expected_frame or damage[0] <= time < damage[1], time
    assert video.reached_end == plain.reached_end
    return found, video


def has_sought(video: FrameSampler) -> bool:
    return video._video._has_sought


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("fps", [0.1, 0.37])
def test_few_samples(files: dict[str, Path], name: str, fps: float) -> None:
    """Red when a seek lands behind a sample, amid frames that build on others, or shifts times."""
    samples, video = read_both(files[name], fps=fps)
    assert len(samples) == pytest.approx(SECONDS * fps, abs=1)
    if fps == 0.1 or name in NEVER_SOUGHT:
        assert has_sought(video) == (name not in NEVER_SOUGHT)


@settings(max_examples=25, deadline=None, suppress_health_check=FUNCTION_SCOPED)
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.floats(0, SECONDS + 2), min_size=2, max_size=6, unique=True).map(sorted),
    st.one_of(st.just({"stride": 3}), st.builds(dict, fps=st.floats(0.2, 40))),
    st.booleans(),
)
def test_stretches(files: dict[str, Path], name: str, cuts: list, rate: dict, eager: bool) -> None:
    """Red when a stretch begins at the wrong frame, or one is jumped over."""
    stretches = list(zip(cuts[::2], cuts[1::2], strict=False))
    read_both(files[name], stretches=stretches, eager=eager, **rate)


def damaged(path: Path, start: float, stop: float) -> Path:
    """A copy with noise from one share of the file to another."""
    content = bytearray(path.read_bytes())
    first, last = int(start * len(content)), int(stop * len(content))
    content[first:last] = np.random.default_rng(0).bytes(last - first)
    copy = path.with_name(f"damaged_{start}_{stop}_{path.name}")
    copy.write_bytes(content)
    return copy


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("start", "stop"), [(0.4, 0.4005), (0.3, 0.5)])
def test_damaged_files(files: dict[str, Path], name: str, start: float, stop: float) -> None:
    """Red when what was left out had told frames or times behind it, as in an AVI."""
    path = damaged(files[name], start, stop)
    damage = (start * SECONDS - 2, stop * SECONDS + 2)
    for options in ({"fps": 0.3}, {"fps": 5, "stretches": [(1, 2), (6, 8), (20, 22)]}):
        read_both(path, damage=damage, **options)


@pytest.mark.parametrize("name", ["closed.mp4", "closed.mkv", "late.ts"])
def test_reading_goes_on_behind_damage(files: dict[str, Path], name: str) -> None:
    """Red when MP4 ends at its first frame that cannot be decoded, or later times are shifted."""
    whole = dict(read(files[name], fps=5)[0])
    found = dict(read(damaged(files[name], 0.3, 0.5), fps=5)[0])
    behind = [time for time in whole if time >= 16]
    assert len(behind) == 40
    assert {time: found.get(time) for time in behind} == {time: whole[time] for time in behind}
    assert len(found) < len(whole)


def test_a_clip_of_which_a_part_is_damaged_ended_early(files: dict[str, Path]) -> None:
    """Red when extraction takes a clip that has lost a fifth of its frames for a whole one."""
    path = damaged(files["closed.mp4"], 0.3, 0.5)
    frame = np.empty(FIT.frame_shape, np.uint8)
    with VideoReader(path, fit=FIT) as video:
        while video.read_into(frame):
            pass
        assert video.num_given < 0.9 * RATE * SECONDS
        assert video.complaint.startswith("frames after 7.")
        assert "ended early" in missing(path, video, "[h264] error while decoding")


def missing(path: Path, video: FrameReader, message: str) -> str:
    """What is missing of a file of which FFmpeg has said something."""
    with tempfile.TemporaryFile() as messages:
        messages.write(message.encode())
        messages.flush()
        return what_is_missing(path, video, messages)


@pytest.mark.parametrize("name", ["closed.mp4", "uneven.mp4", "vp8.webm"])
def test_what_was_left_out_is_not_missing(files: dict[str, Path], name: str) -> None:
    """Red when a file of which a part was never decoded is taken for one that was cut short."""
    _, video = read_both(files[name], fps=0.1)
    assert has_sought(video)
    assert missing(files[name], video, "[h264] mmco: unref short failure") == ""


def test_what_is_missing_is_found_all_the_same(files: dict[str, Path]) -> None:
    """Red when a seek hides that a file was cut short."""
    path = files["closed.mkv"].with_name("cut.mkv")
    path.write_bytes(files["closed.mkv"].read_bytes()[: files["closed.mkv"].stat().st_size // 2])
    _, video = read_both(path, fps=0.1)
    assert has_sought(video)
    assert "ended early" in missing(path, video, "[matroska,webm] File ended prematurely")


@dataclass
class Count:
    """What decoders were asked for."""

    grabs: int = 0
    opened: int = 0


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Count:
    count = Count()
    honest_grab, honest_init = VideoDecoder.grab, VideoDecoder.__init__

    def grab(self: VideoDecoder) -> bool:
        count.grabs += 1
        return honest_grab(self)

    def init(self: VideoDecoder, *args: Any) -> None:
        count.opened += 1
        honest_init(self, *args)

    monkeypatch.setattr(VideoDecoder, "grab", grab)
    monkeypatch.setattr(VideoDecoder, "__init__", init)
    return count


def test_seeking_spares_work(files: dict[str, Path], counting: Count) -> None:
    """Red when nothing is left out: two stretches of 1 s would take all 600 frames."""
    stretches = [(2.0, 3.0), (21.0, 22.0)]
    samples, _ = read(files["closed.mp4"], fps=10, stretches=stretches)
    assert len(samples) == 20
    assert counting.opened == 2
    assert counting.grabs < 300


@pytest.mark.parametrize("options", [{"fps": 2}, {"fps": 0.2}, {"stride": 200}])
def test_near_samples_are_read_on_to(
    files: dict[str, Path], counting: Count, options: dict[str, float]
) -> None:
    """Red when it is sought where decoding is as cheap, or where frames have to be counted."""
    read(files["closed.mp4"], **options)
    assert counting.opened == 1
    assert counting.grabs >= RATE * SECONDS


@pytest.mark.parametrize("first", [1, 2], ids=["reader", "seeker"])
def test_odd_times_forbid_seeking(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """Red when it is sought though the times of the reader, or of the seeker, go back."""
    decoders: list[VideoDecoder] = []
    honest = VideoDecoder._stamp

    def stamp(self: VideoDecoder, frame: Any) -> float | None:
        if self not in decoders:
            decoders.append(self)
        found = honest(self, frame)
        wrong = len(decoders) == first and decoders[-1] is self and found and found > 0.03
        return -1.0 if wrong else found

    monkeypatch.setattr(VideoDecoder, "_stamp", stamp)
    with FrameSampler(files["closed.mp4"], fit=FIT, fps=0.1) as video:
        frame = np.empty(FIT.frame_shape, np.uint8)
        assert video.read_into(frame)
        assert video.read_into(frame)
        assert not has_sought(video)


def test_a_file_that_is_gone_is_read_on(files: dict[str, Path], tmp_path: Path) -> None:
    """Red when a second decoder that cannot be opened ends the first."""
    path = tmp_path / "gone.mp4"
    path.write_bytes(files["closed.mp4"].read_bytes())
    expected, _ = read(path, fps=0.1)
    with FrameSampler(path, fit=FIT, fps=0.1) as video:
        path.unlink()
        frame = np.empty(FIT.frame_shape, np.uint8)
        times = []
        while video.read_into(frame):
            times.append(video.time_seconds)
    assert times == [time for time, _ in expected]


@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"no real clips in {CLIPS}")
@pytest.mark.parametrize(
    ("name", "is_sought"),
    [
        ("audio/example.mp4", True),
        ("odd/vfr_mp4_named.webm", True),
        ("odd/video_with_failing_audio.mp4", False),
        ("odd/delayed_start.mp4", True),
        ("odd/no_duration.webm", False),
    ],
)
def test_real_clips(name: str, is_sought: bool) -> None:
    """Red when a real encoder's file is not what rendered ones are."""
    read_both(CLIPS / name, fps=0.4)
    _, video = read_both(CLIPS / name, fps=4, stretches=[(0.3, 0.6), (2.5, 3)])
    assert has_sought(video) == is_sought
