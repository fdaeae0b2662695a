"""The command as a user types it: a recording and its scores to a reel and cut lists."""

import csv
import re
import subprocess
from fractions import Fraction
from xml.etree import ElementTree

import imageio_ffmpeg
import numpy as np
import pytest

from experiments.highlights.commands import main
from experiments.highlights.cut_lists.cuts import Media
from experiments.highlights.selection.selection import Segment
from experiments.highlights.selection.snapping import (
    loudness_db,
    quiet_in,
    quiet_near,
    read_loudness,
)
from experiments.media.recording import read_recording
from tests.experiments.highlights.counters import NTSC, ffmpeg, read_numbers, render_counter

RATE = 25
SECONDS = 40


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """40 s of counters at 25 frames a second; the pictures say their number."""
    path = tmp_path_factory.mktemp("recording") / "stream.mp4"
    render_counter(path, RATE, SECONDS)
    return path


@pytest.fixture
def scores(tmp_path):
    """Twice a second; high from 10 to 16 and from 30 to 34 s."""
    path = tmp_path / "scores.csv"
    times = np.arange(0, SECONDS, 0.5)
    high = ((times >= 10) & (times < 16)) | ((times >= 30) & (times < 34))
    rows = [f"{time},{0.95 if yes else 0.05}" for time, yes in zip(times, high, strict=True)]
    path.write_text("\n".join(["time_seconds,probability", *rows]))
    return path


def reel(*args):
    return main(["reel", *map(str, args)])


def test_the_reel_holds_the_highlights(recording, scores, tmp_path, capsys):
    """Red when segments, frames or lists are those of another place."""
    out = tmp_path / "out.mp4"
    flags = ["--no-snap", "--bin-size", 1, "--cut-lists", "csv", "edl", "chapters"]
    assert reel(scores, recording, "-o", out, *flags) == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    spans = [(float(row["start_seconds"]), float(row["end_seconds"])) for row in rows]
    frame = 1 / RATE
    expected = [(9.75, 15.75), (29.75, 33.75)]  # halfway from the last low sample
    assert spans == [pytest.approx(span, abs=frame / 2 + 1e-9) for span in expected]
    wanted = [n for start, end in spans for n in range(round(start * RATE), round(end * RATE))]
    assert read_numbers(out) == wanted
    assert (tmp_path / "out.edl").read_text().startswith("TITLE: out")
    assert (tmp_path / "out.chapters.txt").exists()
    assert "2 highlights" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(recording, scores, tmp_path, capsys):
    before = set(tmp_path.iterdir())
    assert reel(scores, recording, "-o", tmp_path / "out.mp4", "--dry-run", "--top", 1) == 0
    message = capsys.readouterr().out
    assert message.count("stream.mp4") == 1
    assert "--top 1" in message
    assert set(tmp_path.iterdir()) == before


def test_the_originals_rule(recording, scores, tmp_path, capsys):
    flags = ["--select-by", "original", "--bin-size", 3, "--dry-run"]
    assert reel(scores, recording, *flags) == 0
    assert "original's rule" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "must have the columns"),
        ("time_seconds,probability\n1,x\n", "line 2"),
        ("time_seconds,probability\n1\n", "line 2"),
        ("time_seconds,probability\n5,0.5\n1,0.5\n", "ascend"),
        ("time_seconds,probability\n1,nan\n", "probabilit"),
        ("time_seconds,probability\n99,0.5\n", "40"),
    ],
)
def test_wrong_scores_are_told(recording, tmp_path, capsys, text, message):
    path = tmp_path / "wrong.csv"
    path.write_text(text)
    assert reel(path, recording, "-o", tmp_path / "out.mp4") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


def test_a_score_just_past_the_end_is_left_out(recording, scores, tmp_path, capsys):
    """Red if it refuses the whole file, is left out without a word, or moves a segment."""
    args = ["-o", tmp_path / "out.mp4", "--no-snap", "--dry-run"]
    assert reel(scores, recording, *args) == 0
    before = capsys.readouterr().out
    scores.write_text(scores.read_text() + f"\n{SECONDS + 0.1},0.95\n{SECONDS + 0.6},0.95\n")
    assert reel(scores, recording, *args) == 0
    message = capsys.readouterr().out
    assert f"2 scores up to 0.600 s past the end of the recording, at {SECONDS}.000 s" in message
    assert message.endswith(before)
    scores.write_text(scores.read_text() + f"{SECONDS + 2},0.95\n")
    assert reel(scores, recording, *args) == 2
    assert "scores of another one" in capsys.readouterr().err
    scores.write_text(f"time_seconds,probability\n{SECONDS + 0.5},0.95\n")
    assert reel(scores, recording, *args) == 2
    message = capsys.readouterr().err
    assert f"The first is at {SECONDS + 0.5:g} s" in message
    assert message.count("\n") == 1


