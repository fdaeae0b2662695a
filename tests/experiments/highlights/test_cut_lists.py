"""Cut lists read back: by the standard library, by a parser of our own, by OpenTimelineIO."""

from __future__ import annotations

import csv
import io
import re
import sys
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from experiments.highlights.cut_lists.cut_lists import (
    SUFFIXES,
    chapters_text,
    csv_text,
    cut_list,
    moment_url,
)
from experiments.highlights.cut_lists.cuts import (
    Counter,
    Media,
    can_drop,
    cuts_of,
    exact_rate,
    read_start,
)
from experiments.highlights.cut_lists.formats import edl_text, fcpxml_text
from experiments.highlights.selection.selection import Segment

NTSC = Fraction(30000, 1001)
NASTY = [
    "plain.mp4",
    'it\'s "quoted" & <tagged>.mp4',
    "100%20 sure%.mp4",
    "-rf.mp4",
    "two\nlines\r.mp4",
    "tab\tand \x01 control.mp4",
    "=cmd|calc.mp4",
    "colon: comma, semi; #hash?.mp4",
    "\u2028line \N{FACE WITH TEARS OF JOY} é.mp4",
    "not utf-8 \udcff.mp4",
]


def segments_at(*pairs):
    return [Segment(start, end, 0.9, (start + end) / 2) for start, end in pairs]


def media(name="plain.mp4", *, duration=3600.0, rate=NTSC, **more):
    return Media(Path("/videos") / name, duration, rate, **more)


def counted(base, dropped):
    """Timecode by counting on and leaving out what is dropped, as the standard says it."""
    for minute in range(10**6):
        for second in range(60):
            for frame in range(base):
                if not (second == 0 and frame < dropped and minute % 10):
                    yield minute // 60, minute % 60, second, frame


@pytest.mark.parametrize(
    ("rate", "drop", "base", "dropped"),
    [
        (NTSC, True, 30, 2),
        (2 * NTSC, True, 60, 4),
        (NTSC, False, 30, 0),
        (Fraction(24000, 1001), False, 24, 0),
        (Fraction(25), False, 25, 0),
    ],
)
def test_timecode_against_counting(rate, drop, base, dropped):
    """Red when a number is dropped in a tenth minute, or not in another."""
    counter = Counter(rate, drop)
    mark = ";" if drop else ":"
    for frame, parts in enumerate(islice(counted(base, dropped), 22 * 60 * base)):
        if frame % 7 and parts[2] not in (0, 59):
            continue
        text = "{:02d}:{:02d}:{:02d}{}{:02d}".format(*parts[:3], mark, parts[3])
        assert counter.timecode(frame) == text
        assert counter.frame(text) == frame


def test_ten_minutes_of_drop_frame_are_17982_frames():
    """Red when drop-frame leaves the clock."""
    counter = Counter(NTSC, True)
    assert counter.timecode(17982) == "00:10:00;00"
    assert counter.frame("01:00:00;00") == 107892
    assert Counter(2 * NTSC, True).timecode(35964) == "00:10:00;00"
    assert Counter(NTSC, False).timecode(18000) == "00:10:00:00"


@given(st.integers(0, 24 * 107892 - 1), st.sampled_from([NTSC, 2 * NTSC, 4 * NTSC]), st.booleans())
def test_timecode_there_and_back(frame, rate, drop):
    """Red when two frames have one number, or drop-frame strays from the clock by more than
    the numbers of one minute, and a millionth of the time: 86 ms a day."""
    counter = Counter(rate, drop)
    text = counter.timecode(frame)
    assert counter.frame(text) == frame
    hours, minutes, seconds, number = map(int, re.split("[:;]", text))
    if drop:
        clock = 3600 * hours + 60 * minutes + seconds + number / counter.base
        seconds_played = float(frame / rate)
        assert abs(clock - seconds_played) < 1 / 15 + 1.1e-6 * seconds_played + 1e-6


@pytest.mark.parametrize(
    "text", ["00:01:00;00", "00:01:00;01", "00:00:00:00", "0:0:0;0", "00:00:00;30"]
)
def test_numbers_that_do_not_exist(text):
    with pytest.raises(ValueError, match=r"[Tt]imecode"):
        Counter(NTSC, True).frame(text)


