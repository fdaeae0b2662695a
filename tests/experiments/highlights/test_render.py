"""Reels of rendered counters, read back by OpenCV (pictures) and as raw samples (sound)."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from experiments.highlights.rendering.render import render_reel
from experiments.media.chunk_files import recording_chunks
from experiments.media.ffmpeg import RenderError
from experiments.media.recording import read_recording, recording_duration
from tests.grids import slow
from tests.processes import PATIENCE_SECONDS, REPOSITORY, children_of, wait_until_gone

sys.path.insert(0, str(Path(__file__).parent))
import counters
from counters import NTSC, ffmpeg, has_sound, read_images, read_numbers, render_counter

CLIPS = REPOSITORY.parent / "shared/clips"
RATES = {"25": Fraction(25), "29.97": NTSC, "59.94": 2 * NTSC}
VARIABLE = "(not(mod(n,5))+not(mod(n,7)))*not(between(n,301,419))"


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Counters of 22 seconds at each rate."""
    folder = tmp_path_factory.mktemp("counters")
    return {name: render_counter(folder / f"{name}.mp4", rate, 22) for name, rate in RATES.items()}


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A counter of 4 seconds at 25 pictures a second."""
    return render_counter(tmp_path_factory.mktemp("short") / "short.mp4", 25, 4)


@pytest.fixture
def out(tmp_path):
    """Where the reel goes: a folder that must hold nothing else afterwards."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "reel.mp4"


def expected(segments, rate, at=lambda number: number):
    """What each picture of a reel should say, from exact times alone."""
    numbers = []
    for start, end in segments:
        first, last = (int(time * rate + 0.5) for time in (start, end))
        numbers += [at(number) for number in range(first, last)]
    return numbers


def only(out, *names):
    """Whether the folder holds these files and no temporary ones."""
    assert sorted(file.name for file in out.parent.iterdir()) == sorted(names)


@pytest.mark.parametrize("name", RATES)
def test_cuts_land_on_the_frame(name, sources, out):
    """Red if a seek lands on a keyframe, int(fps) is used, or a piece is a frame short."""
    rate = RATES[name]
    segments = [(0.0, 0.5), (1.97, 2.49), (7.013, 8.71), (19.91, 20.05), (21.3, 22.0)]
    render_reel([sources[name]], segments, out)
    images, fps = read_images(out)
    numbers = [counters.number_of(pixels) for pixels in images]
    wanted = expected(segments, rate)
    assert numbers == wanted
    assert fps == pytest.approx(float(rate), rel=1e-4)
    only(out, "reel.mp4")


@pytest.mark.parametrize("name", ["29.97", *slow("59.94")])
def test_sound_stays_with_the_picture(name, sources, out):
    """Red if AAC's padding adds up at joins, or the sound starts at a packet instead of the cut."""
    rate = RATES[name]
    segments = [(second + 0.37, second + 1.219) for second in range(20)]
    render_reel([sources[name]], segments, out)
    images, fps = read_images(out)
    assert len(images) == len(expected(segments, rate))
    seen = counters.flashes(images, fps)
    heard = counters.onsets(counters.read_sound(out))
    assert len(seen) == len(heard) == 20
    assert np.abs(seen - heard).max() < 0.010, seen - heard


def test_variable_rate(tmp_path, out):
    """Red if a picture that began before the cut is lost, or times are counted in frames."""
    source = render_counter(tmp_path / "vfr.mp4", 60, 12, kept=VARIABLE)
    shown = [n for n in range(720) if (n % 5 == 0 or n % 7 == 0) and not 301 <= n <= 419]
    at = lambda number: max(n for n in shown if n <= max(number, 0))  # noqa: E731
    segments = [(0.5, 1.5), (4.0, 6.0), (6.2, 7.9), (10.0, 11.5)]
    render_reel([source], segments, out)
    images, fps = read_images(out)
    numbers = [counters.number_of(pixels) for pixels in images]
    place = 0
    for start, end in segments:
        for frame in range(round((end - start) * fps)):
            number = round((start + frame / fps) * 60)
            reach = round(60 / fps)
            assert at(number - reach) <= numbers[place] <= at(number + reach), (start, frame)
            place += 1
    assert place == len(numbers)


