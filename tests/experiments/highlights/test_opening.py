"""Recordings in parts, with several sound tracks, and with clocks that begin again."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.clips.images import ImageReader, ImageSettings
from experiments.highlights.commands import main
from experiments.highlights.rendering import opening
from experiments.highlights.rendering.opening import copy_with_one_clock, opened_recording
from experiments.highlights.rendering.render import render_reel
from experiments.highlights.scoring.scoring_job import ScoringOptions
from experiments.highlights.selection.selection import Segment
from experiments.highlights.selection.snapping import quiet_near
from experiments.media.chunk_files import recording_chunks, recording_files
from experiments.media.ffmpeg import RenderError
from experiments.media.recording import read_recording
from preprocess.video.decode import VideoReader
from preprocess.video.transforms import FrameFit

sys.path.insert(0, str(Path(__file__).parent))
import counters
from counters import ffmpeg, read_numbers, render_counter
from run_with_stand_in import Brightness

from tests.processes import REPOSITORY

REPORTED = REPOSITORY.parent / "shared/clips/reported"
HEARD = ImageSettings(parts=("sound",), side=32, fps=2.0)


# Names of one recording's files, in order. They are made in reverse.
FAMILIES = {
    "OBS": ["2026-01-31 20-15-00.mkv", "2026-01-31 21-15-00.mkv", "2026-01-31 22-15-01.mkv"],
    "past midnight": ["2026-01-31 23-15-00.mkv", "2026-02-01 00-15-00.mkv"],
    "underscores": ["OBS_20260131_201500.mp4", "OBS_20260131_211500.mp4"],
    "screen": [
        "Screen Recording 2026-01-31 at 20.15.00.mov",
        "Screen Recording 2026-01-31 at 20.45.00.mov",
    ],
    "DJI": ["DJI_20260131201500_0009_D.MP4", "DJI_20260131202000_0010_D.MP4"],
    "GoPro": ["GX010123.MP4", "GX020123.MP4", "GX030123.MP4"],
    "GoPro H.264": ["GH010007.MP4", "GH020007.MP4"],
    "old GoPro": ["GOPR0123.MP4", "GP010123.MP4", "GP020123.MP4"],
    "AVCHD": ["00000.MTS", "00001.MTS"],
    "Canon": ["MVI_0412.MP4", "MVI_0413.MP4", "MVI_0414.MP4"],
    "chunks": [f"part{number}.mp4" for number in range(11)],
}


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_by_their_names(family, tmp_path):
    """Red if parts are sorted as text, or a family is not known."""
    names = FAMILIES[family]
    for name in reversed(names):
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    assert [path.name for path in recording_chunks(tmp_path)] == names


SEVERAL = {
    "GoPro": (["GX010123.MP4", "GX020123.MP4", "GX010124.MP4"], r"GX010123.*GX020123.MP4'?\."),
    "days": (["2026-01-31 20-15-00.mkv", "2026-02-01 20-15-00.mkv"], "Name the files of one"),
    "both": (["part0.mp4", "GX010123.MP4"], "several recordings, 2"),
    "remuxed": (["2026-01-31 20-15-00.mkv", "2026-01-31 20-15-00.mp4"], "same number or time"),
    "chapter": (["GX010123.MP4", "GX030123.MP4"], "Chunk 2 of"),
    "camera": (["MVI_0412.MP4", "MVI_0414.MP4"], "Chunk 413 of"),
    "none": (["holiday.mp4"], "no numbered videos"),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_what_is_not_one_recording(case, tmp_path):
    """Red if files of two recordings are joined, or one that is missing goes unseen."""
    names, message = SEVERAL[case]
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(RenderError, match=message):
        recording_chunks(tmp_path)


def test_a_part_of_a_name(tmp_path):
    """Red if the beginning of a name does not tell recordings apart."""
    for name in (*FAMILIES["OBS"], "2026-02-02 10-00-00.mkv", "GX010001.MP4", "GX010002.MP4"):
        (tmp_path / name).touch()
    assert len(recording_chunks(tmp_path / "2026-01-31")) == 3
    assert recording_chunks(tmp_path / "GX010001") == [tmp_path / "GX010001.MP4"]


def test_several_paths(tmp_path):
    """Red if the order that was given is changed, or a file counts twice."""
    for name in ("b.mp4", "a.mp4", "part0.mp4", "part1.mp4", "reel.mp4"):
        (tmp_path / name).touch()
    output = []
    given = [tmp_path / "b.mp4", tmp_path / "a.mp4", tmp_path / "part"]
    names = [path.name for path in recording_files(given, output.append)]
    assert names == ["b.mp4", "a.mp4", "part0.mp4", "part1.mp4"]
    with pytest.raises(RenderError, match="named twice"):
        recording_files([tmp_path / "a.mp4", tmp_path / "." / "a.mp4"])
    with pytest.raises(RenderError, match="Name a recording"):
        recording_files([])
    recording_files([tmp_path], output.append)
    assert any("a.mp4, b.mp4, reel.mp4" in line for line in output)


@pytest.fixture(scope="module")
def obs(tmp_path_factory):
    """Three files of 4 s that were split where they say, and one of the day after."""
    folder = tmp_path_factory.mktemp("obs")
    names = ["2026-01-31 20-15-00", "2026-01-31 20-15-04", "2026-01-31 20-25-08"]
    for place, name in enumerate(names):
        render_counter(folder / f"{name}.mkv", 25, 4, first=100 * place)
    return folder


def scores_of(path, *spans, seconds):
    """Two scores a second, high in some spans."""
    times = np.arange(0, seconds, 0.5)
    high = [any(start <= time < end for start, end in spans) for time in times]
    rows = [f"{time},{0.95 if yes else 0.05}" for time, yes in zip(times, high, strict=True)]
    path.write_text("\n".join(["time_seconds,probability", *rows]))
    return path


FLAGS = ["--no-snap", "--bin-size", "0"]


def test_an_obs_recording_is_one(obs, tmp_path, capsys):
    """Red if a highlight over the seam, or in the second file, shows other pictures."""
    scores, out = scores_of(tmp_path / "s.csv", (3, 5), (9, 11), seconds=12), tmp_path / "r.mp4"
    assert main(["reel", str(scores), str(obs), "-o", str(out), *FLAGS]) == 0
    numbers = read_numbers(out)
    assert numbers == [*range(69, 100), *range(100, 119), *range(219, 269)]
    output = capsys.readouterr().out
    assert "3 files, 2026-01-31 20-15-00.mkv to 2026-01-31 20-25-08.mkv" in output
    assert "10 min 0 s lie between the end of 2026-01-31 20-15-04.mkv" in output
    first = obs / "2026-01-31 20-15-00.mkv"
    args = ["--overwrite", *FLAGS, "--min-length", "0.5"]
    short = scores_of(tmp_path / "s.csv", (1, 2), seconds=4)
    assert main(["reel", str(short), str(first), "-o", str(out), *args]) == 0
    assert "others are 2026-01-31 20-15-04.mkv. To have them as one" in capsys.readouterr().out


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """Game: 440 Hz for 8 s. Microphone: 2 kHz, silent from 4.0 to 4.5 s. And each alone."""
    folder = tmp_path_factory.mktemp("tracks")
    both, microphone = folder / "both.mkv", folder / "microphone.mkv"
    speech = "aevalsrc='if(between(t,4,4.5),0,0.3*sin(2*PI*2000*t))':d=8:s=44100"
    ffmpeg(
        *("-f", "lavfi", "-i", "color=gray:s=64x48:r=25:d=8"),
        *("-f", "lavfi", "-i", "sine=440:d=8", "-f", "lavfi", "-i", speech),
        *("-map", "0:v", "-map", "1:a", "-map", "2:a", "-c:a", "aac"),
        *("-metadata:s:a:1", "title=Mic", "-metadata:s:a:1", "language=eng", str(both)),
    )
    ffmpeg("-i", str(both), "-map", "0:v", "-map", "0:a:1", "-c", "copy", str(microphone))
    return both, microphone


def pitch(path):
    """The strongest frequency of a file's sound, in Hz."""
    samples = counters.read_sound(path)
    return np.abs(np.fft.rfft(samples)).argmax() * counters.SOUND_RATE / len(samples)


