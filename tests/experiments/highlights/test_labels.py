"""Label files of both kinds say the same, and what they may not say is named with its line."""

from __future__ import annotations

import csv
import datetime
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.clips.images import Box
from experiments.highlights.labels import (
    Interval,
    LabelError,
    LabelledClip,
    convert_labels,
    is_highlight,
    read_labels,
    write_labels,
)
from experiments.highlights.training.data import class_balance, split_clips
from preprocess.video.time_ranges import format_time, parse_time

BOX = Box(0.25, 0.125, 0.75, 0.5)
HEADER = "path,x1,y1,x2,y2,start,end,label"
ORIGINAL = """\
rawdata/one.mp4 "[0.7833, 0.1296, 0.9682, 0.3694]" "(0.0, 9.0)" "(24.282,  31.806)"
rawdata/none.mp4 "[0.0, 0.0, 1.0, 1.0]"
"rawdata/two words.mp4"  "[0.7833, 0.1296, 0.9682, 0.3694]" "(9.219, 30)" \n
"""


def labels_file(folder, text, name="labels.csv"):
    path = Path(folder) / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def clip(name, *highlights, group="", negatives=(), rest_known=True):
    made = tuple(Interval(*one) for one in highlights)
    wrong = tuple(Interval(*one) for one in negatives)
    return LabelledClip(Path(name), BOX, made, group or name, wrong, rest_known)


def test_the_box_may_be_left_out(tmp_path):
    """Red when a file of four columns is refused, or the box is not the whole picture."""
    (short,) = read_labels(labels_file(tmp_path, "path,start,end,label\na.mp4,1,2,highlight\n"))
    assert short.box == Box(0.0, 0.0, 1.0, 1.0)
    assert short.highlights == (Interval(1, 2),)
    text = f"{HEADER}\na.mp4,,,,,1,2,highlight\nb.mp4,0.25,0.125,0.75,0.5,,,none\n"
    assert [clip.box for clip in read_labels(labels_file(tmp_path, text))] == [short.box, BOX]
    with pytest.raises(LabelError, match="line 2: A box must be four numbers"):
        read_labels(labels_file(tmp_path, f"{HEADER}\na.mp4,0,0,1,,1,2,highlight\n"))


def test_the_originals_file_as_it_is(tmp_path):
    """Red when quoting, double spaces, whole seconds or the folder of the file are missed."""
    one, none, spaced = read_labels(labels_file(tmp_path, ORIGINAL))
    assert one.path == tmp_path / "rawdata/one.mp4"
    assert one.box == Box(0.7833, 0.1296, 0.9682, 0.3694)
    assert one.highlights == (Interval(0.0, 9.0), Interval(24.282, 31.806))
    assert one.group == "rawdata/one.mp4"
    assert none.highlights == none.negatives == ()
    assert spaced.path.name == "two words.mp4"
    assert spaced.highlights == (Interval(9.219, 30.0),)


def test_our_file(tmp_path):
    """Red when a negative becomes a highlight, a group is lost, or times are misread."""
    text = (
        "\ufeffPath,x1,y1,x2,y2,start,end,label,group\n"
        "b.mp4,.25,.125,.75,.5,01:02,1:02:03.5,highlight,monday\n"
        "a.mp4,.25,.125,.75,.5,,,none,\n\n"
        "b.mp4,.25,.125,.75,.5,2,5.5,HIGHLIGHT,\n"
        "b.mp4,.25,.125,.75,.5,5.5,9,none,monday\n"
        "b.mp4,.25,.125,.75,.5,2,5.5,highlight,\n"
    )
    b, a = read_labels(labels_file(tmp_path, text))
    assert b.highlights == (Interval(2, 5.5), Interval(62, 3723.5))
    assert b.negatives == (Interval(5.5, 9),)
    assert (b.group, a.group) == ("monday", "a.mp4")
    assert (a.highlights, a.negatives) == ((), ())
    assert b.rest_known
    assert a.rest_known


