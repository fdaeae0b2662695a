"""Changes of shot in videos whose shots begin at known pictures, and cuts that move to them."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.clips.images import ImageSettings
from experiments.highlights.commands import main
from experiments.highlights.rendering.render import render_reel
from experiments.highlights.scoring.image_batches import BatchReader
from experiments.highlights.selection.selection import Segment
from experiments.highlights.selection.shots import shots_near
from experiments.highlights.selection.snapping import Candidates, snap_cuts, snap_note
from experiments.media.ffmpeg import RenderError
from experiments.media.recording import read_recording
from preprocess.video.frame_differences import join_differences
from tests.experiments.highlights.counters import NTSC, ffmpeg
from tests.grids import slow

WIDTH, HEIGHT = 160, 96
VARIABLE = "not(mod(n,5))+not(mod(n,7))"  # of 60 a second
VERY_NEAR = 5e-4  # seconds; Matroska counts thousandths


def shot(number):
    """A grey panorama (96, 640) of one shot, other than all others."""
    rng = np.random.default_rng(number)
    blocks = rng.uniform(20, 235, (4, 20)).astype(np.uint8)
    return cv2.resize(blocks, (4 * WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)


SHOTS = [shot(number) for number in range(6)]


def image(number, cuts, *, speed=1):
    """Of a video whose shots begin at `cuts`: the camera pans over each."""
    panorama = SHOTS[int(np.searchsorted(cuts, number, side="right"))]
    return np.roll(panorama, -speed * number, axis=1)[:, :WIDTH]


def film(path, rate, num_frames, cuts, *args, kept="", change=None, **how):
    """Encode a silent video; `change(number, pixels)` alters a picture."""
    images = [image(number, cuts, **how) for number in range(num_frames)]
    images = [change(n, p) for n, p in enumerate(images)] if change else images
    inputs = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(rate)]
    outputs = ["-c:v", "libx264", "-preset", "veryfast", "-g", "48", "-pix_fmt", "yuv420p"]
    if kept:
        outputs += ["-vf", f"select='{kept}'", "-fps_mode", "vfr"]
    pixels = b"".join(np.ascontiguousarray(each).tobytes() for each in images)
    ffmpeg(*inputs, "-i", "-", *outputs, *args, f"file:{path}", stdin=pixels)
    return path


def measured(chunks, *, fps=2.0, **options):
    """Differences of frames, measured while they are decoded for scoring."""
    seen = ImageSettings(parts=("frame",), side=8, fps=fps)
    parts = BatchReader(chunks, seen, measures=True, **options).parts()
    return join_differences(batch.differences for part in parts for batch in part.read_here())


def near(path, *times, around=1.5):
    """Changes near some times of one file: by ffmpeg's measure, and by that of scoring."""
    segments = [Segment(time, time + 1e-3, 1.0, time) for time in times]
    chunks = read_recording([path])
    known = measured(chunks)
    assert known.cover(0.0, chunks[0].duration)
    found = shots_near(chunks, segments, around=around)
    assert shots_near(chunks, segments, around=around, known=known) == pytest.approx(
        found, abs=VERY_NEAR
    )
    return found


@pytest.mark.parametrize(
    ("rate", "suffix"),
    [
        *((Fraction(30), ".mp4"), (Fraction(25), ".mkv"), (2 * NTSC, ".ts")),
        *slow((Fraction(30), ".mkv"), (Fraction(30), ".ts"), (Fraction(25), ".mp4")),
        *slow((Fraction(25), ".ts"), (2 * NTSC, ".mp4"), (2 * NTSC, ".mkv")),
    ],
)
def test_each_change_is_where_its_first_picture_is(rate, suffix, tmp_path):
    """Red when times are of the last picture of a shot, of a keyframe, or of the seek."""
    cuts = [1, 61, 85, 170, 250]
    path = film(tmp_path / f"film{suffix}", rate, 300, cuts)
    expected = np.array(cuts) / float(rate)
    tolerance = VERY_NEAR if suffix != ".ts" else 2e-5 + VERY_NEAR
    found = near(path, *expected)
    assert found == pytest.approx(expected, abs=tolerance)


def test_only_what_is_near_is_given(tmp_path):
    """Red when a stretch is too long, begins with a change, or two stretches double one."""
    path = film(tmp_path / "film.mp4", 30, 600, [150, 180, 300, 450])
    assert near(path, 5.5, around=0.4) == pytest.approx([])
    assert near(path, 5.5, around=0.6) == pytest.approx([5.0, 6.0], abs=VERY_NEAR)
    assert near(path, 4.6, 5.5, around=0.6) == pytest.approx([5.0, 6.0], abs=VERY_NEAR)
    for frame in range(140, 155):  # wherever decoding begins
        time = frame / 30 + 0.4
        wanted = [5.0] if frame <= 150 else []
        assert near(path, time, around=0.4 + 1e-4) == pytest.approx(wanted, abs=VERY_NEAR)
    assert near(path, 15.0, 0.0) == pytest.approx([15.0], abs=VERY_NEAR)