@pytest.mark.parametrize(("track", "hertz"), [(None, 440), (0, 440), (1, 2000)])
def test_the_reel_has_the_sound_track(track, hertz, tracks, tmp_path, capsys):
    """Red if the first one is taken whatever is asked for, or nothing is said of the other."""
    scores, out = scores_of(tmp_path / "s.csv", (1, 4), seconds=8), tmp_path / "r.mp4"
    args = [] if track is None else ["--sound-track", str(track)]
    assert main(["reel", str(scores), str(tracks[0]), "-o", str(out), *FLAGS, *args]) == 0
    assert pitch(out) == pytest.approx(hertz, abs=2)
    output = capsys.readouterr().out
    sound = "aac, mono, 44100 Hz"
    assert f"both.mkv has 2 sound tracks (0: {sound}; 1: {sound}, eng, 'Mic')" in output
    assert f"Track {track or 0} is taken" in output


def test_a_sound_track_that_is_not_there(tracks, tmp_path, capsys):
    scores = str(scores_of(tmp_path / "s.csv", (1, 4), seconds=8))
    out = str(tmp_path / "r.mp4")
    for recording, number in zip(tracks, (2, 1), strict=True):
        args = ["reel", scores, str(recording), "-o", out, "--sound-track", str(number)]
        assert main(args) == 2
        assert f"Received --sound-track {number}; give one that" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["reel", scores, str(tracks[0]), "-o", out, "--sound-track", "-1"])