def test_what_no_row_speaks_of_may_be_unknown(tmp_path):
    """Red when a clip that was only looked through counts as labelled wholly, or the reverse."""
    text = ours(
        "a.mp4,0,0,1,1,2,5.5,highlight",
        "a.mp4,0,0,1,1,,,Unknown",
        "b.mp4,0,0,1,1,,,unknown",
        "a.mp4,0,0,1,1,9,10,none",
        "c.mp4,0,0,1,1,2,3,none",
    )
    a, b, c = read_labels(labels_file(tmp_path, text))
    assert [one.rest_known for one in (a, b, c)] == [False, False, True]
    assert (a.highlights, a.negatives) == ((Interval(2, 5.5),), (Interval(9, 10),))
    assert [one.is_blank for one in (a, b, c)] == [False, True, False]
    write_labels(tmp_path / "again.csv", [a, b, c])
    rows = (tmp_path / "again.csv").read_text().splitlines()
    assert [row for row in rows if "unknown" in row] == [
        "a.mp4,0.0,0.0,1.0,1.0,,,unknown,a.mp4",
        "b.mp4,0.0,0.0,1.0,1.0,,,unknown,b.mp4",
    ]


def ours(*rows):
    return "\n".join([HEADER, *rows]) + "\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "at least one clip"),
        (" \n\n", 1, "at least one clip"),
        (HEADER, 1, "at least one clip"),
        (b'a.mp4 "[0,0,1,1]"\n\xff\xfe', 2, "must be UTF-8.*0xff"),
        ('a.mp4 "[0, 0, 1, 1]"\nb.mp4 "[0, 0, 1, 1]" "(9, 9)"', 2, "end after its start"),
        ('a.mp4 "[0, 0, 1, 1]" "(-1, 9)"', 1, "not be negative"),
        ('a.mp4 "[0, 0, 1, 1]" "(nan, 9)"', 1, "A time must be.*nan"),
        ('a.mp4 "[0, 0, 1, 1]" "(0, inf)"', 1, "A time must be.*inf"),
        ('a.mp4 "[0, 0, 1, 1]" "(0, 1e999)"', 1, "must be finite"),
        ('a.mp4 "[0, 0, 1, 1]" "(0, 5)" "(4, 6)"', 1, r"4\.0 to 6\.0 overlaps 0\.0 to 5\.0"),
        ('a.mp4 "[0, 0, 1]"', 1, r"must be \[x1"),
        ('a.mp4 "[0, 0, nan, 1]"', 1, "fractions"),
        ('a.mp4 "[0, 0, 640, 360]"', 1, "divide pixels"),
        ('a.mp4 "[0.5, 0, 0.5, 1]"', 1, "x1 < x2"),
        ('a.mp4 "[0, a, 1, 1]"', 1, "four numbers"),
        ('a.mp4 "[0, 0, 1, 1]" (0, 5)', 1, r"must be \(start, end\)"),
        ('a.mp4 "[0, 0, 1, 1]"\n\n./a.mp4 "[0, 0, 1, 1]"', 3, "has one line.*line 1"),
        ('a.mp4 "[0, 0, 1, 1]', 1, "cannot be parted"),
        ("a.mp4,0,0,1,1,2,3,highlight\n", 1, "a path and a box.*header"),
        (ours("a.mp4,0,0,1,1,2,3,highlight", "a.mp4,0,0,1,.5,4,5,highlight"), 3, "has one box"),
        (ours("a.mp4,0,0,1,1,2,3,rage"), 2, "must be 'highlight', 'none' or 'unknown'.*rage"),
        (ours("a.mp4,0,0,1,1,2,3,"), 2, "needs start, end and a label"),
        (ours("a.mp4,0,0,1,1,2,,none"), 2, "needs start, end and a label"),
        (ours("a.mp4,0,0,1,1,,,highlight"), 2, "needs start, end and a label"),
        (ours("a.mp4,0,0,1,1,2,3"), 2, "8 columns. Received 7"),
        (ours("a,b.mp4,0,0,1,1,2,3,none"), 2, "comma in quotes"),
        (ours("a.mp4,0,0,1,1,1:75,2:00,none"), 2, "end at 59"),
        (ours("a.mp4,0,0,1,1,2,5,highlight", "a.mp4,0,0,1,1,4,9,highlight"), 3, "line 2"),
        (ours("a.mp4,0,0,1,1,2,5,highlight", "a.mp4,0,0,1,1,4,9,none"), 3, "line 2"),
        (ours("a.mp4,0,0,1,1,2,5,none", "a.mp4,0,0,1,1,2,5,highlight"), 3, "line 2"),
        (ours("a.mp4,0,0,1,1,,,none", "a.mp4,0,0,1,1,2,5,highlight"), 2, "line 3 has one"),
        (ours("a.mp4,0,0,1,1,,,none", "a.mp4,0,0,1,1,,,unknown"), 3, "on line 2; remove either"),
        (ours("a.mp4,0,0,1,1,,,unknown", "b.mp4,0,0,1,1,,,", "a.mp4,0,0,1,1,,,"), 4, "on line 2"),
        (ours("a.mp4,0,0,1,1,2,3,unknown"), 2, "has no times"),
        (ours("a.mp4,0,0,1,1,2,,unknown"), 2, "has no times"),
        (ours(" ,0,0,1,1,2,3,none"), 2, "name the path"),
        ("path,x1,y1,x2,y2,start,end\n", 1, "columns must be"),
        (
            f"{HEADER},group\na,0,0,1,1,2,3,none,x\na,0,0,1,1,4,5,none,y\n",
            3,
            "one group.*'x'.*'y'",
        ),
        (ours('"a\nb.mp4",0,0,1,1,2,3,none', "c.mp4,0,0,1,1,5,4,none"), 4, "end after its start"),
    ],
)
def test_what_a_line_may_not_say(tmp_path, text, line, message):
    """Red when a wrong line is taken, or the message names another."""
    path = labels_file(tmp_path, text)
    with pytest.raises(LabelError, match=f"(?s)line {line}: .*{message}") as caught:
        read_labels(path)
    assert str(caught.value).startswith(str(path))