@pytest.mark.parametrize("suffix", [".ts", ".avi", *slow(".mkv", ".flv")])
def test_other_containers(suffix, tmp_path, short, out):
    """Red if a seek without an index loses pictures, or a clock that starts late is not undone."""
    source = tmp_path / f"copy{suffix}"
    args = ["-c:v", "mpeg4", "-q:v", "2", "-g", "50"] if suffix == ".avi" else ["-c", "copy"]
    ffmpeg("-i", str(short), *args, str(source))
    segments = [(0.4, 1.0), (1.5, 1.9), (2.6, 3.2)]
    render_reel([source], segments, out)
    assert recording_duration(read_recording([source])) == pytest.approx(4.0, abs=0.05)
    found, wanted = np.array(read_numbers(out)), np.array(expected(segments, 25))
    assert (np.abs(found - wanted) <= 1).all()  # some containers begin with sound's padding
    assert (np.diff(found) == 1).sum() == len(wanted) - 3


NAMES = [
    "plain name.mp4",
    'it\'s "quoted".mp4',
    "a:b,c;d[0].mp4",
    "-i.mp4",
    "100%03d %n.mp4",
    "two\nlines\n  Duration: 1, start: 9.0, .mp4",
    "#?&=é.mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names(name, tmp_path, short, monkeypatch):
    """Red if a name is taken for an option, a URL, a pattern or a line of a list."""
    folder = tmp_path / name.removesuffix(".mp4")
    folder.mkdir()
    shutil.copy(short, folder / name)
    monkeypatch.chdir(folder)
    render_reel([Path(name)], [(1.0, 1.2), (2.0, 2.2)], Path(f"reel {name}"))
    assert len(read_numbers(folder / f"reel {name}")) == 10
    assert len(list(folder.iterdir())) == 2


def test_without_sound(tmp_path, out):
    """Red if a missing audio stream fails, or silence is made up."""
    source = render_counter(tmp_path / "mute.mp4", 25, 2, has_sound=False)
    render_reel([source], [(0.2, 0.6), (1.0, 1.4)], out, crossfade=0.2)
    assert len(read_numbers(out)) == 15
    assert not has_sound(out)


def test_sound_that_ends_early(tmp_path, out):
    """Red if a stretch without sound packets fails or shortens the sound."""
    source = render_counter(tmp_path / "full.mp4", 25, 4)
    cut = tmp_path / "cut.mp4"
    inputs = ["-i", str(source), "-t", "1.5", "-i", str(source)]
    ffmpeg(*inputs, "-map", "0:v", "-map", "1:a", "-c", "copy", str(cut))
    render_reel([cut], [(0.5, 1.0), (2.0, 2.5), (3.5, 4.0)], out)
    assert len(read_numbers(out)) == 37 or len(read_numbers(out)) == 38
    assert len(counters.read_sound(out)) / 48000 == pytest.approx(1.5, abs=0.05)


def test_rotation_and_aspect(tmp_path, short, out):
    """Red if the picture lies on its side, is turned twice, or has lost its pixels' shape."""
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", str(short), "-c", "copy", str(turned))
    shaped = render_counter(tmp_path / "shaped.mp4", 25, 2, "-vf", "setsar=2/3")
    render_reel([turned], [(0.4, 1.0)], out)
    images, _ = read_images(out)
    upright, _ = read_images(turned)
    assert images[0].shape == upright[0].shape == (160, 120)
    assert np.abs(images[3].astype(int) - upright[13]).mean() < 4
    render_reel([shaped], [(0.5, 1.0)], out, overwrite=True)
    output = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(out)], capture_output=True, check=False
    )
    assert b"160x120 [SAR 2:3 DAR 8:9]" in output.stderr


def test_odd_sizes(tmp_path, short, out):
    """Red if H.264's even sizes are not seen to."""
    odd = tmp_path / "odd.mkv"
    ffmpeg("-i", str(short), "-vf", "scale=161:121", "-c:v", "ffv1", str(odd))
    render_reel([odd], [(1.0, 1.4)], out)
    assert read_images(out)[0][0].shape == (120, 160)


def test_crossfade(short, out):
    """Red if the fade is added to the length, cuts hard, or sound falls behind it."""
    segments = [(0.2, 1.4), (2.4, 3.6)]
    render_reel([short], segments, out, crossfade=0.4)
    images, fps = read_images(out)
    assert len(images) == 30 + 30 - 10
    numbers = [counters.number_of(pixels) for pixels in images]
    assert numbers[:21] == [*range(5, 26)]  # its first picture shows the first side alone
    assert numbers[-20:] == [*range(70, 90)]
    blocks = images[25][20, 5::10]
    assert ((blocks > 60) & (blocks < 200)).any()  # where the two sides differ
    seen = counters.flashes(images, fps)
    heard = counters.onsets(counters.read_sound(out))
    assert len(heard) == 2
    assert abs(seen[0] - heard[0]) < 0.01
    assert abs(seen[-1] - heard[-1]) < 0.01