def read_all(path, sound_track):
    """All spectrograms of a file."""
    images = []
    with ImageReader(path, HEARD, sound_track=sound_track) as reader:
        pixels = np.empty(HEARD.frame_shape, np.uint8)
        while reader.read_into(pixels):
            images.append(pixels.copy())
    return np.array(images)


def test_spectrograms_of_a_sound_track(tracks):
    """Red if they are not those of a file that has this track alone."""
    both, microphone = tracks
    np.testing.assert_array_equal(read_all(both, 1), read_all(microphone, 0))
    assert not np.array_equal(read_all(both, 0), read_all(microphone, 0))


def test_snapping_to_a_sound_track(tracks):
    """Red if the pause of the microphone is looked for in the game's sound."""
    segment = Segment(3.0, 6.0, 1.0, 4.0)
    times = {}
    for track in (0, 1):
        chunks = read_recording([tracks[0]], sound_track=track)
        times[track] = quiet_near(chunks, [segment]).times
    assert ((times[1] > 4.0) & (times[1] < 4.5)).any()
    assert not ((times[0] > 4.0) & (times[0] < 4.5)).any()


def test_extraction_of_a_sound_track(tracks, tmp_path, capsys):
    """Red if shards have the first track, or those that were made before no longer count."""
    labels = tmp_path / "labels.csv"
    head = "path,x1,y1,x2,y2,start,end,label,group\n"
    labels.write_text(f"{head}{tracks[0]},0,0,1,1,1,3,highlight,a\n")
    args = ["extract", str(labels), str(tmp_path / "shards"), "--side", "32", "--jobs", "1"]
    assert main([*args, "--sound-track", "1"]) == 0
    assert "1 of 1 clips have several sound tracks" in capsys.readouterr().out
    assert main([*args, "--sound-track", "0"]) == 2
    assert "was made with sound_track 1" in capsys.readouterr().err
    assert main(args) == 0  # without a word the track of the shards counts
    assert "Taken from the last time where nothing else is said: side, sound_track." in (
        capsys.readouterr().out
    )
    missing = [*args[:2], str(tmp_path / "other"), *args[3:], "--sound-track", "2"]
    assert main(missing) == 1
    assert "sound track 2 is wanted" in (tmp_path / "other/failures.csv").read_text()


@pytest.fixture
def scorer(monkeypatch):
    made = Brightness()
    monkeypatch.setattr(ScoringOptions, "load", lambda self: made)
    return made


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "best.keras").write_text("model")
    (folder / "scorer.json").write_text('{"settings": {"sound_track": 1}}')
    return folder


def test_scores_of_a_sound_track(tracks, model, scorer, tmp_path, capsys):
    """Red if scores of one track are used for another, or that of training is not the default."""
    args = ["run", str(tracks[0]), "-m", str(model), "-o", str(tmp_path / "r.mp4"), "--dry-run"]
    assert main(args) == 0
    assert "Track 1 is taken" in capsys.readouterr().out
    num_images = scorer.num_images
    assert main([*args, "--sound-track", "1"]) == 0
    assert scorer.num_images == num_images
    capsys.readouterr()
    assert main([*args, "--sound-track", "0"]) == 0
    assert "is of another sound track;" in capsys.readouterr().out
    assert scorer.num_images == 2 * num_images


