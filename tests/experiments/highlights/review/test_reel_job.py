"""The reel of a review: what the person set stays, and nothing half-made is left."""

import csv
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.highlights.review.reel_job import ReelJob, snapped_between
from experiments.highlights.review.session import Shown
from experiments.highlights.scoring.kept_moments import Moments, kept_beside
from experiments.highlights.selection.selection import Segment, SelectionOptions
from experiments.highlights.selection.snapping import Candidates
from experiments.media.recording import read_recording
from tests.experiments.highlights.counters import read_numbers, render_counter
from tests.processes import wait_until

OPTIONS = SelectionOptions()
RATE = 25


def shown(start, end, state="automatic"):
    return Shown(f"{start}", Segment(start, end, 0.9, (start + end) / 2), state)


def quiet(*times, shots=()):
    return Moments(Candidates(np.array(times), np.zeros(len(times))), np.array(shots))


def spans(segments):
    return [(one.start, one.end) for one in segments]


def test_cuts_that_a_person_set_do_not_move():
    """Red when snapping moves a moved or an added segment, or runs over it."""
    reel = [
        *(shown(10, 14), shown(14.5, 20, "moved"), shown(20.6, 24, "accepted")),
        *(shown(30, 33, "added"), shown(40, 44)),
    ]
    moments = quiet(9.6, 14.4, 14.9, 19.5, 20.3, 24.2, 29.7, 33.5, 39.8, 44.9)
    found = snapped_between(reel, moments, 60.0, OPTIONS)
    assert spans(found) == [
        *((9.6, 14.4), (14.5, 20), (20.3, 24.2), (30, 33)),
        (39.8, pytest.approx(44.9)),
    ]
    assert [one.peak for one in found] == pytest.approx([12, 17.25, 22.3, 31.5, 42])


def test_changes_of_shot_count_in_the_recordings_time():
    """Red when a change of shot after a segment that was set by hand is taken at another time."""
    reel = [shown(10, 14, "moved"), shown(20, 24)]
    found = snapped_between(reel, quiet(shots=(10.2, 14.1, 19.7, 24.4)), 60.0, OPTIONS)
    assert spans(found) == [(10, 14), (pytest.approx(19.7), pytest.approx(24.4))]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(0, 60), min_size=2, max_size=14, unique=True),
    st.lists(
        st.sampled_from(["automatic", "accepted", "moved", "added"]), min_size=14, max_size=14
    ),
    st.lists(st.floats(0, 60), max_size=30),
    st.booleans(),
)
def test_wherever_the_moments_are(edges, drawn, moments, touching):
    """Red when segments overlap by a bit, which the renderer refuses, or a cut is at no moment."""
    edges = sorted(edges)
    pairs = pairwise(edges) if touching else zip(edges[::2], edges[1::2], strict=False)
    reel = [shown(*pair, state) for pair, state in zip(pairs, drawn, strict=False)]
    found = snapped_between(reel, quiet(*moments), 60.0, replace(OPTIONS, min_length=0.0))
    flat = [edge for span in spans(found) for edge in span]
    assert flat == sorted(flat)
    for one, segment in zip(reel, found, strict=True):
        for was, now in ((one.segment.start, segment.start), (one.segment.end, segment.end)):
            assert was == now or one.state not in ("moved", "added")
            assert was == now or min(abs(now - moment) for moment in moments) < 1e-9


def test_touching_cuts_do_not_move():
    """Red when a cut moves away from where a person let the next segment begin."""
    reel = [shown(10, 14), shown(14, 20, "moved"), shown(20, 24)]
    found = snapped_between(reel, quiet(13.8, 14.3, 19.8, 20.2), 60.0, OPTIONS)
    assert spans(found) == [(10, 14), (14, 20), (20, 24)]


def test_snapping_keeps_to_the_whole_reels_length():
    reel = [shown(10, 14), shown(20, 24, "added"), shown(30, 34)]
    options = replace(OPTIONS, max_duration=12.0)
    found = snapped_between(reel, quiet(9.5, 14.5, 29.5, 34.5), 60.0, options)
    assert sum(one.length for one in found) <= 12 + 1e-9


@pytest.fixture(scope="module")
def chunks(tmp_path_factory):
    path = tmp_path_factory.mktemp("recording") / "stream.mp4"
    return read_recording([render_counter(path, RATE, 12)])


def reel_job(chunks, folder, *, snap=False):
    kept = kept_beside(folder / "reel.scores.csv", chunks)
    return ReelJob(chunks, kept, folder / "out.mp4", OPTIONS, snap=snap)


def finished(job):
    wait_until(lambda: not job.running, "the end of the rendering")
    return job.result


def test_the_reel_is_what_the_page_shows(chunks, tmp_path):
    """Red when frames of another place are rendered, or the list beside it says otherwise."""
    job = reel_job(chunks, tmp_path)
    job.start([shown(2, 3), shown(6, 8, "added")], overwrite=False)
    with pytest.raises(ValueError, match="being rendered"):
        job.start([shown(2, 3)], overwrite=False)
    message = finished(job)
    assert message.startswith("2 segments, 3.0 s, in ")
    assert job.share == 1
    assert not job.failed
    assert read_numbers(job.out) == [*range(50, 75), *range(150, 200)]
    rows = list(csv.DictReader(job.cut_list.open()))
    assert [float(row["start_seconds"]) for row in rows] == [2, 6]
    assert job.existing() == [tmp_path / "out.mp4", tmp_path / "out.csv"]


def test_what_exists_is_replaced_only_if_allowed(chunks, tmp_path):
    job = reel_job(chunks, tmp_path)
    job.out.write_text("mine")
    job.start([shown(2, 3)], overwrite=False)
    assert "exists" in finished(job)
    assert job.failed
    assert job.out.read_text() == "mine"
    assert not job.cut_list.exists()
    job.start([shown(2, 3)], overwrite=True)
    finished(job)
    assert not job.failed
    assert read_numbers(job.out) == [*range(50, 75)]


def test_a_stopped_reel_leaves_nothing(chunks, tmp_path):
    """Red when stopping waits for the end, or leaves a folder behind."""
    job = reel_job(chunks, tmp_path, snap=True)
    job.start([shown(1, 11)], overwrite=False)
    job.stop()
    assert job.result == "The rendering was stopped."
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="needs a segment"):
        job.start([], overwrite=False)


def test_files_of_different_rates_have_a_reel_and_a_list(chunks, tmp_path):
    """Red when the list refuses, or counts the second file's pictures at the first one's rate."""
    second = render_counter(tmp_path / "second.mp4", 30, 4)
    both = read_recording([chunks[0].path, second])
    job = reel_job(both, tmp_path)
    job.start([shown(2, 3), shown(13, 14)], overwrite=False)
    finished(job)
    assert not job.failed
    assert len(read_numbers(job.out)) == 50
    rows = list(csv.DictReader(job.cut_list.open()))
    assert [float(row["start_seconds"]) for row in rows] == [2, 1]