def test_across_two_chunks(tmp_path, out):
    """Red if a segment ends at a chunk's end, or chunks are laid on a wrong timeline."""
    folder = tmp_path / "vod"
    folder.mkdir()
    first = render_counter(folder / "part0.mp4", 25, 3)
    second = render_counter(folder / "part1.mp4", 25, 3, first=75)
    small = render_counter(folder / "part2.mp4", 25, 2, "-s", "80x60", "-an", first=150)
    chunks = recording_chunks(folder)
    (folder / "part0.s16").unlink()
    assert chunks == [first, second, small] == recording_chunks(folder / "part")
    segments = [(0.5, 0.9), (2.6, 3.4), (5.48, 6.6), (7.5, 8.0)]
    render_reel(chunks, segments, out)
    assert read_numbers(out) == expected(segments, 25)
    heard = counters.onsets(counters.read_sound(out))
    assert heard == pytest.approx([0.8], abs=0.01)  # that of second 3
    render_reel(chunks, [(0.5, 3.4), (5.0, 6.4)], out, crossfade=1.0, overwrite=True)
    assert len(read_numbers(out)) == 73 + 35 - 25 or len(read_numbers(out)) == 72 + 35 - 25


def test_chunk_numbers(tmp_path):
    """Red if chunks are sorted as text, or a missing one goes unseen."""
    for number in range(11):
        (tmp_path / f"part{number}.mp4").touch()
    (tmp_path / "part3.csv").touch()
    (tmp_path / "other0.mp4").touch()
    names = [path.name for path in recording_chunks(tmp_path / "part")]
    assert names == [f"part{number}.mp4" for number in range(11)]
    with pytest.raises(RenderError, match="several recordings"):
        recording_chunks(tmp_path)
    (tmp_path / "part4.mp4").unlink()
    with pytest.raises(RenderError, match="Chunk 4 of"):
        recording_chunks(tmp_path / "part")
    (tmp_path / "part04.mkv").touch()
    (tmp_path / "part05.mp4").touch()
    with pytest.raises(RenderError, match="same number"):
        recording_chunks(tmp_path / "part")
    with pytest.raises(RenderError, match="no numbered videos"):
        recording_chunks(tmp_path / "nothing")


def test_duration_is_that_of_the_pictures(tmp_path, short, sources):
    """Red if the header's duration is believed: longer sound, or a file that was cut off."""
    longer = tmp_path / "longer.mkv"
    ffmpeg("-t", "2", "-i", str(short), "-i", str(short), "-map", "0:v", "-map", "1:a", str(longer))
    assert recording_duration(read_recording([longer])) == pytest.approx(2.0, abs=0.05)
    broken = tmp_path / "broken.mp4"
    whole = str(sources["25"])
    ffmpeg("-i", whole, "-c", "copy", "-movflags", "+faststart", str(broken))
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) // 2])
    num_read = len(read_images(broken)[0])
    assert 50 < num_read < 300  # so the last ten seconds of the header are not there
    found = recording_duration(read_recording([broken]))
    assert found == pytest.approx(num_read / 25, abs=0.2)