def joined(folder, suffix, *args, skip=0):
    """Two counters of 4 s as one file, of which the second's clock begins again."""
    parts = [
        render_counter(folder / f"{first}{suffix}", 25, 4, "-g", "25", *args, first=first)
        for first in (0, 100)
    ]
    out = folder / f"joined{suffix}"
    out.write_bytes(parts[0].read_bytes() + parts[1].read_bytes()[skip:])
    return out


FLV_HEADER = 13
RESTARTS = {
    "ts": (".ts", [], 0),
    "mts": (".mts", ["-c:v", "mpeg2video", "-q:v", "2", "-c:a", "mp2"], 0),
    "mpg": (".mpg", ["-c:v", "mpeg2video", "-q:v", "2", "-c:a", "mp2"], 0),
    "vob": (".vob", ["-c:v", "mpeg2video", "-q:v", "2", "-c:a", "ac3"], 0),
    "flv": (".flv", ["-bf", "0"], FLV_HEADER),
    "mkv": (".mkv", ["-bf", "3"], 0),
}


@pytest.mark.parametrize("kind", RESTARTS)
def test_a_clock_that_begins_again(kind, tmp_path):
    """Red if a highlight of the second half is one of the first, or sound is of another place."""
    suffix, args, skip = RESTARTS[kind]
    source = joined(tmp_path, suffix, *args, skip=skip)
    out, output = tmp_path / "out" / "reel.mp4", []
    out.parent.mkdir()
    with opened_recording([source], beside=out, say=output.append) as chunks:
        assert chunks[0].path == source
        assert chunks[0].duration - chunks[0].video_start == pytest.approx(8.0, abs=0.002)
        render_reel(chunks, [(1.0, 1.8), (5.6, 7.4)], out)
    assert "begin again" in output[0]
    assert [path.name for path in out.parent.iterdir()] == ["reel.mp4"]
    numbers = np.array(read_numbers(out))
    wanted = np.array([*range(25, 45), *range(140, 185)])
    assert len(numbers) == len(wanted)
    assert np.abs(numbers - wanted).max() <= 2  # sound may go on a little after the picture
    images, fps = counters.read_images(out)
    seen, heard = counters.flashes(images, fps), counters.onsets(counters.read_sound(out))
    assert len(seen) == len(heard) == 3
    assert np.abs(seen - heard).max() < 0.07


@pytest.mark.parametrize("suffix", [".mkv", ".nut"])
def test_reordered_pictures_at_a_seam(suffix, tmp_path):
    """Red if the copy lacks pictures that are read, where a format has no times of decoding.

    FFmpeg reads two pictures more at the seam of NUT files, of what is a header there.
    """
    source, copy = joined(tmp_path, suffix, "-bf", "3"), tmp_path / "copy.mkv"
    copy_with_one_clock(source, copy)
    numbers = [number for number, _ in read_all_numbers(copy)]
    assert numbers == [number for number, _ in read_all_numbers(source)]
    assert list(dict.fromkeys(numbers)) == [*range(200)]
    times = [[time for _, time in read_all_numbers(path)] for path in (source, copy)]
    np.testing.assert_allclose(*times, atol=0.002)


def without_images(stream):
    """The packets of a transport stream but those of FFmpeg's first stream, its pictures."""
    packets = [stream[place : place + 188] for place in range(0, len(stream), 188)]
    return b"".join(packet for packet in packets if (packet[1] & 31) << 8 | packet[2] != 256)


@pytest.mark.parametrize("longest", [60, 1])
def test_sound_whose_clock_alone_begins_again(longest, tmp_path, monkeypatch):
    """Red if such sound is lost, as heard by the ffmpeg program, or kept in memory without end."""
    monkeypatch.setattr(opening, "_LONGEST_SEAM_SECONDS", longest)
    source, output = joined(tmp_path, ".ts"), []
    halves = source.read_bytes()
    source.write_bytes(halves + without_images((tmp_path / "100.ts").read_bytes()))
    with opened_recording([source], beside=tmp_path / "r.mp4", say=output.append) as chunks:
        assert chunks[0].duration - chunks[0].video_start == pytest.approx(8.0, abs=0.1)
        heard = counters.onsets(counters.read_sound(chunks[0].file))
    lines = [line for line in output if "belong to no picture" in line]
    if longest == 1:  # no picture comes for it any more
        assert 1 < float(lines[0].split(": ")[-1].split()[0]) < 4
    else:
        assert not lines
        played = counters.onsets(counters.read_sound(source))
        assert len(heard) == len(played) == 12
        np.testing.assert_allclose(np.diff(heard), np.diff(played), atol=0.1)