@given(st.integers(0, 10**8))
def test_times_are_read_as_a_clock_shows_them(thousandths):
    """Red when minutes count as hours, or a fraction is lost; the oracle is datetime."""
    seconds = thousandths / 1000
    whole, rest = divmod(thousandths, 1000)
    hours, clock = divmod(whole, 3600)
    text = f"{hours:02d}" + str(datetime.timedelta(seconds=clock))[1:] + f".{rest:03d}"
    assert format_time(seconds) == text
    assert parse_time(text) == pytest.approx(seconds, abs=1e-9)
    assert parse_time(repr(seconds)) == seconds
    if hours == 0:
        assert parse_time(text[3:]) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    "text", ["", "1:2:3:4", "a", "1:-2", "1.5:00", "\N{ARABIC-INDIC DIGIT ONE}", "1_0", "::", "1:"]
)
def test_what_is_no_time(text):
    with pytest.raises(ValueError, match="A time must"):
        parse_time(text)


names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=8
).filter(lambda name: name.strip() and name not in (".", ".."))
seconds = st.floats(0, 1e5).map(abs)


@st.composite
def clips(draw, unused=names):
    """Clips with stretches at any floats, their borders at times shared."""
    made = []
    for name in draw(st.lists(unused, min_size=1, max_size=4, unique=True)):
        edges = sorted(draw(st.sets(seconds, max_size=8)))
        pairs = [Interval(*pair) for pair in pairwise(edges)]
        kinds = [draw(st.sampled_from("+-.")) for _ in pairs]
        low, high = sorted(draw(st.sets(st.floats(0, 1).map(abs), min_size=2, max_size=2)))
        made.append(
            LabelledClip(
                Path(name),
                Box(low, 0.0, high, 1.0),
                tuple(pair for pair, kind in zip(pairs, kinds, strict=True) if kind == "+"),
                draw(names),
                tuple(pair for pair, kind in zip(pairs, kinds, strict=True) if kind == "-"),
                draw(st.booleans()),
            )
        )
    return made


def below(folder, made):
    return [replace(one, path=folder / one.path) for one in made]