def test_rates():
    """Red when 29.97 becomes 2997/100, or 30 becomes 29.97."""
    assert exact_rate(29.97) == NTSC == exact_rate(29.97002997)
    assert exact_rate(30) == exact_rate(Fraction(30)) == 30
    assert exact_rate(23.976) == Fraction(24000, 1001)
    assert exact_rate(59.94005994) == 2 * NTSC
    assert exact_rate(12.5) == Fraction(25, 2)
    assert [can_drop(exact_rate(rate)) for rate in (29.97, 59.94, 23.976, 30, 25)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    with pytest.raises(ValueError, match="Drop-frame"):
        Counter(Fraction(30), True)
    with pytest.raises(ValueError, match="frame rate"):
        exact_rate(0)


def test_a_segment_over_the_end_of_a_file_is_two_cuts():
    """Red when the second file is cut at recording time, or a frame is lost at the seam."""
    recording = [media("part0.mp4", duration=10.01), media("part1.mp4", duration=10.01)]
    cuts = cuts_of(segments_at((8.008, 12.012), (15.015, 16.016)), recording)
    found = [(cut.media.path.name, cut.start, cut.stop, cut.number) for cut in cuts]
    assert found == [
        ("part0.mp4", 240, 300, 1),
        ("part1.mp4", 0, 60, 1),
        ("part1.mp4", 150, 180, 2),
    ]
    with pytest.raises(ValueError, match="at least one file"):
        cuts_of([], [])


_EVENT = re.compile(r"(\d{3})  AX       (AA/V|V)\s+C\s+" + r"(\d\d:\d\d:\d\d[:;]\d\d) ?" * 4)


def edl_events(text, drop, rate=NTSC):
    counter = Counter(rate, drop)
    events = [_EVENT.fullmatch(line) for line in text.split("\n") if re.match(r"\d", line)]
    return [[counter.frame(event[n]) for n in range(3, 7)] for event in events]


@pytest.mark.parametrize("drop", [True, False])
def test_edl(drop):
    """Red when record times do not follow each other, or seconds stand for frames."""
    segments = segments_at((59.5, 61.25), (601, 615.5), (3599, 3600))
    text = edl_text(segments, [media()], title="My\nreel", drop_frame=drop)
    assert text.startswith(f"TITLE: My_reel\nFCM: {'DROP' if drop else 'NON-DROP'} FRAME\n")
    events = edl_events(text, drop)
    assert [event[0] for event in events] == [round(one.start * NTSC) for one in segments]
    assert [event[1] for event in events] == [round(one.end * NTSC) for one in segments]
    assert all(event[1] - event[0] == event[3] - event[2] for event in events)
    assert all(this[3] == following[2] for this, following in pairwise(events))
    assert events[0][2] == (107892 if drop else 108000)
    silent = edl_text(segments, [media(has_sound=False)], title="x")
    assert "AA" not in silent


def test_an_edl_has_limits():
    many = segments_at(*((n, n + 0.5) for n in range(1000)))
    with pytest.raises(ValueError, match=r"999 cuts.*1000;"):
        edl_text(many, [media()], title="x")
    with pytest.raises(ValueError, match=r"99 frames.*120\.000"):
        edl_text(many[:1], [media(rate=Fraction(120))], title="x")


@pytest.mark.parametrize("name", NASTY)
def test_names_break_no_format(name):
    """Red when a quote, a newline or a percent sign ends up raw where it means something."""
    segments, recording = segments_at((1, 2)), [media(name)]
    edl = edl_text(segments, recording, title=name)
    lines = edl.splitlines()
    assert len(lines) == edl.count("\n") == 6
    comment = next(line for line in lines if line.startswith("* FROM CLIP NAME: "))
    assert len(comment) == len("* FROM CLIP NAME: ") + len(name)
    xml = fcpxml_text(segments, recording, title=name)
    root = ElementTree.fromstring(xml.encode("utf-8"))
    source = urlsplit(root.find("resources/asset/media-rep").get("src"))
    assert (source.scheme, source.netloc, source.query, source.fragment) == ("file", "", "", "")
    assert unquote(source.path, errors="surrogateescape") == f"/videos/{name}"
    assert source.path.isascii()
    relative = Media(Path(name), 10.0, NTSC)
    row = list(csv.reader(io.StringIO(csv_text(segments, [relative]), newline="")))[1]
    assert Path(row[1]) == Path(name)
    assert row[1][0] not in "-=+@"


def fcpxml_times(root, tag, *names):
    return [
        [Fraction(node.get(name, "0s").rstrip("s")) for name in names] for node in root.iter(tag)
    ]


@given(
    st.lists(st.floats(0, 3599), min_size=2, max_size=12),
    st.sampled_from([NTSC, 2 * NTSC, Fraction(24000, 1001), Fraction(25), Fraction(60)]),
)
def test_fcpxml(edges, rate):
    """Red when a time is off the frame grid, or clips overlap on the timeline."""
    edges = sorted(edges)
    pairs = zip(edges[::2], edges[1::2], strict=False)
    segments = segments_at(*((start, end) for start, end in pairs if end > start))
    recording = [media(rate=rate, width=1280, height=720)]
    root = ElementTree.fromstring(fcpxml_text(segments, recording, title="reel").encode())
    assert root.get("version") == "1.9"
    clips = fcpxml_times(root, "asset-clip", "offset", "start", "duration")
    assert len(clips) == len(cuts_of(segments, recording))
    assert all((time * rate).denominator == 1 for times in clips for time in times)
    assert [offset for offset, _, _ in clips] == [
        sum(times[2] for times in clips[:n]) for n in range(len(clips))
    ]
    assert fcpxml_times(root, "sequence", "duration")[0][0] == sum(times[2] for times in clips)
    assert fcpxml_times(root, "format", "frameDuration") == [[1 / rate]]
    ids = {node.get("id") for node in root.find("resources")}
    assert {node.get("ref") for node in root.iter("asset-clip")} <= ids
    assert {node.get("format") for node in root.iter() if node.get("format")} <= ids
    for times, cut in zip(clips, cuts_of(segments, recording), strict=True):
        assert abs(float(times[1]) - cut.segment.start) <= 1 / rate


def test_otio():
    """Red when the timeline differs from the EDL, or the package cannot read it."""
    otio = pytest.importorskip("opentimelineio")
    segments = segments_at((59.5, 61.25), (601, 615.5))
    recording = [media(NASTY[1], duration=700.0)]
    text = cut_list("otio", segments, recording, title="reel")
    timeline = otio.adapters.read_from_string(text, "otio_json")
    video, audio = timeline.tracks
    assert [track.kind for track in (video, audio)] == ["Video", "Audio"]
    expected = edl_events(edl_text(segments, recording, title="x"), True)
    for track in (video, audio):
        ranges = [clip.source_range for clip in track]
        assert [[one.start_time.value, one.end_time_exclusive().value] for one in ranges] == [
            event[:2] for event in expected
        ]
        placed = [track.range_of_child(clip) for clip in track]
        assert [one.start_time.value + 107892 for one in placed] == [row[2] for row in expected]
    url = video[0].media_reference.target_url
    assert unquote(urlsplit(url).path) == f"/videos/{NASTY[1]}"
    start = video[0].source_range.start_time
    assert otio.opentime.to_timecode(start) == Counter(NTSC, True).timecode(int(start.value))


def test_the_edl_in_opentimelineio():
    """Red when another program reads other cuts from our EDL."""
    otio = pytest.importorskip("opentimelineio")
    if "cmx_3600" not in otio.adapters.available_adapter_names():
        pytest.skip("the package otio-cmx3600-adapter is not installed")
    segments = segments_at((59.5, 61.25), (601, 615.5))
    text = edl_text(segments, [media(NASTY[1])], title="reel", drop_frame=True)
    timeline = otio.adapters.read_from_string(text, "cmx_3600", rate=float(NTSC))
    clips = [one for one in timeline.tracks[0] if isinstance(one, otio.schema.Clip)]
    assert [one.name for one in clips] == [NASTY[1]] * 2
    assert [one.source_range.start_time.value for one in clips] == [
        round(one.start * NTSC) for one in segments
    ]


STARTS = [
    (Fraction(25), "10:00:00:00", False),
    (Fraction(24000, 1001), "10:00:00:00", False),
    (NTSC, "10:00:00:00", False),
    (NTSC, "01:09:58;15", True),
    (2 * NTSC, "00:59:59;58", True),
    (Fraction(50), "09:59:59:49", False),
    (Fraction(30), "23:59:30:00", False),  # past midnight on the way
    (NTSC, "23:59:30;00", True),
    (Fraction(25), "10:00:00;00", False),  # dropping is not defined at 25
]


@pytest.mark.parametrize(("rate", "start", "drop"), STARTS)
def test_start_timecodes(rate, start, drop):
    """Red when a list counts from 0, at a rounded rate, or past 24 hours."""
    otio = pytest.importorskip("opentimelineio")
    number, drops = read_start(start, rate)
    assert drops == drop
    plain = start if drop else start.replace(";", ":")
    origin = otio.opentime.from_timecode(plain, float(rate))
    assert number == origin.value
    recording = [media(rate=rate, duration=700.0, start=number, drop=drops)]
    segments = segments_at((1.0, 2.5), (59.9, 61.25), (601, 615.5))
    cuts = [(round(one.start * rate), round(one.end * rate)) for one in segments]
    day = otio.opentime.from_timecode("23:59:59:00", float(rate)).value + round(rate)
    if drop:
        day = otio.opentime.from_timecode("23:59:59;00", float(rate)).value + round(rate)

    def timecode(frame):
        time = otio.opentime.RationalTime((origin.value + frame) % day, float(rate))
        return otio.opentime.to_timecode(time, float(rate), drop)

    edl = edl_text(segments, recording, title="x")
    events = [_EVENT.fullmatch(line) for line in edl.split("\n") if re.match(r"\d", line)]
    wanted = [(timecode(first), timecode(stop)) for first, stop in cuts]
    assert [(event[3], event[4]) for event in events] == wanted
    assert f"FCM: {'DROP' if drop else 'NON-DROP'} FRAME" in edl

    root = ElementTree.fromstring(fcpxml_text(segments, recording, title="x").encode())
    ((begin, length),) = fcpxml_times(root, "asset", "start", "duration")
    assert begin == Fraction(round(origin.value)) / rate
    for (at, lasts), (first, stop) in zip(
        fcpxml_times(root, "asset-clip", "start", "duration"), cuts, strict=True
    ):
        assert (at, lasts) == (begin + first / rate, (stop - first) / rate)
        assert begin <= at < at + lasts <= begin + length
    formats = {node.get("tcFormat") for node in root.iter() if node.get("tcFormat")}
    assert formats == {"DF" if drop else "NDF"}

    text = cut_list("otio", segments, recording, title="x")
    timeline = otio.adapters.read_from_string(text, "otio_json")
    for clip, (first, stop) in zip(timeline.tracks[0], cuts, strict=True):
        assert clip.available_range().start_time.value == origin.value
        assert clip.available_range().contains(clip.source_range)
        assert clip.source_range.start_time.value == origin.value + first
        assert clip.source_range.duration.value == stop - first


@pytest.mark.parametrize("text", ["", "junk", "10:00:00", "24:00:00:00", "10:00:00:25", "1:0:0:0"])
def test_no_start_timecode(text):
    """Red when something that is no timecode moves a cut, or ends the work."""
    assert read_start(text, Fraction(25)) is None
    assert read_start("10:01:00;00", NTSC) is None  # left out of drop-frame counting


def test_our_edl_with_a_start_timecode_in_opentimelineio():
    """Red when another program finds other source times in our EDL."""
    otio = pytest.importorskip("opentimelineio")
    if "cmx_3600" not in otio.adapters.available_adapter_names():
        pytest.skip("the package otio-cmx3600-adapter is not installed")
    number, drop = read_start("10:00:00;00", NTSC)
    recording = [media(start=number, drop=drop)]
    text = edl_text(segments_at((59.5, 61.25)), recording, title="x")
    timeline = otio.adapters.read_from_string(text, "cmx_3600", rate=float(NTSC))
    (clip,) = (one for one in timeline.tracks[0] if isinstance(one, otio.schema.Clip))
    assert clip.source_range.start_time.value == number + round(59.5 * NTSC)


def test_files_of_different_rates():
    """Red when a cut of the second file is counted at the rate of the first, or lists refuse."""
    otio = pytest.importorskip("opentimelineio")
    recording = [
        media("a.mp4", duration=10.0, rate=Fraction(30)),
        media("b.mp4", duration=10.0, rate=Fraction(25), start=25 * 3600, drop=False),
    ]
    segments = segments_at((1.0, 2.0), (9.0, 11.0), (12.0, 13.5))
    rows = list(csv.DictReader(io.StringIO(csv_text(segments, recording))))
    spans = [(float(row["start_seconds"]), float(row["end_seconds"])) for row in rows]
    assert spans == [(1.0, 2.0), (9.0, 10.0), (0.0, 1.0), (2.0, pytest.approx(3.5, abs=0.021))]
    root = ElementTree.fromstring(fcpxml_text(segments, recording, title="x").encode())
    clips = fcpxml_times(root, "asset-clip", "offset", "start", "duration")
    assert [clip[:2] for clip in clips] == [[0, 1], [1, 9], [2, 3600], [3, 3602]]
    assert all((30 * clip[2]).denominator == 1 for clip in clips)
    assert [node.get("srcFrameRate") for node in root.iter("conform-rate")] == ["25", "25"]
    text = cut_list("otio", segments, recording, title="x")
    video = otio.adapters.read_from_string(text, "otio_json").tracks[0]
    assert [clip.source_range.start_time.rate for clip in video] == [30, 30, 25, 25]
    with pytest.raises(ValueError, match=r"one frame rate.*25\.000 and 30\.000.*FCPXML or OTIO"):
        edl_text(segments, recording, title="x")


def test_without_the_package_otio_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    with pytest.raises(UserError, match=r"pip install 'ttrnn\[video\]'"):
        cut_list("otio", segments_at((1, 2)), [media()], title="x")


def test_csv():
    """Red when times in a file are times in the recording."""
    recording = [media("a, b.mp4", duration=10.01), media("b.mp4", duration=10.01)]
    rows = list(csv.DictReader(io.StringIO(csv_text(segments_at((8.008, 12.012)), recording))))
    assert [row["path"] for row in rows] == ["/videos/a, b.mp4", "/videos/b.mp4"]
    assert [(row["start_seconds"], row["end_seconds"]) for row in rows] == [
        ("8.008000", "10.010000"),
        ("0.000000", "2.002000"),
    ]
    assert rows[1]["recording_start"] == "00:00:08.008"


def test_chapters():
    """Red when YouTube would show none: no 0:00, or one shorter than 10 s."""
    segments = segments_at((3723, 3738.5), (4000, 4004), (5000, 5003), (6000, 6020), (7000, 7005))
    assert chapters_text(segments) == (
        "0:00 Highlight 1 (from 1:02:03)\n0:15 Highlights 2 to 5 (from 1:06:40)\n"
    )
    assert chapters_text(segments, of="recording") == (
        "0:00 Start\n1:02:03 Highlight 1\n1:06:40 Highlight 2\n1:23:20 Highlight 3\n"
        "1:40:00 Highlight 4\n1:56:40 Highlight 5\n"
    )
    assert chapters_text(segments[:1], of="reel").startswith("0:00 ")
    assert chapters_text([]) == ""
    faded = chapters_text(segments_at((0, 20), (30, 50), (60, 80)), crossfade=1.0)
    assert [line.split()[0] for line in faded.splitlines()] == ["0:00", "0:19", "0:38"]


@given(st.lists(st.floats(0.1, 60), max_size=30))
def test_chapters_are_never_too_short(lengths):
    """Red when two chapters are nearer than 10 s."""
    edges = [sum(lengths[:n]) for n in range(len(lengths) + 1)]
    segments = segments_at(*pairwise(edges))
    for of in ("reel", "recording"):
        times = []
        for line in chapters_text(segments, of=of).splitlines():
            parts = [int(part) for part in line.split()[0].split(":")]
            times.append(sum(part * 60**n for n, part in enumerate(reversed(parts))))
        assert times[:1] == [0] * bool(lengths)
        assert all(following - this >= 10 for this, following in pairwise(times))


@pytest.mark.parametrize(
    ("url", "seconds", "expected"),
    [
        ("https://youtu.be/abc", 63.9, "https://youtu.be/abc?t=1m3s"),
        (
            "https://www.youtube.com/watch?v=abc&t=9s",
            3723,
            "https://www.youtube.com/watch?v=abc&t=1h2m3s",
        ),
        ("https://www.twitch.tv/videos/1#chat", 5, "https://www.twitch.tv/videos/1?t=0m5s#chat"),
    ],
)
def test_links(url, seconds, expected):
    """Red when an address's own query is lost, or the moment comes twice."""
    assert moment_url(url, seconds) == expected
    assert parse_qs(urlsplit(expected).query)["t"] == [expected.split("t=")[-1].split("#")[0]]


@pytest.mark.parametrize("url", ["youtu.be/abc", "file:///etc/passwd", "", "javascript:alert(1)"])
def test_only_web_addresses(url):
    with pytest.raises(ValueError, match="must begin with http"):
        moment_url(url, 1)


def test_every_kind_is_written(tmp_path):
    segments, recording = segments_at((1, 12), (20, 31)), [media()]
    for kind in SUFFIXES:
        if kind == "otio":
            pytest.importorskip("opentimelineio")
        text = cut_list(kind, segments, recording, title="reel", url="https://a.b/c")
        assert text.endswith("\n")
        assert not text.endswith("\n\n\n")
    with pytest.raises(ValueError, match="must be one of csv"):
        cut_list("avid", segments, recording, title="reel")
    with pytest.raises(ValueError, match="--url"):
        cut_list("links", segments, recording, title="reel")
