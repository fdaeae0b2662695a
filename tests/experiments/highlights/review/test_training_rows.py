"""Decisions to labels: each moment is what the person said last, and nothing else is touched."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.clips.images import Box
from experiments.highlights.labels import (
    Interval,
    LabelError,
    LabelledClip,
    read_labels,
    write_labels,
)
from experiments.highlights.review.decisions import Decision, Decisions
from experiments.highlights.review.training_rows import add_to_labels, merged, verdicts_in
from experiments.media.recording import Chunk

FACE = Box(0.5, 0.0, 1.0, 0.5)


def chunk_of(path, offset=0.0, duration=20.0):
    rate = Fraction(25)
    return Chunk(path, offset, duration, 0.0, rate, 64, 48, Fraction(1), 0, None, 0, "")


def decisions_of(*rows):
    """(start, end, kept) or (start, end, kept, origin) each."""
    return Decisions(tuple(Decision(number, *row) for number, row in enumerate(rows, 1)))


def add(file, decisions, chunks, *, box=None, group="monday", **more):
    return add_to_labels(file, decisions, chunks, box=box, group=group, **more)


@pytest.fixture
def files(tmp_path):
    """Two chunks of 20 s."""
    paths = [tmp_path / f"part{number}.mp4" for number in (0, 1)]
    return [chunk_of(path, 20.0 * number) for number, path in enumerate(paths)]


def test_rows_are_in_the_time_of_their_file(tmp_path, files):
    """Red when a row holds the recording's time, or a segment over the border is lost or whole."""
    labels = tmp_path / "labels.csv"
    decisions = decisions_of((2.0, 5.0, True), (18.5, 23.25, True), (30.0001, 31.0, False))
    message = add(labels, decisions, files, box=FACE)
    assert labels.read_text().splitlines() == [
        "path,x1,y1,x2,y2,start,end,label,group",
        "part0.mp4,0.5,0.0,1.0,0.5,2.0,5.0,highlight,monday",
        "part0.mp4,0.5,0.0,1.0,0.5,18.5,20.0,highlight,monday",
        "part0.mp4,0.5,0.0,1.0,0.5,,,unknown,monday",
        "part1.mp4,0.5,0.0,1.0,0.5,0.0,3.25,highlight,monday",
        "part1.mp4,0.5,0.0,1.0,0.5,10.0,11.0,none,monday",
        "part1.mp4,0.5,0.0,1.0,0.5,,,unknown,monday",
    ]
    assert message == [f"New in {labels}: highlights 3 (7.8 s), negatives 1 (1.0 s)."]
    before = labels.stat().st_mtime_ns, labels.read_bytes()
    assert add(labels, decisions, files, box=FACE) == [f"{labels} says all that already."]
    assert (labels.stat().st_mtime_ns, labels.read_bytes()) == before


def test_what_was_left_alone_is_none(tmp_path, files):
    """Red when it overrules a highlight, is lost, or is written before the user agrees."""
    labels = tmp_path / "labels.csv"
    old = LabelledClip(files[0].path, FACE, (Interval(2, 6),), "a", rest_known=False)
    write_labels(labels, [old])
    before = labels.read_bytes()
    decisions = decisions_of((9.0, 12.0, True))
    watched = [(0.0, 9.0), (12.0, 23.0)]
    planned = add(labels, decisions, files, left_alone=watched, writes=False)
    assert labels.read_bytes() == before
    assert planned[0] == f"New in {labels}: highlights 1 (3.0 s), negatives 4 (16.0 s)."
    assert add(labels, decisions, files, left_alone=watched) == planned
    first, second = read_labels(labels)
    assert first.highlights == (Interval(2, 6), Interval(9, 12))
    assert first.negatives == (Interval(0, 2), Interval(6, 9), Interval(12, 20))
    assert second.negatives == (Interval(0, 3),)
    assert not second.rest_known


def test_a_file_without_a_decision_is_not_named(tmp_path, files):
    add(tmp_path / "labels.csv", decisions_of((30.0, 31.0, False)), files)
    assert [clip.path.name for clip in read_labels(tmp_path / "labels.csv")] == ["part1.mp4"]