@settings(max_examples=60, deadline=None)
@given(clips())
def test_what_is_written_is_read(made):
    """Red when a quote, a newline, a carriage return, a group or a bit of a float is lost."""
    with tempfile.TemporaryDirectory() as name:
        expected = below(Path(name), made)
        write_labels(Path(name) / "labels.csv", expected)
        assert read_labels(Path(name) / "labels.csv") == expected


@settings(max_examples=60, deadline=None)
@given(clips(names.map(lambda name: f"raw {name}")))
def test_nothing_is_lost_in_conversion(made):
    """Red when our file says other than the original's, written here as the original wrote it."""
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "data.csv", Path(name) / "ours.csv"
        with source.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=" ", quoting=csv.QUOTE_NONNUMERIC)
            for one in made:
                box = [one.box.x1, one.box.y1, one.box.x2, one.box.y2]
                stretches = [(stretch.start, stretch.end) for stretch in one.highlights]
                writer.writerow([str(one.path), box, *stretches])
        assert convert_labels(source, target) == len(made)
        found = read_labels(target)
        assert found == read_labels(source)
        assert [one.highlights for one in found] == [one.highlights for one in made]
        assert [one.path for one in found] == [Path(name) / one.path for one in made]


def test_a_converted_file_elsewhere_names_the_same_videos(tmp_path, monkeypatch):
    """Red when paths stay as they were although the folder changed."""
    monkeypatch.chdir(tmp_path)
    for folder in (Path("in"), Path("out")):
        folder.mkdir()
    convert_labels(labels_file("in", ORIGINAL), Path("out/ours.csv"))
    found = read_labels(Path("out/ours.csv"))[0].path
    assert found.resolve() == (tmp_path / "in/rawdata/one.mp4").resolve()
    write_labels(Path("out/far.csv"), [clip("/far/away.mp4")])
    assert read_labels(Path("out/far.csv"))[0].path == Path("/far/away.mp4")


def test_a_clip_is_written_once(tmp_path):
    with pytest.raises(LabelError, match="written once"):
        write_labels(tmp_path / "x.csv", [clip("a.mp4"), clip("a.mp4")])
    with pytest.raises(LabelError, match="UTF-8"):
        write_labels(tmp_path / "x.csv", [clip("a\udcff.mp4")])
    assert list(tmp_path.iterdir()) == []


def test_a_clip_does_not_contradict_itself():
    with pytest.raises(ValueError, match="sorted and not overlap"):
        clip("a.mp4", (5, 6), (1, 2))
    with pytest.raises(ValueError, match="highlight and a negative"):
        clip("a.mp4", (1, 3), negatives=[(2, 4)])


def test_the_end_of_a_highlight_is_outside():
    """Red when a frame at the end counts, or one at the start does not."""
    one = clip("a.mp4", (1, 2), (2, 3), (5, 6))
    found = [is_highlight(one, time) for time in (0.99, 1, 2, 2.999, 3, 5, 6)]
    assert found == [False, True, True, True, False, True, False]


def test_balance_against_counting():
    """Red when a highlight beyond the end counts; the oracle counts thousandths."""
    made = [clip("a.mp4", (1, 2.5), (9, 30)), clip("b.mp4"), clip("c.mp4", (40, 50))]
    durations = [10.0, 5.0, 20.0]
    counted = sum(
        is_highlight(one, time)
        for one, duration in zip(made, durations, strict=True)
        for time in np.arange(0, duration, 0.001)
    )
    balance = class_balance(made, durations)
    assert balance.positive_seconds == pytest.approx(counted / 1000, abs=0.005)
    assert balance.share == pytest.approx(2.5 / 35)


thousandths = st.integers(0, 300)


@st.composite
def partly_known(draw):
    """A clip of whole thousandths of a second; negatives may overlap each other."""
    edges = sorted(draw(st.sets(thousandths, max_size=8)))
    stretches = [(a / 1000, b / 1000) for a, b in pairwise(edges)]
    negatives = [(a, b) for n, (a, b) in enumerate(stretches) if n % 2]
    negatives += [negatives[0]] * draw(st.integers(0, 1)) if negatives else []
    known = draw(st.booleans())
    return clip("a.mp4", *stretches[::2], negatives=sorted(negatives), rest_known=known)


