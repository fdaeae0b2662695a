"""Sound against rendered files whose click falls on a flash."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from preprocess.errors import DecodeError, PreprocessError
from preprocess.video.decode import VideoReader
from preprocess.video.sound import Sound, iter_sound, read_sound
from preprocess.video.transforms import FrameFit
from tests.preprocess.conftest import REPOSITORY, write_video

CLIPS = REPOSITORY.parent / "shared" / "clips"
needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason=f"no real clips in {CLIPS}")
FLASH = "color=black:s=64x48:r=25:d=3,drawbox=c=white:t=fill:enable='between(n,25,26)'"
CLICKS = "aevalsrc='if(lt(mod(t,1),.01),sin(2*PI*1000*t),0)*between(t,{first},{last})':d=3:s=48000"
CODECS = {
    ".mp4": ("libx264", "aac"),
    ".mkv": ("libx264", "libopus"),
    ".webm": ("libvpx", "libvorbis"),
    ".ts": ("mpeg2video", "aac"),
    ".mpg": ("mpeg2video", "mp2"),
    ".avi": ("mpeg4", "libmp3lame"),
    ".mov": ("mpeg4", "pcm_s16le"),
}


def ffmpeg(*args: object) -> None:
    import imageio_ffmpeg

    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-nostdin", "-y"]
    subprocess.run([*program, *map(str, args)], check=True)


def render(
    path: Path,
    *,
    clicks: tuple[float, float] = (1, 1.5),
    image_delay: float = 0.0,
    sound_delay: float = 0.0,
    sound_filter: str = "anull",
) -> Path:
    """Three seconds with a flash at 1 s, and clicks at the whole seconds between two times."""
    image_codec, sound_codec = CODECS[path.suffix]
    sound = CLICKS.format(first=clicks[0], last=clicks[1])
    ffmpeg(
        *("-itsoffset", image_delay, "-f", "lavfi", "-i", FLASH),
        *("-itsoffset", sound_delay, "-f", "lavfi", "-i", sound),
        *("-map", 0, "-map", 1, "-c:v", image_codec, "-c:a", sound_codec, "-b:a", "128k"),
        *("-af", sound_filter, path),
    )
    return path


def flash_times(path: Path) -> list[float]:
    """When a bright picture follows on a dark one."""
    fit = FrameFit((8, 8))
    frame = np.empty(fit.frame_shape, np.uint8)
    found, before = [], False
    with VideoReader(path, fit=fit) as video:
        while video.read_into(frame):
            bright = bool(frame.mean() > 128)
            if bright and not before:
                found.append(video.time_seconds)
            before = bright
    return found


def flash_time(path: Path) -> float:
    return flash_times(path)[0]


def click_times(sound: Sound) -> list[float]:
    """When the sound becomes loud after being quiet for a tenth of a second."""
    loud = np.flatnonzero(np.abs(sound.samples) > 0.4)
    begins = loud[np.diff(loud, prepend=-(10**9)) > sound.sample_rate / 10]
    return list(sound.start_seconds + begins / sound.sample_rate)


def write_wav(path: Path, samples: np.ndarray, sample_rate: int = 16000) -> Path:
    wavfile.write(path, sample_rate, samples)
    return path


def noise(num_samples: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (num_samples, channels)).astype(np.float32)


@pytest.mark.parametrize("suffix", CODECS)
def test_a_click_falls_on_its_flash(tmp_path: Path, suffix: str) -> None:
    """Red when the codec's priming is heard as sound, or the container does not begin at 0."""
    path = render(tmp_path / f"x{suffix}")
    sound = read_sound(path)
    tolerance = 0.03 if suffix == ".avi" else 0.01  # AVI has no place to say what the priming is
    assert click_times(sound) == pytest.approx([flash_time(path)], abs=tolerance)
    assert sound.complaint == ""


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mov"])
def test_sound_that_begins_late(tmp_path: Path, suffix: str) -> None:
    """Red when the first sample is taken to be at time 0."""
    sound = read_sound(render(tmp_path / f"x{suffix}", sound_delay=0.5))
    assert click_times(sound) == pytest.approx([1.5], abs=0.01)
    assert np.abs(sound.samples[: 16000 // 3]).max() < 1e-3


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mov"])
def test_sound_that_begins_before_the_picture(tmp_path: Path, suffix: str) -> None:
    """Red when the file's clock is used: OpenCV's starts at the first picture."""
    path = render(tmp_path / f"x{suffix}", image_delay=0.48, clicks=(0, 2.5))
    assert flash_time(path) == pytest.approx(1, abs=2e-3)  # 1.48 on the file's clock
    assert click_times(read_sound(path)) == pytest.approx([0.52, 1.52], abs=0.01)


@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
def test_sound_goes_on_where_the_clock_begins_again(tmp_path: Path, suffix: str) -> None:
    """Red when the sound of the second of two joined files falls upon that of the first."""
    part = render(tmp_path / f"part{suffix}")
    path = tmp_path / f"joined{suffix}"
    path.write_bytes(2 * part.read_bytes())
    flashes = flash_times(path)
    assert flashes == pytest.approx([1, 4], abs=0.01)
    assert click_times(read_sound(path)) == pytest.approx(flashes, abs=0.06)
    late = read_sound(path, start=2.5, duration=2.0)
    assert click_times(late) == pytest.approx(flashes[1:], abs=0.06)


def test_the_track_asked_for_is_heard(tmp_path: Path) -> None:
    """Red when the first audio stream is taken whatever is asked for."""
    path = tmp_path / "x.mkv"
    args = [word for hz in (300, 2000) for word in ("-f", "lavfi", "-i", f"sine={hz}:d=1")]
    ffmpeg(*args, "-map", 0, "-map", 1, "-c:a", "flac", path)
    for track, hz in enumerate((300, 2000)):
        samples = read_sound(path, track=track).samples
        loudest = np.abs(np.fft.rfft(samples)).argmax() * 16000 / len(samples)
        assert loudest == pytest.approx(hz, abs=5)
    with pytest.raises(PreprocessError, match=r"numbered 0 to 1\. Received 2"):
        read_sound(path, track=2)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_a_gap_is_silent(tmp_path: Path, suffix: str) -> None:
    """Red when samples are only strung together: what follows then comes too early."""
    path = render(
        tmp_path / f"x{suffix}",
        clicks=(0.5, 3),
        sound_filter="asetnsamples=480,aselect='not(between(t,1.3,1.8))'",
    )
    assert click_times(read_sound(path)) == pytest.approx([1, 2], abs=0.02)


@pytest.mark.parametrize("start", [0.25, 1.9, 4.75])
@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mkv"])
def test_starting_in_the_middle(tmp_path: Path, suffix: str, start: float) -> None:
    """Red when seeking is not exact, or counts from the file's start and not the picture's."""
    looped = render(tmp_path / "x.mp4", clicks=(0, 3))
    path = tmp_path / f"long{suffix}"
    ffmpeg(
        "-stream_loop",
        2,
        "-i",
        looped,
        "-itsoffset",
        0.25,
        "-i",
        looped,
        *(
            *("-map", "1:v", "-map", "0:a", "-c:v", CODECS[suffix][0]),
            *("-c:a", CODECS[suffix][1], "-b:a", "128k", path),
        ),
    )
    whole, part = read_sound(path), read_sound(path, start=start, duration=2)
    assert (part.start_seconds, len(part.samples)) == (start, 32000)
    expected = [time for time in click_times(whole) if start <= time < start + 2]
    assert click_times(part) == pytest.approx(expected, abs=1e-3)
    assert len(expected) == 2


def test_a_start_beyond_the_end(tmp_path: Path) -> None:
    sound = read_sound(write_wav(tmp_path / "x.wav", noise(16000)), start=5)
    assert (len(sound.samples), sound.start_seconds) == (0, 5)


def test_samples_are_the_files_own(tmp_path: Path) -> None:
    """Red when they are rounded, dithered, or read as another type."""
    samples = noise(20000)
    path = write_wav(tmp_path / "x.wav", samples)
    sound = read_sound(path)
    assert (sound.samples.dtype, sound.sample_rate) == (np.float32, 16000)
    np.testing.assert_array_equal(sound.samples, samples[:, 0])
    part = read_sound(path, start=0.25, duration=0.5)
    np.testing.assert_array_equal(part.samples, samples[4000:12000, 0])


def test_mono_is_the_mean(tmp_path: Path) -> None:
    """Red when ffmpeg's default for floats is taken: 0.707 of each side, so 1.41 times as loud."""
    samples = noise(5000, channels=2)
    sound = read_sound(write_wav(tmp_path / "x.wav", samples))
    np.testing.assert_allclose(sound.samples, samples.mean(axis=1), atol=1e-6)


def test_samples_stay_in_their_range(tmp_path: Path) -> None:
    samples = 8 * noise(5000)
    samples[100] = np.nan
    sound = read_sound(write_wav(tmp_path / "x.wav", samples))
    np.testing.assert_allclose(sound.samples[200:], np.clip(samples[200:, 0], -1, 1), atol=1e-6)
    assert np.abs(sound.samples).max() <= 1


def test_resampling_keeps_tone_and_length(tmp_path: Path) -> None:
    """Red when samples are dropped instead: 11 kHz would come back as 5 kHz."""
    time = np.arange(44100) / 44100
    tones = np.sin(2 * np.pi * 1000 * time) / 2 + np.sin(2 * np.pi * 11000 * time) / 4
    path = write_wav(tmp_path / "x.wav", tones.astype(np.float32), 44100)
    sound = read_sound(path, sample_rate=16000)
    assert len(sound.samples) == pytest.approx(16000, abs=40)
    middle = slice(1000, 15000)
    expected = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000) / 2
    np.testing.assert_allclose(sound.samples[middle], expected[middle], atol=0.01)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("recording") / "x.wav", noise(50000))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.floats(0.05, 4), st.none() | st.floats(0.01, 4))