def test_nothing_decided_writes_nothing(tmp_path, files):
    assert "Nothing is decided" in add(tmp_path / "labels.csv", Decisions(), files)[0]
    assert list(tmp_path.iterdir()) == []


def test_other_clips_stay_as_they_are(tmp_path, files):
    """Red when the rows of another video, or what is known of the rest of this one, are changed."""
    labels = tmp_path / "labels.csv"
    other = LabelledClip(tmp_path / "b.mp4", FACE, (Interval(1, 2),), "b", (Interval(5, 6),))
    whole = LabelledClip(tmp_path / "sub/../part0.mp4", FACE, (Interval(1, 2),), "a")
    (tmp_path / "sub").mkdir()
    write_labels(labels, [other, whole])
    add(labels, decisions_of((10.0, 12.0, True)), files)
    assert read_labels(labels) == [
        other,
        replace(whole, highlights=(Interval(1, 2), Interval(10, 12))),
    ]


def test_the_last_word_counts_and_is_told(tmp_path, files):
    """Red when a contradiction makes a file that cannot be read, or nobody hears of it."""
    labels = tmp_path / "labels.csv"
    old = LabelledClip(files[0].path, FACE, (Interval(2, 6),), "a", (Interval(9, 15),))
    write_labels(labels, [old])
    message = add(labels, decisions_of((4.0, 8.0, False), (10.0, 12.0, True)), files)
    (clip,) = read_labels(labels)
    assert clip.highlights == (Interval(2, 4), Interval(10, 12))
    assert clip.negatives == (Interval(4, 8), Interval(9, 10), Interval(12, 15))
    assert len(message) == 3
    assert "00:00:02.000 to 00:00:06.000, was 'highlight'" in message[1]
    assert "00:00:09.000 to 00:00:15.000, was 'none'" in message[2]


def test_a_clip_said_to_have_no_highlights(tmp_path, files):
    labels = tmp_path / "labels.csv"
    labels.write_text("path,x1,y1,x2,y2,start,end,label\npart0.mp4,0,0,1,1,,,none\n")
    message = add(labels, decisions_of((4.0, 8.0, True)), files)
    assert message[1:] == ["part0.mp4 was a clip without highlights."]
    (clip,) = read_labels(labels)
    assert clip.highlights == (Interval(4, 8),)
    assert clip.rest_known


def test_a_segment_that_was_moved_after_it_was_added(tmp_path, files):
    """Red when the edge that was trimmed stays a highlight in the labels."""
    labels = tmp_path / "labels.csv"
    add(labels, decisions_of((4.0, 8.0, True, (4.0, 8.0))), files)
    add(labels, decisions_of((5.0, 8.0, True, (4.0, 8.0))), files)
    assert read_labels(labels)[0].highlights == (Interval(5, 8),)
    add(labels, decisions_of((5.0, 8.0, False, (4.0, 8.0))), files)
    (clip,) = read_labels(labels)
    assert (clip.highlights, clip.negatives) == ((), (Interval(5, 8),))


def test_the_originals_kind_is_not_touched(tmp_path, files):
    """Red when a file that cannot hold negatives is replaced, or the remedy is not named."""
    labels = tmp_path / "data.csv"
    labels.write_text('part0.mp4 "[0, 0, 1, 1]" "(1, 2)"\n')
    with pytest.raises(LabelError, match=r"labels .*data\.csv TARGET.*--labels TARGET"):
        add(labels, decisions_of((4.0, 8.0, True)), files)
    assert labels.read_text().startswith("part0.mp4 ")