@given(partly_known(), st.integers(1, 300))
def test_unknown_seconds_do_not_count(one, length):
    """Red when what is unknown counts as negative; the oracle looks at each thousandth."""
    moments = (np.arange(length) + 0.5) / 1000
    positive = [is_highlight(one, time) for time in moments]
    negative = [any(bad.start <= time < bad.end for bad in one.negatives) for time in moments]
    known = length if one.rest_known else sum(positive) + sum(negative)
    balance = class_balance([one], [length / 1000])
    assert balance.total_seconds == pytest.approx(known / 1000)
    assert balance.positive_seconds == pytest.approx(sum(positive) / 1000)


@st.composite
def grouped(draw):
    number = draw(st.integers(2, 24))
    groups = draw(st.lists(st.integers(0, 11), min_size=number, max_size=number))
    lengths = draw(st.lists(st.sampled_from([0, 0, 1, 5]), min_size=number, max_size=number))
    return [
        clip(f"{n}.mp4", *([(1, 1 + length)] if length else []), group=f"g{group}")
        for n, (group, length) in enumerate(zip(groups, lengths, strict=True))
    ]


@settings(max_examples=200, deadline=None)
@given(grouped(), st.floats(0.05, 0.9), st.integers(0, 5), st.randoms())
def test_groups_stay_whole(made, share, seed, random):
    """Red when a group is on both sides, a side lacks highlights, or the order of clips matters."""
    groups = {one.group for one in made}
    if len(groups) < 2:
        with pytest.raises(ValueError, match="at least 2 groups"):
            split_clips(made, validation_share=share, seed=seed)
        return
    train, validation = split_clips(made, validation_share=share, seed=seed)
    assert train
    assert validation
    assert sorted(map(id, train + validation)) == sorted(map(id, made))
    assert not {one.group for one in train} & {one.group for one in validation}
    positive = {one.group for one in made if one.highlights}
    assert any(one.highlights for one in train) == (len(positive) > 0)
    assert any(one.highlights for one in validation) == (len(positive) > 1)
    shuffled = list(made)
    random.shuffle(shuffled)
    again = split_clips(shuffled, validation_share=share, seed=seed)[1]
    assert {one.path for one in again} == {one.path for one in validation}


def test_a_clip_of_which_nothing_is_known_counts_for_nothing():
    """Red when such clips fill the validation part, or are taken for a group to learn from."""
    known = [clip(f"{n}.mp4", (0, 8)) for n in range(10)]
    blank = [clip(f"x{n}.mp4", rest_known=False) for n in range(30)]
    train, validation = split_clips([*blank, *known], validation_share=0.3)
    assert len(validation) == 3
    assert set(validation) <= set(known)
    assert len(train) == 37
    with pytest.raises(ValueError, match="at least 2 groups"):
        split_clips([*blank, known[0]], validation_share=0.3)


def test_what_was_reviewed_is_learnt_from():
    """Red when an editor's corrections only validate; where there is nothing else, they do both."""
    known = [clip(f"{n}.mp4", (0, 8)) for n in range(4)]
    reviewed = [clip(f"vod{n}.mp4", (0, 8), (20, 30), rest_known=False) for n in range(3)]
    for seed in range(8):
        train, validation = split_clips([*known, *reviewed], validation_share=0.3, seed=seed)
        assert set(reviewed) < set(train)
        assert validation
        train, validation = split_clips(reviewed, validation_share=0.3, seed=seed)
        assert train
        assert validation


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_shares_are_met_where_they_can_be(share):
    """Red when a split is lopsided: of 60 clips, a third have highlights."""
    made = [clip(f"{n}.mp4", *([(0, 8)] if n % 3 == 0 else [])) for n in range(60)]
    chosen = set()
    for seed in range(5):
        validation = split_clips(made, validation_share=share, seed=seed)[1]
        assert abs(len(validation) - 60 * share) <= 3
        assert abs(sum(bool(one.highlights) for one in validation) - 20 * share) <= 1
        chosen.add(tuple(one.path for one in validation))
    assert len(chosen) == 5


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_a_share_is_a_share(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        split_clips([clip("a.mp4"), clip("b.mp4")], validation_share=share)
