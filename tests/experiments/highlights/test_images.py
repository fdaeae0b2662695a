"""Pictures of moments: their times and parts against plain readers, and the shards they lie in."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from experiments.clips.images import Box, ImageReader, ImageSettings
from experiments.highlights.commands import main
from experiments.highlights.labels import Interval, LabelledClip, read_labels, write_labels
from experiments.highlights.training.examples import extract_images, open_images
from preprocess.errors import PreprocessError
from preprocess.video.decode import iter_frames, probe
from preprocess.video.sound import read_sound
from tests.experiments.highlights.counters import ffmpeg, number_of, render_counter

WHOLE_IMAGE = Box(0, 0, 1, 1)
SETTINGS = ImageSettings(side=64, fps=4.0, window_seconds=2.0)
RATES = {"59.94": Fraction(60000, 1001), "25": Fraction(25)}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """6 s of counters with clicks at each whole second, at two rates; and one without sound."""
    folder = tmp_path_factory.mktemp("videos")
    for name, rate in RATES.items():
        render_counter(folder / f"{name}.mp4", rate, 6)
    render_counter(folder / "mute.mp4", 25, 3, has_sound=False)
    return folder


def read(path, settings=SETTINGS, **options):
    """Times (N,) and pictures (N, H, W, 3)."""
    times, images = [], []
    with ImageReader(path, settings, **options) as reader:
        while reader.read_into(image := np.empty(settings.frame_shape, np.uint8)):
            times.append(reader.time_seconds)
            images.append(image)
    return np.array(times), np.array(images)


def numbers(images):
    """What the upper squares say."""
    return [number_of(image[: SETTINGS.side, :, 0]) for image in images]


@pytest.mark.parametrize("name", RATES)
def test_pictures_are_those_of_their_time_without_drift(videos, name):
    """Red when a rate is rounded, or every n-th frame is taken in place of real timestamps."""
    times, images = read(videos / f"{name}.mp4", box=WHOLE_IMAGE)
    wanted = np.ceil(np.arange(24) / 4 * float(RATES[name]) - 0.1)
    assert numbers(images) == list(wanted)
    np.testing.assert_allclose(times, wanted / float(RATES[name]), atol=0.001)


def test_the_sound_part_is_the_spectrogram_of_that_moment(videos):
    """Red when the sound is of another time, or lies where the face should be."""
    times, images = read(videos / "25.mp4", box=WHOLE_IMAGE)
    spectrogram = SETTINGS.spectrogram
    sound = read_sound(videos / "25.mp4", sample_rate=spectrogram.sample_rate)
    for time, image in zip(times, images, strict=True):
        expected = spectrogram.image(sound.samples, time)
        np.testing.assert_array_equal(image[SETTINGS.side :], expected)
    assert images[8, SETTINGS.side :].max() > 150  # a click was heard


def test_the_box_is_cut_out_before_scaling(videos):
    """Red when the box is taken of the scaled picture, or in (y, x) order."""
    frame = replace(SETTINGS, parts=("frame",), side=480)
    _, whole = read(videos / "25.mp4", frame)
    settings = replace(SETTINGS, parts=("box", "frame"), side=60)
    _, images = read(videos / "25.mp4", settings, box=Box(0.0, 0.5, 0.375, 1.0))
    assert images.shape[1:] == (120, 60, 3)
    for big, image in zip(whole, images, strict=True):
        expected = big[240:, :180].mean()  # the flash lies there, and no number
        assert image[:60].mean() == pytest.approx(expected, abs=3)
        assert image[60:].mean() == pytest.approx(big.mean(), abs=3)


def test_a_stretch_gives_what_the_whole_gives_there(videos):
    """Red when a stretch starts with the sound of its own start, or its end counts."""
    times, images = read(videos / "25.mp4", box=WHOLE_IMAGE)
    stretches = [(1.0, 2.0), (3.5, 4.5)]
    some_times, some = read(videos / "25.mp4", box=WHOLE_IMAGE, stretches=stretches)
    inside = ((times >= 1) & (times < 2)) | ((times >= 3.5) & (times < 4.5))
    np.testing.assert_array_equal(some_times, times[inside])
    np.testing.assert_array_equal(some, images[inside])


def test_without_sound_its_part_is_black(videos):
    _, images = read(videos / "mute.mp4", box=WHOLE_IMAGE)
    assert not images[:, SETTINGS.side :].any()
    assert numbers(images)[:3] == [0, 7, 13]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": ()}, "parts must be some of box frame sound"),
        ({"parts": ("sound", "box")}, "in this order"),
        ({"interpolation": "linear"}, "smooth, pillow-bicubic"),
        ({"side": 0}, "side must be at least 1"),
        ({"every": 2}, "Either fps or every"),
        ({"fps": 0.0}, "fps must be above 0"),
        ({"audio_cutoff": 10.0}, "low_hz must be below cutoff_hz"),
    ],
)
def test_settings_out_of_range(change, message):
    with pytest.raises(PreprocessError, match=message):
        replace(SETTINGS, **change)


@pytest.mark.parametrize("interpolation", ["smooth", "pillow-bicubic"])
def test_settings_survive_json(interpolation):
    settings = replace(SETTINGS, parts=("box", "frame", "sound"), fps=None, every=3)
    settings = replace(settings, interpolation=interpolation)
    assert ImageSettings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize("later", [{"interpolation": "pillow-bicubic"}, {"sound_track": 1}])
def test_settings_that_came_later(later):
    """Red if one has another name at its default, so that older shards and trainings differ."""
    (name,) = later
    assert name not in SETTINGS.to_json()
    assert replace(SETTINGS, **later).to_json() == SETTINGS.to_json() | later


def test_the_originals_scaling(videos):
    """Red for a box rounded to the nearest pixel, or a resize that is not Pillow's bicubic one."""
    box = Box(0.7833, 0.1296, 0.9682, 0.3694)
    whole = ImageSettings(parts=("frame",), side=64, interpolation="pillow-bicubic")
    cut = replace(whole, parts=("box",))
    info = probe(videos / "25.mp4")
    width, height = info.width, info.height
    image = Image.fromarray(next(iter_frames(videos / "25.mp4", size=(width, height))))
    corners = (int(box.x1 * width), int(box.y1 * height), int(box.x2 * width), int(box.y2 * height))
    for settings, wanted in ((whole, image), (cut, image.crop(corners))):
        _, images = read(videos / "25.mp4", box=box, settings=settings)
        np.testing.assert_array_equal(images[0], np.array(wanted.resize((64, 64))))