def test_which_box(tmp_path, files):
    """Red when new rows get another box than the one told."""
    labels = tmp_path / "labels.csv"
    first, second = decisions_of((4.0, 8.0, True)), decisions_of((24.0, 28.0, True))
    assert "whole picture" in add(labels, first, files)[1]
    assert read_labels(labels)[0].box == Box(0, 0, 1, 1)
    write_labels(labels, [replace(clip, box=FACE) for clip in read_labels(labels)])
    assert "0.5,0,1,0.5" in add(labels, second, files)[1]
    assert read_labels(labels)[1].box == FACE
    kept = add(labels, decisions_of((1.0, 2.0, True)), files, box=Box(0, 0, 0.5, 0.5))
    assert "part0.mp4 keeps the box" in kept[1]
    assert read_labels(labels)[0].box == FACE


def test_one_video_twice_in_the_labels(tmp_path, files):
    labels = tmp_path / "labels.csv"
    clip = LabelledClip(files[0].path, FACE, (), "a")
    (tmp_path / "sub").mkdir()
    write_labels(labels, [clip, replace(clip, path=tmp_path / "sub/../part0.mp4")])
    with pytest.raises(LabelError, match="as two clips"):
        add(labels, decisions_of((4.0, 8.0, True)), files)


@pytest.mark.parametrize(
    ("video", "labels", "written"),
    [
        ("vods/a.mp4", "labels.csv", "vods/a.mp4"),
        ("a.mp4", "sub/labels.csv", "../a.mp4"),
        ("{here}/vods/a.mp4", "labels.csv", "vods/a.mp4"),
        ("/far/a.mp4", "labels.csv", "/far/a.mp4"),
    ],
)
def test_paths_lead_to_the_video(tmp_path, monkeypatch, video, labels, written):
    """Red when a path is relative to where the command was started and not to the labels."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    path = Path(video.format(here=tmp_path))
    add(Path(labels), decisions_of((4.0, 8.0, True)), [chunk_of(path)])
    assert Path(labels).read_text().splitlines()[1].split(",")[0] == written
    (clip,) = read_labels(Path(labels))
    assert clip.path.resolve() == path.resolve()
    assert "says all that" in add(Path(labels), decisions_of((4.0, 8.0, True)), [chunk_of(path)])[0]


moments = st.integers(0, 40).map(lambda half: half / 2)


@st.composite
def stretches(draw, kinds):
    """Apart from each other, each of a kind."""
    edges = sorted(draw(st.sets(moments, max_size=10)))
    drawn = [(pair, draw(st.sampled_from(kinds))) for pair in pairwise(edges)]
    return [(pair, kind) for pair, kind in drawn if kind]


@settings(max_examples=200, deadline=None)
@given(
    stretches(["highlight", "none", ""]),
    stretches(["kept", "rejected", ""]),
    st.lists(st.none() | st.tuples(moments, moments), min_size=10, max_size=10),
    st.booleans(),
)
def test_each_moment_is_what_was_said_last(old, new, origins, rest_known):
    """Red when a moment has another label than the decision on it, or else the earlier row.

    The oracle looks at each quarter of a second.
    """
    origins = [one if one and one[0] < one[1] else None for one in origins]
    decisions = decisions_of(
        *(
            (*span, kind == "kept", origin)
            for (span, kind), origin in zip(new, origins, strict=False)
        )
    )
    clip = LabelledClip(
        Path("a.mp4"),
        FACE,
        tuple(Interval(*span) for span, kind in old if kind == "highlight"),
        "a",
        tuple(Interval(*span) for span, kind in old if kind == "none"),
        rest_known,
    )
    verdicts = verdicts_in(decisions, chunk_of(clip.path))
    found = merged(clip, verdicts, [])
    for moment in (n / 4 + 0.125 for n in range(80)):
        message = {kind for (a, b), kind in old if a <= moment < b}
        if any(a <= moment < b for a, b in decisions.claims):
            message = {kind for (a, b), kind in new if a <= moment < b}
        expected = {"kept": "highlight", "rejected": "none"}
        now = {"highlight" for one in found.highlights if one.start <= moment < one.end}
        now |= {"none" for one in found.negatives if one.start <= moment < one.end}
        assert now == {expected.get(kind, kind) for kind in message}
    assert merged(found, verdicts, []) == found
    assert found.rest_known == rest_known