def spread(images, sound):
    """Packets of two transport streams in one, each evenly."""
    ends = [188 * (len(sound) // 188 * n // (len(images) // 188)) for n in range(10**6)]
    parts = []
    for number in range(len(images) // 188):
        parts.append(images[188 * number : 188 * number + 188])
        parts.append(sound[ends[number] : ends[number + 1]])
    return b"".join(parts)


def only_images(stream):
    """The packets of a transport stream's pictures and tables."""
    packets = [stream[place : place + 188] for place in range(0, len(stream), 188)]
    return b"".join(packet for packet in packets if (packet[1] & 31) << 8 | packet[2] != 257)


def reel_of(source, folder, *segments):
    """A reel's pictures' numbers, when they flash and it bursts; the recording's first picture."""
    with opened_recording([source], beside=folder / "r.mp4") as chunks:
        render_reel(chunks, segments, folder / "r.mp4")
        first = chunks[0].video_start
    images, fps = counters.read_images(folder / "r.mp4")
    numbers = [counters.number_of(one) for one in images]
    heard = counters.onsets(counters.read_sound(folder / "r.mp4"))
    return numbers, counters.flashes(images, fps), heard, first


def test_sound_that_begins_again_under_pictures_that_go_on(tmp_path):
    """Red if a reel is silent where the sound's clock alone began again."""
    whole = render_counter(tmp_path / "whole.ts", 25, 8, "-g", "25", "-bf", "0")
    half = render_counter(tmp_path / "half.ts", 25, 4).read_bytes()
    source, sound = tmp_path / "s.ts", without_images(half)
    source.write_bytes(spread(only_images(whole.read_bytes()), 2 * sound))
    numbers, seen, heard, _ = reel_of(source, tmp_path, (1.6, 3.4), (5.6, 7.4))
    assert numbers == [*range(40, 85), *range(140, 185)]
    assert len(seen) == len(heard) == 4
    assert np.abs(seen - heard).max() < 0.1


def read_all_numbers(path):
    """Numbers of a file's pictures as they are read, and when each is shown."""
    fit, rows = FrameFit(counters.SIZE), []
    with VideoReader(path, fit=fit) as video:
        frame = np.empty(fit.frame_shape, np.uint8)
        while video.read_into(frame):
            rows.append((counters.number_of(frame[..., 0]), video.time_seconds))
    return rows


LEAPS = {
    "ts": (".ts", []),
    "mpg": (".mpg", ["-c:v", "mpeg2video", "-q:v", "2", "-c:a", "mp2"]),
    "flv": (".flv", ["-bf", "0"]),
    "mkv": (".mkv", ["-bf", "3"]),
}


@pytest.mark.parametrize("kind", LEAPS)
def test_a_clock_that_leaps(kind, tmp_path):
    """Red if the reel has a hole, or other pictures than are read, where a clock leaps ahead."""
    suffix, args = LEAPS[kind]
    args = ["-g", "25", *args]
    early = render_counter(tmp_path / f"0{suffix}", 25, 4, *args)
    later = [*args, "-output_ts_offset", "1000"]
    late = render_counter(tmp_path / f"1{suffix}", 25, 4, *later, first=100)
    skip = FLV_HEADER if kind == "flv" else 0
    source = tmp_path / f"joined{suffix}"
    source.write_bytes(early.read_bytes() + late.read_bytes()[skip:])
    segments = [(1.6, 3.4), (3.6, 4.4), (5.6, 7.4)]
    numbers, seen, heard, first = reel_of(source, tmp_path, *segments)
    assert numbers == [
        number
        for start, end in segments
        for number, time in read_all_numbers(source)
        if start - 0.02 <= time + first < end - 0.02
    ]
    assert {98, 99, 100, 101} < set(numbers)
    assert len(seen) == len(heard) == 5
    assert np.abs(seen - heard).max() < 0.07


def test_sound_that_goes_on_where_the_pictures_leap(tmp_path):
    """Red if the sound of a time without pictures takes the place of what belongs to the next.

    For 16 s, from 4 s on, the pictures of a stream are lost.
    """
    args = ["-g", "25", "-bf", "0"]
    whole, source = render_counter(tmp_path / "whole.ts", 25, 24, *args), tmp_path / "lost.ts"
    lost = "noise=drop='between(n,100,499)'"
    ffmpeg("-i", str(whole), "-c", "copy", "-bsf:v", lost, str(source))
    numbers, seen, heard, _ = reel_of(source, tmp_path, (1.6, 3.4), (5.6, 7.4))
    assert np.abs(np.subtract(numbers, [*range(40, 85), *range(540, 585)])).max() <= 2
    assert len(seen) == len(heard) == 4
    assert np.abs(seen - heard).max() < 0.07


def test_the_second_half_is_scored(model, scorer, tmp_path, capsys):
    """Red if pictures after the clock began again are not looked at, or have times of the first."""
    args = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "20", "-c:a", "aac"]
    for name, colour in (("a", "black"), ("b", "white")):
        seen, heard = f"color={colour}:s=64x48:r=10:d=4", "sine=d=4"
        inputs = ["-f", "lavfi", "-i", seen, "-f", "lavfi", "-i", heard]
        ffmpeg(*inputs, *args, str(tmp_path / f"{name}.ts"))
    recording = tmp_path / "cat.ts"
    recording.write_bytes(b"".join((tmp_path / f"{name}.ts").read_bytes() for name in "ab"))
    out = tmp_path / "reel.mp4"
    flags = ["-m", str(model), "-o", str(out), "--no-snap", "--bin-size", "1", "--threshold", "0.4"]
    assert main(["run", str(recording), *flags]) == 2  # the model heard a second track
    assert "cat.ts has 1 sound track" in capsys.readouterr().err
    assert main(["run", str(recording), *flags, "--sound-track", "0"]) == 0
    rows = list(csv.DictReader((tmp_path / "reel.scores.csv").open()))
    assert len(rows) == pytest.approx(16, abs=1)
    assert float(rows[-1]["time_seconds"]) == pytest.approx(7.5, abs=0.2)
    (cut,) = csv.DictReader((tmp_path / "reel.csv").open())
    assert cut["path"] == str(recording)
    assert float(cut["start_seconds"]) == pytest.approx(3.8, abs=0.3)
    images, _ = counters.read_images(out)
    assert np.mean([image.mean() > 200 for image in images]) > 0.9
    assert '"clock"' in (tmp_path / "reel.scores.json").read_text()
    assert not list(tmp_path.glob(".recording-*"))


def test_no_room_for_a_copy(tmp_path, monkeypatch):
    """Red if that is found out by a full disk."""
    source = joined(tmp_path, ".ts")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    opened = opened_recording([source], beside=tmp_path / "r.mp4", say=lambda line: None)
    with pytest.raises(RenderError, match="Make room"), opened:
        pass
    assert not list(tmp_path.glob(".recording-*"))


@pytest.mark.parametrize("kind", ["cover", "sound"])
def test_sound_without_video(kind, tmp_path, capsys):
    """Red if it ends in ffmpeg's words, or a cover picture counts as a video."""
    sound = ["-f", "lavfi", "-i", "sine=d=4"]
    cover = ["-f", "lavfi", "-i", "color=s=64x64:d=1:r=1"]
    path = tmp_path / "song.mp4"
    if kind == "cover":
        args = ["-frames:v", "1", "-c:v", "mjpeg", "-disposition:v:0", "attached_pic"]
        ffmpeg(*sound, *cover, "-map", "0", "-map", "1", "-c:a", "aac", *args, str(path))
    else:
        ffmpeg(*sound, "-c:a", "aac", str(path))
    scores = scores_of(tmp_path / "s.csv", (1, 3), seconds=4)
    assert main(["reel", str(scores), str(path), "-o", str(tmp_path / "r.mp4")]) == 2
    message = "only a cover picture" if kind == "cover" else "only sound"
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(RenderError, match=message):
        read_recording([path])


@pytest.mark.skipif(not REPORTED.exists(), reason="needs the clips in ../shared/clips/reported")
def test_reported_files(tmp_path, capsys):
    """Red as above, in the files that were reported."""
    with pytest.raises(RenderError, match="only a cover picture"):
        read_recording([REPORTED / "audio_cover.mp4"])
    with opened_recording([REPORTED / "twotracks.mp4"], beside=tmp_path / "r.mp4"):
        assert "1: aac, mono, 44100 Hz, 'Mic'" in capsys.readouterr().out
    with opened_recording([REPORTED / "cat.ts"], beside=tmp_path / "r.mp4") as chunks:
        assert chunks[0].duration == pytest.approx(8.0, abs=0.03)
    (chunk,) = read_recording([REPORTED / "tc.mov"])
    assert chunk.timecode == "10:00:00:00"