def test_a_cut_list_does_not_replace_the_scores(recording, scores, capsys):
    """Red if --overwrite means the scores, too, whose name the list would have."""
    before = scores.read_text()
    out = scores.with_suffix(".mp4")
    assert reel(scores, recording, "-o", out, "--no-snap", "--overwrite") == 2
    assert "would be replaced by a cut list" in capsys.readouterr().err
    assert scores.read_text() == before


CAMERAS = [
    ("a.mov", 25, "10:00:00:00", "10:00:09:19", ["-timecode", "10:00:00:00"]),
    ("a.mp4", 25, "23:59:55:00", "00:00:04:19", ["-timecode", "23:59:55:00"]),
    ("a.mxf", 25, "10:00:00:00", "10:00:09:19", ["-timecode", "10:00:00:00"]),
    ("a.mkv", 25, "01:00:00:10", "01:00:10:04", ["-metadata", "timecode=01:00:00:10"]),
    ("a.ts", 25, "00:00:00:00", "00:00:09:19", []),
    ("a.mov", NTSC, "00:58:55;00", "00:59:04;24", ["-timecode", "00:58:55;00"]),
    ("a.mov", NTSC, "10:00:00:00", "10:00:09:22", ["-timecode", "10:00:00:00"]),
    ("a.mov", 2 * NTSC, "10:00:55;00", "10:01:04;48", ["-timecode", "10:00:55;00"]),
    ("a.mpg", 25, "01:00:00:00", "01:00:09:19", ["-timecode", "01:00:00:00"]),
    ("a.m2ts", NTSC, "00:58:55;00", "00:59:04;24", ["-timecode", "00:58:55;00", "-bf", "2"]),
    ("a.vob", 50, "10:00:00:10", "10:00:09:48", ["-timecode", "10:00:00:10"]),
]
MPEG_VIDEO = (".mxf", ".mpg", ".m2ts", ".vob")  # the timecode is in the pictures' own stream


@pytest.mark.parametrize(("name", "rate", "start", "begins", "args"), CAMERAS)
def test_embedded_timecodes(name, rate, start, begins, args, scores, tmp_path):
    """Red if a container's timecode is not found, or its dropped numbers are lost.

    The first cut is at 9.75 s, which is frame 244, 292 or 584; the times are counted by hand.
    """
    codec = ["-c:v", "mpeg2video"] if name.endswith(MPEG_VIDEO) else ["-preset", "ultrafast"]
    video = render_counter(tmp_path / name, rate, SECONDS, *args, *codec, has_sound=False)
    flags = ["--no-snap", "--bin-size", 1, "--cut-lists", "edl", "fcpxml", "otio"]
    assert reel(scores, video, "-o", tmp_path / "out.mp4", *flags) == 0
    event = next(line for line in (tmp_path / "out.edl").read_text().splitlines() if "001" in line)
    assert event.split()[4] == begins
    xml = ElementTree.parse(tmp_path / "out.fcpxml")
    asset, clip = xml.find("resources/asset"), next(xml.iter("asset-clip"))
    begin, at = (Fraction(node.get("start").rstrip("s")) for node in (asset, clip))
    assert at - begin == round(9.75 * rate) / Fraction(rate)
    otio = pytest.importorskip("opentimelineio")
    counted = otio.opentime.from_timecode(start, float(rate))
    assert begin == Fraction(round(counted.value)) / rate
    (track,) = otio.adapters.read_from_file(str(tmp_path / "out.otio")).tracks
    assert track[0].available_range().start_time.value == counted.value
    assert track[0].available_range().contains(track[0].source_range)


def timecode_by_ffmpeg(path):
    """The timecode that the ffmpeg program writes of a file."""
    args = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)]
    message = subprocess.run(args, capture_output=True, check=False).stderr.decode()
    return re.search(r"timecode +: (\S+)", message)[1]