def test_variable_rate(tmp_path):
    """Red when times are counted in pictures."""
    path = film(tmp_path / "film.mkv", 60, 720, [203, 421, 610], kept=VARIABLE)
    shown = [n for n in range(720) if n % 5 == 0 or n % 7 == 0]
    expected = [next(n for n in shown if n >= cut) / 60 for cut in (203, 421, 610)]
    assert near(path, *expected) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("suffix", [".ts", *slow(".mp4", ".mkv")])
def test_a_clock_that_starts_late(suffix, tmp_path):
    """Red when timestamps of the file are taken for times of the recording."""
    plain = film(tmp_path / f"plain{suffix}", 25, 200, [110])
    late = tmp_path / f"late{suffix}"
    ffmpeg("-i", str(plain), "-c", "copy", "-output_ts_offset", "37.5", str(late))
    (chunk,) = read_recording([late])
    expected = chunk.video_start + 110 / 25
    assert near(late, 4.0) == pytest.approx([expected], abs=1e-3)


def test_a_picture_that_starts_after_the_sound(tmp_path):
    """Red when what is near is counted from the first picture."""
    silent = film(tmp_path / "silent.mp4", 25, 100, [10, 60])
    path = tmp_path / "film.mkv"
    sound = ["-f", "lavfi", "-i", "sine=d=7"]
    ffmpeg("-itsoffset", "3", "-i", str(silent), *sound, "-c:v", "copy", str(path))
    assert read_recording([path])[0].video_start == pytest.approx(3.0, abs=0.05)
    assert near(path, 3.4, around=0.5) == pytest.approx([3.4], abs=0.05)


def test_chunks(tmp_path):
    """Red when a stretch ends at a file's end, or the second file's times begin at 0."""
    paths = [
        film(tmp_path / "part0.mp4", 30, 120, [100]),
        film(tmp_path / "part1.mp4", 30, 150, [15, 40]),
    ]
    chunks = read_recording(paths)
    found = shots_near(chunks, [Segment(4.1, 8.9, 1.0, 5.0)])
    assert found == pytest.approx([100 / 30, 4 + 15 / 30, 4 + 40 / 30], abs=VERY_NEAR)
    assert len(shots_near(chunks, [])) == 0


def test_frames_that_scoring_skips_are_read(tmp_path):
    """Red when a change between frames of which one was sought over is taken or lost."""
    path = film(tmp_path / "film.mp4", 10, 600, [33, 180, 410], speed=0)
    chunks = read_recording([path])
    segments = [Segment(time, time + 1e-3, 1.0, time) for time in (3.0, 18.0, 41.0)]
    skipping = measured(chunks, fps=0.05)
    assert not skipping.cover(0.0, 60.0)
    resumed = join_differences([measured(chunks, after=50.0), skipping])
    for known in (skipping, resumed):
        found = shots_near(chunks, segments, known=known)
        assert found == pytest.approx([3.3, 18.0, 41.0], abs=VERY_NEAR)


def test_a_cut_there_shows_nothing_of_the_other_shot(tmp_path):
    """Red when the time is a picture early or late: a flash of the wrong shot in the reel."""
    cuts = [61, 140, 221]
    path = film(tmp_path / "film.mp4", NTSC, 300, cuts)
    times = near(path, *(cut / float(NTSC) for cut in cuts))
    out = tmp_path / "reel.mp4"
    render_reel([path], [(times[0], times[1]), (times[2], times[2] + 1)], out)
    capture = cv2.VideoCapture(str(out))
    shown, wide = [], [np.hstack([one, one[:, :WIDTH]]) for one in SHOTS]
    while (read := capture.read())[0]:
        grey = cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY)
        gaps = [cv2.matchTemplate(one, grey, cv2.TM_SQDIFF).min() for one in wide]
        shown.append(int(np.argmin(gaps)))
    assert shown[:79] == [1] * 79
    assert shown[79:] == [3] * 30


def white_at(*numbers):
    return lambda number, pixels: np.full_like(pixels, 250) if number in numbers else pixels


@pytest.mark.parametrize(
    "how",
    [
        {"speed": 0},
        {"speed": 9},
        {"change": white_at(75)},
        {"change": white_at(75, 76, 77)},
        {"change": lambda n, p: p if n >= 90 else (p * (min(n, 89) / 89)).astype(np.uint8)},
        {"change": lambda n, p: np.roll(p, 40 * (n > 75), axis=1) if n < 79 else p},
    ],
    ids=["still", "fast pan", "flash", "longer flash", "fade", "jerk"],
)
def test_what_is_no_change_of_shot(how, tmp_path):
    """Red when whatever moves or flashes is a change: `scdet` alone takes the flashes."""
    path = film(tmp_path / "film.mp4", 30, 150, [], **how)
    assert list(near(path, 1.5, 2.5, 3.5)) == []


def test_a_change_amid_a_pan(tmp_path):
    path = film(tmp_path / "film.mp4", 30, 150, [75], speed=6)
    assert near(path, 2.5) == pytest.approx([2.5], abs=VERY_NEAR)