def test_blocks_join_to_the_whole(recording: Path, block: float, duration: float | None) -> None:
    """Red when a block is lost or short at the end, or its time is that of its end."""
    expected = noise(50000)[:, 0]
    if duration is not None:
        expected = expected[: round(duration * 16000)]
    blocks = list(iter_sound(recording, block_seconds=block, duration=duration))
    np.testing.assert_array_equal(np.concatenate([each.samples for each in blocks]), expected)
    assert all(len(each.samples) == round(block * 16000) for each in blocks[:-1])
    lengths = [len(each.samples) for each in blocks]
    starts = [each.start_seconds * 16000 for each in blocks]
    np.testing.assert_allclose(starts, np.cumsum([0, *lengths[:-1]]), atol=1e-6)


def test_leaving_early_ends_ffmpeg(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red when a reader that stops leaves a process behind."""
    started = []

    class Watched(subprocess.Popen):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    blocks = iter_sound(recording, block_seconds=0.1)
    assert len(next(blocks).samples) == 1600
    blocks.close()
    assert len(started) == 1
    assert all(process.returncode is not None for process in started)


def test_no_sound(tmp_path: Path) -> None:
    path = write_video(tmp_path / "x.mp4", 3)
    assert read_sound(path) is None
    assert iter_sound(path) is None


NAMES = ["-i.wav", "a:b c'd\".wav", "100%d.wav", "é.wav", "new\nline.wav", "*[0-9]?.wav"]


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name(recording: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Red when ffmpeg takes a name for an option, a protocol or a pattern."""
    path = recording.parent / name
    path.write_bytes(recording.read_bytes())
    monkeypatch.chdir(recording.parent)
    assert len(read_sound(name).samples) == 50000


def test_a_name_that_reads_like_a_stream(tmp_path: Path) -> None:
    """Red when the name of a silent file is taken for part of what ffmpeg says."""
    name = "\n[info]   Stream #0:1: Audio: x.mp4"
    path = write_video(tmp_path / "x.mp4", 3).rename(tmp_path / name)
    assert read_sound(path) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "the file is empty"),
        (bytes(999), "not a video or sound file that FFmpeg can open"),
    ],
)
def test_errors_give_the_reason(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "x.mkv").write_bytes(content)
    with pytest.raises(DecodeError, match=reason):
        read_sound(tmp_path / "x.mkv")