@pytest.fixture
def labels(videos, tmp_path):
    """Two clips of ours, in another folder than their videos."""
    file = tmp_path / "labels.csv"
    clips = [
        LabelledClip(videos / "25.mp4", WHOLE_IMAGE, (Interval(1, 2),), "a"),
        LabelledClip(videos / "mute.mp4", WHOLE_IMAGE, (), "b"),
    ]
    write_labels(file, clips)
    return file


def extract(labels, shards, *flags):
    return main(["extract", str(labels), str(shards), "--side", "64", "--fps", "4", *flags])


def test_extract_keeps_pictures_and_times(videos, labels, tmp_path, capsys):
    """Red when shards hold other pictures than a reader gives, or times of other ones."""
    assert extract(labels, tmp_path / "shards", "--window-seconds", "2") == 0
    output = capsys.readouterr().out
    assert "2 clips extracted" in output
    assert f"highlights train {labels} {tmp_path / 'shards'}" in output  # what comes next
    for clip, name in zip(open_images(tmp_path / "shards"), ("25", "mute"), strict=True):
        times, images = read(videos / f"{name}.mp4", box=WHOLE_IMAGE)
        np.testing.assert_array_equal(clip.times, times)
        np.testing.assert_array_equal(clip.frames, images)


def test_a_second_extraction_does_what_changed(labels, tmp_path, capsys):
    """Red when another box keeps its old pictures, or other labels cost a new extraction."""
    shards = tmp_path / "shards"
    extract(labels, shards)
    clips = read_labels(labels)
    write_labels(labels, [replace(clips[0], highlights=(Interval(3, 4),)), clips[1]])
    assert extract(labels, shards) == 0
    assert "0 clips extracted, 2 were there already" in capsys.readouterr().out
    write_labels(labels, [clips[0], replace(clips[1], box=Box(0, 0, 0.5, 1))])
    assert extract(labels, shards) == 0
    assert "1 clips extracted, 1 were there already" in capsys.readouterr().out


def test_only_labelled_stretches_of_a_partly_known_clip_are_read(videos, tmp_path):
    clip = LabelledClip(
        videos / "25.mp4", WHOLE_IMAGE, (Interval(4, 5),), "a", (Interval(1, 2),), False
    )
    extract_images([clip], tmp_path / "shards", SETTINGS, labels_folder=videos, command="x", jobs=1)
    times = open_images(tmp_path / "shards")[0].times
    assert [time for time in times if not (1 <= time < 2 or 4 <= time < 5)] == []
    assert len(times) == 8


def test_a_broken_clip_is_named_and_the_rest_extracted(labels, tmp_path, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    row = "broken.mp4,0,0,1,1,,,none,c\n"
    labels.write_text(labels.read_text() + row)
    shards = tmp_path / "shards"
    assert extract(labels, shards) == 1
    assert "1 of 3 clips failed" in capsys.readouterr().err
    assert [row["source"] for row in csv.DictReader((shards / "failures.csv").open())] == [
        "broken.mp4"
    ]
    assert len(open_images(shards)) == 2
    assert extract(labels, shards, "--allow-failures") == 0


def test_damaged_sound_is_told(videos, tmp_path, capsys):
    """Red when the sound ends in silence and nobody hears of it."""
    content = bytearray((videos / "25.mp4").read_bytes())
    packets = ffmpeg(
        "-i", f"file:{videos / '25.mp4'}", "-map", "0:a", "-c", "copy", "-f", "adts", "-"
    )
    for header in re.finditer(rb"\xff\xf1", packets):
        packet = packets[header.start() + 7 : header.start() + 60]
        place = content.find(packet)
        if place > 0 and len(packet) == 53:
            content[place : place + 53] = b"\xff" * 53
    (tmp_path / "hoarse.mp4").write_bytes(content)
    file = tmp_path / "labels.csv"
    write_labels(file, [LabelledClip(tmp_path / "hoarse.mp4", WHOLE_IMAGE, (), "a")])
    assert extract(file, tmp_path / "shards") == 0
    assert "hoarse.mp4: of the sound, not all could be decoded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("nowhere.csv", "out"), "No such file"),
        (("labels.csv", "labels.csv"), "Cannot make the shards directory"),
        (("labels.csv", "out", "--fps", "2", "--every", "2"), "Either fps or every"),
    ],
)
def test_wrong_commands_are_told_in_one_line(labels, tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    assert main(["extract", *args]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