@pytest.mark.parametrize("suffix", [".ts", ".mp4"])
def test_damage_stops_nothing(suffix, tmp_path):
    """Red when a damaged file fails, or the rest of it is not looked at."""
    path = film(tmp_path / f"film{suffix}", 25, 400, [30, 340], "-movflags", "+faststart")
    content = bytearray(path.read_bytes())
    start, stop = round(0.4 * len(content)), round(0.7 * len(content))
    content[start:stop] = np.random.default_rng(0).bytes(stop - start)
    path.write_bytes(bytes(content))
    found = near(path, 1.2, 7.0, 13.6)
    for expected in (1.2, 13.6):
        assert np.abs(found - expected).min() < 2e-3


def test_a_file_that_became_shorter(tmp_path):
    path = film(tmp_path / "film.ts", 25, 400, [60, 300])
    chunks = read_recording([path])
    path.write_bytes(path.read_bytes()[:3000])
    assert list(shots_near(chunks, [Segment(12.0, 13.0, 1.0, 12.0)])) == []


def test_a_file_that_is_gone_is_told(tmp_path):
    path = film(tmp_path / "film.mp4", 25, 50, [])
    chunks = read_recording([path])
    path.unlink()
    with pytest.raises(RenderError, match="No such file"):
        shots_near(chunks, [Segment(0.5, 1.5, 1.0, 1.0)])


# Cuts that move to them


def moved(cut, *, quiet=(), shots=(), **more):
    """Where a segment of 10 s from `cut` on begins afterwards."""
    made = Candidates(np.array([one[0] for one in quiet]), np.array([one[1] for one in quiet]))
    (one,) = snap_cuts(
        [Segment(cut, cut + 10, 1.0, cut)], duration=100.0, quiet=made, shots=shots, **more
    )
    return one.start


def test_no_word_is_cut_for_a_change_of_shot():
    """Red when a change of shot amid sound wins against a quiet moment, however far that is."""
    assert moved(20.0, quiet=[(20.95, 0.5)], shots=[19.99]) == 20.95
    assert moved(20.0, quiet=[(18.9, 0.0)], shots=[19.5]) == 19.5  # nothing near is quiet
    assert moved(20.0, shots=[19.3, 20.4]) == 19.3
    assert moved(20.0, shots=[19.3, 19.9, 20.1]) == 19.9


def test_a_change_of_shot_that_is_quiet_is_the_best():
    """Red when the quiet moment beside it is taken, so that another shot flashes up."""
    for place in (19.91, 19.95, 20.04, 20.09):
        assert moved(20.0, quiet=[(20.0, 0.0)], shots=[place]) == place
    assert moved(20.0, quiet=[(19.6, 0.1), (19.8, 0.1)], shots=[19.68]) == 19.68
    assert moved(20.0, quiet=[(19.2, 0.0), (19.9, 0.0)], shots=[19.2]) == 19.9  # too far away


times = st.floats(15, 25)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(times, st.floats(0, 0.5)), max_size=6), st.lists(times, max_size=6))
def test_a_cut_is_quiet_where_it_can_be(quiet, shots):
    """Red when a cut that moves is farther than 0.1 s from quiet though quiet was within reach."""
    found = moved(20.0, quiet=quiet, shots=shots)
    if any(abs(time - 20.0) <= 1 for time, _ in quiet):
        assert any(abs(time - found) <= 0.1 for time, _ in quiet)
    elif any(abs(time - 20.0) <= 1 for time in shots):
        assert found in shots
    else:
        assert found == 20.0


def test_the_note_counts_both():
    before = [Segment(10.0, 20.0, 1.0, 15.0), Segment(30.0, 40.0, 1.0, 35.0)]
    after = [Segment(9.5, 20.0, 1.0, 15.0), Segment(30.2, 40.5, 1.0, 35.0)]
    note = snap_note(before, after, [9.5, 50.0])
    assert note == "--snap moved 3 of 4 cuts: 2 to quiet moments, 1 to changes of shot."
    assert snap_note(before, before) == "--snap moved 0 of 4 cuts."


def test_the_command_moves_cuts_to_both(tmp_path, capsys):
    """Red when the command does not look for changes of shot, or counts them as quiet."""
    silent = film(tmp_path / "silent.mp4", 25, 750, [258, 500])
    path = tmp_path / "film.mp4"
    hum = "aevalsrc='if(between(t,20.6,21),0,0.3*sin(2500*t))':d=30"
    ffmpeg("-i", str(silent), "-f", "lavfi", "-i", hum, "-c:v", "copy", "-shortest", str(path))
    scores = tmp_path / "scores.csv"
    rows = [f"{time},{0.9 if 10.5 < time < 20.5 else 0.1}" for time in np.arange(0, 30, 0.5)]
    scores.write_text("\n".join(["time_seconds,probability", *rows]))
    assert main(["reel", str(scores), str(path), "--dry-run", "--bin-size", "0"]) == 0
    output = capsys.readouterr().out
    assert "--snap moved 2 of 2 cuts: 1 to quiet moments, 1 to changes of shot." in output
    assert "00:00:10.320" in output or "10.32" in output  # picture 258