def damaged(path: Path, share: slice) -> Path:
    """The file with noise in a part of it."""
    content = bytearray(path.read_bytes())
    part = slice(int(share.start * len(content)), int(share.stop * len(content)))
    size = part.stop - part.start
    content[part] = np.random.default_rng(1).bytes(size)
    path.write_bytes(content)
    return path


def test_a_damaged_stretch_is_told_and_moves_nothing(tmp_path: Path) -> None:
    """Red when it ends the sound, moves what follows, or is passed over in silence."""
    path = render(tmp_path / "x.ts", clicks=(0, 3))
    before = read_sound(path)
    after = read_sound(damaged(path, slice(0.4, 0.5)))
    assert after.complaint != ""
    assert len(after.samples) == pytest.approx(len(before.samples), abs=320)
    assert click_times(after)[-1] == pytest.approx(click_times(before)[-1], abs=0.025)


def test_sound_that_cannot_be_decoded(tmp_path: Path) -> None:
    """Red when ffmpeg's failure is swallowed and the file seems to be silent."""
    path = tmp_path / "x.mp3"
    sound = CLICKS.format(first=0, last=3)
    ffmpeg("-f", "lavfi", "-i", sound, "-c:a", "flac", "-f", "matroska", path)
    content = bytearray(path.read_bytes())
    content[-len(content) * 9 // 10 :] = bytes(len(content) * 9 // 10)
    path.write_bytes(content)
    with pytest.raises(DecodeError) as error:
        assert not read_sound(path).complaint
    assert str(error.value)


@pytest.mark.parametrize(
    "options",
    [{"sample_rate": 0}, {"block_seconds": 0}, {"duration": -1.0}, {"start": -0.5}],
)
def test_arguments_out_of_range(recording: Path, options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(PreprocessError, match=f"{name} must be .* Received"):
        iter_sound(recording, **options)


@needs_clips
@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("audio/example.mp4", 42.4),
        ("audio/nasa_13013.mp4", 13.0),
        ("odd/video_with_failing_audio.mp4", 11.2),
        ("odd/delayed_start.mp4", None),
    ],
)
def test_real_clips(name: str, seconds: float | None) -> None:
    sound = read_sound(CLIPS / name)
    if seconds is None:
        assert sound is None
        return
    assert len(sound.samples) / 16000 == pytest.approx(seconds, abs=0.1)
    assert 0.01 < np.abs(sound.samples).max() <= 1