@pytest.fixture(params=["mov", "mov, dropped", "mxf"])
def half_counted(request, tmp_path):
    """12 s at 59.94 pictures a second with a timecode of 30 numbers a second, and that timecode."""
    kind = request.param.split(",")[0]
    path, counted = tmp_path / f"half.{kind}", tmp_path / "counted.mov"
    args = ["-timecode", "10:00:55;12"] if kind == "mxf" else []
    args += ["-c:v", "mpeg2video"] if kind == "mxf" else ["-preset", "ultrafast"]
    video = render_counter(tmp_path / f"v.{kind}", 2 * NTSC, 12, *args, has_sound=False)
    if kind == "mxf":
        data = video.read_bytes()
        base, start = (b"\x15\x02\0\x02\0\x3c", b"\x15\x01\0\x08")
        number = data.index(start) + len(start)
        frame = int.from_bytes(data[number : number + 8], "big")
        half = (frame // 2).to_bytes(8, "big")
        data = data.replace(base, base[:-1] + b"\x1e").replace(data[number : number + 8], half)
        path.write_bytes(data)
    else:
        render_counter(counted, NTSC, 12, "-timecode", "10:00:55:06", has_sound=False)
        inputs = ["-i", str(video), "-i", str(counted)]
        ffmpeg(*inputs, "-map", "0:v", "-map", "1:d", "-c", "copy", str(path))
        if "dropped" in request.param:  # the flag is lost on the way
            data = bytearray(path.read_bytes())
            data[data.index(b"tmcd\0\0\0\0\0\0\0\x01") + 19] = 1
            path.write_bytes(data)
    timecode = timecode_by_ffmpeg(path)
    assert int(timecode[-2:]) < 30
    return path, timecode


def test_a_timecode_of_every_second_picture(half_counted):
    """Red if 30 numbers a second are taken for 60: half a second off at most, and other drops."""
    otio = pytest.importorskip("opentimelineio")
    path, timecode = half_counted
    wanted = otio.opentime.from_timecode(timecode, 30 * 1000 / 1001).rescaled_to(60 * 1000 / 1001)
    media = Media.of(*read_recording([path]))
    assert media.start == wanted.value
    assert media.drop == (";" in timecode)


@pytest.mark.parametrize("suffix", [".ts", ".mpg", ".mkv"])
def test_the_timecode_of_a_file_cut_out_of_another(suffix, tmp_path):
    """Red if the number of pictures that cannot be decoded is given to the first that can."""
    args = ["-c:v", "mpeg2video", "-q:v", "2", "-bf", "2", "-g", "12"]
    args += ["-timecode", "01:00:00:10"]
    whole = render_counter(tmp_path / f"whole{suffix}", RATE, 4, *args, has_sound=False)
    part = tmp_path / f"part{suffix}"
    ffmpeg("-ss", "2", "-i", str(whole), "-map_metadata", "-1", "-c", "copy", str(part))
    media = Media.of(*read_recording([part]))
    first = read_numbers(part)[0]
    assert first > 12
    assert media.start == 3600 * RATE + 10 + first


def test_what_exists_is_kept(recording, scores, tmp_path, capsys):
    (tmp_path / "out.csv").write_text("mine")
    assert reel(scores, recording, "-o", tmp_path / "out.mp4", "--no-snap") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "out.csv").read_text() == "mine"


def test_missing_files_are_told(recording, scores, tmp_path, capsys):
    assert reel(scores, tmp_path / "nowhere.mp4") == 2
    assert "nowhere.mp4" in capsys.readouterr().err
    assert reel(tmp_path / "nowhere.csv", recording) == 2
    assert "nowhere.csv" in capsys.readouterr().err


def test_labels_are_converted(tmp_path, capsys):
    source, target = tmp_path / "data.csv", tmp_path / "labels.csv"
    source.write_text('a.mp4 "[0.0, 0.5, 0.25, 1.0]" "(1.5, 3)"\n')
    assert main(["labels", str(source), str(target)]) == 0
    assert "a.mp4,0.0,0.5,0.25,1.0,1.5,3.0,highlight" in target.read_text()
    assert main(["labels", str(source), str(target)]) == 2
    assert "exists" in capsys.readouterr().err


def test_loudness():
    """Red when 0 is not full scale: a sine of amplitude 1 is 3 dB below it."""
    sine = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    assert loudness_db(sine, 16000) == pytest.approx(np.full(50, -3.01), abs=0.01)
    assert np.isneginf(loudness_db(np.zeros(400, np.float32), 16000)).all()


def test_a_pause_is_found_where_it_is(tmp_path):
    """Red when the sound's clock is not the recording's: here the second chunk's begins at 8 s."""
    paths = []
    for number in (0, 1):
        paths.append(tmp_path / f"part{number}.mp4")
        ffmpeg(
            *("-f", "lavfi", "-i", "color=gray:s=64x48:r=25:d=8"),
            *("-f", "lavfi", "-i", "aevalsrc='if(between(t,5,5.4),0,0.3*sin(2500*t))':d=8"),
            *("-shortest", str(paths[-1])),
        )
    chunks = read_recording(paths)
    segment = Segment(4.0, 12.8, 1.0, 5.0)
    found = quiet_near(chunks, [segment])
    kept = quiet_in([read_loudness(chunk) for chunk in chunks], [segment])
    # The same moments as by what is read near the cuts, but for the edges of what is heard there.
    assert len(kept.times)
    for time in kept.times[np.abs(kept.times - 5.2) < 1]:
        assert np.abs(found.times - time).min() < 1e-6
    for pause in (5.2, 13.2):
        near = found.times[np.abs(found.times - pause) < 0.3]
        assert len(near) >= 1
        assert np.abs(near - pause).min() < 0.06