def test_damage_in_the_middle(tmp_path, short, out):
    """Red if damage passes without a word, or leaves a reel that lacks a piece."""
    data = bytearray(short.read_bytes())
    junk = np.random.default_rng(0).integers(0, 256, len(data) // 4, np.uint8).tobytes()
    begin = data.index(b"mdat") + len(data) // 4
    data[begin : begin + len(junk)] = junk
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    notices = []
    render_reel([damaged], [(0.2, 0.4), (1.0, 3.0)], out, on_notice=notices.append)
    assert len(read_numbers(out)) == 55
    assert len(notices) == 1
    assert re.match("00:00:01.000 to .* may look or sound damaged. ffmpeg: .", notices[0])
    only(out, "reel.mp4")


def test_nothing_but_damage(tmp_path, short, out):
    """Red if a file of which no picture decodes makes a reel, or hides ffmpeg's words."""
    data = bytearray(short.read_bytes())
    begin, end = data.index(b"mdat") + 4, data.rindex(b"moov") - 4
    data[begin:end] = bytes(end - begin)
    (tmp_path / "zeros.mp4").write_bytes(data)
    with pytest.raises(RenderError, match=r"zeros\.mp4 (cannot be read|has no picture)"):
        render_reel([tmp_path / "zeros.mp4"], [(1.0, 2.0)], out)
    only(out)


def test_an_output_that_exists(short, out):
    """Red if a file is overwritten unasked, or lost because a new one failed."""
    out.write_bytes(b"mine")
    with pytest.raises(RenderError, match="exists"):
        render_reel([short], [(0.0, 1.0)], out)
    with pytest.raises(RenderError, match=r"short\.mp4 is the recording itself"):
        render_reel([short], [(0.0, 1.0)], short, overwrite=True)
    with pytest.raises(ValueError, match="Segments must be in the recording"):
        render_reel([short], [(0.0, 9.0)], out, overwrite=True)
    assert out.read_bytes() == b"mine"
    render_reel([short], [(0.0, 0.4)], out, overwrite=True)
    assert len(read_numbers(out)) == 10


SEGMENTS = [
    ([], "at least one segment"),
    ([(1.0, 1.0)], "end after its start"),
    ([(2.0, 1.0)], "end after its start"),
    ([(float("nan"), 1.0)], "end after its start"),
    ([(-1.0, 1.0)], "from 0 seconds on"),
    ([(2.0, 3.0), (0.0, 1.0)], "sorted"),
    ([(0.0, 2.0), (1.0, 3.0)], "not overlap"),
    ([(3.0, 4.5)], r"lasts 4\.000 seconds"),
    ([(4.0, 4.05)], r"lasts 4\.000 seconds"),
    ([(1.0, 1.005)], r"At 25 frames per second a picture lasts 0\.04 seconds"),
]


@pytest.mark.parametrize(("segments", "rule"), SEGMENTS)
def test_segments_that_cannot_be(segments, rule, short, out):
    """Red if a segment reaches ffmpeg that it would render as nothing or as something else."""
    with pytest.raises(ValueError, match=rule):
        render_reel([short], segments, out)
    only(out)


def test_crossfades_that_do_not_fit(short, out):
    """Red if a fade is longer than what it fades."""
    with pytest.raises(ValueError, match="as long as its cross-fades"):
        render_reel([short], [(0.0, 1.0), (1.5, 2.0), (3.0, 4.0)], out, crossfade=0.4)
    with pytest.raises(ValueError, match="crossfade must be"):
        render_reel([short], [(0.0, 1.0)], out, crossfade=-1.0)


def test_the_score_is_drawn(short, out, tmp_path):
    """Red if the bar lacks, stands still, or shows the score of another time."""
    times, probabilities = [0.0, 2.0, 2.04, 4.0], [0.0, 0.0, 1.0, 1.0]
    plain = tmp_path / "plain.mp4"
    render_reel([short], [(0.5, 1.5), (2.5, 3.5)], plain)
    render_reel([short], [(0.5, 1.5), (2.5, 3.5)], out, scores=(times, probabilities))
    images, _ = read_images(out)
    assert read_numbers(out) == read_numbers(plain)
    corner = [image[-14:, 36:48].mean() for image in images]
    assert max(corner[2:10]) < min(corner[30:35])
    with pytest.raises(ValueError, match="as many times as probabilities"):
        render_reel([short], [(0.5, 1.5)], plain, scores=([0.0], []), overwrite=True)


def program(path, text, monkeypatch):
    """A script in place of ffmpeg."""
    path.write_text(f"#!/bin/sh\nreal={imageio_ffmpeg.get_ffmpeg_exe()}\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(path))


FULL_DISK = """case "$*" in *piece000001*)
  n=$#; for word in "$@"; do shift; n=$((n-1))
    if [ $n -gt 0 ]; then set -- "$@" "$word"; else set -- "$@" file:/dev/full; fi
  done;; esac
exec "$real" "$@" """
FAILURES = [
    ("echo '[x @ 0x12] Something broke' >&2; echo 'Conversion failed!' >&2; exit 3", "Something"),
    ("exit 7", "without a word .exit code 7"),
    ("kill -9 $$", "without a word .signal 9"),
    ('case "$*" in *piece000001*) exit 0;; esac; exec "$real" "$@"', "only 0 of 10 pictures"),
    ('case "$*" in *list.txt*) exit 0;; esac; exec "$real" "$@"', "joined 0 of 20 pictures"),
    (FULL_DISK, "No space left on device"),
]


@pytest.mark.parametrize(("text", "message"), FAILURES)
def test_ffmpeg_fails(text, message, tmp_path, short, out, monkeypatch):
    """Red if a failure is swallowed, its words are lost, or something is left behind."""
    program(tmp_path / "ffmpeg", text, monkeypatch)
    with pytest.raises(RenderError, match=message):
        render_reel([short], [(0.0, 0.4), (1.0, 1.4)], out)
    only(out)


def test_there_is_no_ffmpeg(tmp_path, short, out, monkeypatch):
    """Red if a missing program ends in a traceback."""
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(tmp_path / "none"))
    with pytest.raises(RenderError, match="ffmpeg is not at"):
        render_reel([short], [(0.0, 0.4)], out)
    only(out)


def test_what_cannot_be_read(tmp_path, short, out):
    """Red if such a file ends in a traceback or an empty reel."""
    (tmp_path / "junk.mp4").write_bytes(b"junk" * 20)
    ffmpeg("-i", str(short), "-vn", "-c", "copy", str(tmp_path / "sound.m4a"))
    for name, message in [
        ("junk.mp4", "Invalid data"),
        ("sound.m4a", "no video, only sound"),
        ("no", "no such"),
    ]:
        with pytest.raises(RenderError, match=message):
            render_reel([tmp_path / name], [(0.0, 0.4)], out)
    with pytest.raises(RenderError, match="Cannot write to"):
        render_reel([short], [(0.0, 0.4)], tmp_path / "nowhere" / "reel.mp4")
    with pytest.raises(RenderError, match=r"\.mp4 file"):
        render_reel([short], [(0.0, 0.4)], tmp_path / "reel.avi")


# A first piece that tells its progress and never ends: however fast the machine is, there is
# something to stop. The shell itself waits, for a writer that never comes, under the same name.
ENDLESS = """case "$*" in *piece000000*)
  echo frame=60; echo progress=continue; read line < "$0.never";; esac
exec "$real" "$@" """


def test_interrupted(sources, out, tmp_path, monkeypatch):
    """Red if Ctrl-C leaves a folder, half a reel or a running ffmpeg."""
    os.mkfifo(tmp_path / "ffmpeg.never")
    program(tmp_path / "ffmpeg", ENDLESS, monkeypatch)

    def children():
        return children_of(os.getpid(), "piece000000")

    def interrupt(share):
        assert children()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_reel([sources["59.94"]], [(0.0, 20.0)], out, on_progress=interrupt)
    only(out)
    assert not children()


def test_a_real_interrupt(sources, out, tmp_path, monkeypatch):
    """Red if the SIGINT of a terminal leaves a folder, half a reel or a running ffmpeg."""
    os.mkfifo(tmp_path / "ffmpeg.never")
    program(tmp_path / "ffmpeg", ENDLESS, monkeypatch)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "ffmpeg"))
    lines = [
        "from pathlib import Path",
        "from experiments.highlights.rendering.render import render_reel",
        f"render_reel([Path({str(sources['59.94'])!r})], [(n, n + 1) for n in range(20)],",
        f"    Path({str(out)!r}), on_progress=lambda share: print(share, flush=True))",
    ]
    child = subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=Path(__file__).resolve().parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with child:
        child.stdout.readline()
        assert len(list(out.parent.iterdir())) == 1
        os.killpg(child.pid, signal.SIGINT)
        child.wait(timeout=PATIENCE_SECONDS)
    wait_until_gone(child.pid)
    only(out)


def test_progress(short, out):
    """Red if the share goes back, or ends before or beyond 1."""
    shares = []
    segments = [(0.0, 0.4), (1.0, 1.4), (2.0, 2.4), (3.0, 3.4)]
    render_reel([short], segments, out, on_progress=shares.append)
    assert shares == sorted(shares)
    assert len(set(shares)) >= 6  # each piece adds to it, then the join, then the end
    assert shares[-1] == 1.0
    assert shares[0] > 0


def test_loudness_is_kept(short, out):
    """Red if the sound is normalised or mixed down with another gain."""
    render_reel([short], [(0.9, 1.9)], out)
    before, after = counters.read_sound(short), counters.read_sound(out)
    part = before[round(0.92 * 48000) : round(1.88 * 48000)]
    power = np.sqrt(np.mean(after**2) * len(after) / len(part) / np.mean(part**2))
    assert power == pytest.approx(1.0, abs=0.05)


@pytest.mark.skipif(not (CLIPS / "audio").exists(), reason="needs the clips in ../shared/clips")
def test_a_real_clip(out):
    """Red if several streams, 8 kHz sound or real timestamps confuse it."""
    clip = CLIPS / "audio/nasa_13013.mp4"
    render_reel([clip], [(1.0, 2.0), (5.0, 6.5)], out, crossfade=0.4)
    images, fps = read_images(out)
    assert images[0].shape == (180, 320)
    assert len(images) / fps == pytest.approx(2.1, abs=0.07)
    assert len(counters.read_sound(out)) / 48000 == pytest.approx(2.1, abs=0.1)
    source, _ = read_images(clip)
    assert np.abs(images[0].astype(int) - source[25]).mean() < 4
