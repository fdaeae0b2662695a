"""Precision and recall of a reel's seconds against a count of milliseconds."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from experiments.highlights.demo.quality import read_truth, reel_quality

MILLISECONDS = 20_000


def spans():
    """Starts and ends in milliseconds, in any order; some overlap, are empty or lie beyond."""
    time = st.integers(0, MILLISECONDS + 3000)
    return st.lists(st.tuples(time, time).map(lambda pair: tuple(sorted(pair))), max_size=8)


def painted(spans):
    """Which milliseconds of the recording lie in a span."""
    grid = np.zeros(MILLISECONDS, bool)
    for start, end in spans:
        grid[start:end] = True
    return grid


def groups(spans):
    """Spans that overlap as one, by joining pairs until none is left to join."""
    left = [(a, min(b, MILLISECONDS)) for a, b in spans if a < min(b, MILLISECONDS)]
    joined = True
    while joined:
        joined = False
        for one in left:
            for other in left:
                if one is not other and one[0] < other[1] and other[0] < one[1]:
                    left = [span for span in left if span is not one and span is not other]
                    left.append((min(one[0], other[0]), max(one[1], other[1])))
                    joined = True
                    break
            if joined:
                break
    return left


def in_seconds(spans):
    return [(start / 1000, end / 1000) for start, end in spans]


@settings(max_examples=300, deadline=None)
@given(spans(), spans())
@example([(0, 5000), (1000, 2000)], [(4000, 6000), (6000, 7000)])
@example([], [(1, 2)])
@example([(1, 2)], [])
def test_by_counting_milliseconds(segments, truth):
    """Red when an overlap counts twice, or what lies beyond the recording counts at all."""
    found = reel_quality(in_seconds(segments), in_seconds(truth), MILLISECONDS / 1000)
    reel, known = painted(segments), painted(truth)
    shared = (reel & known).sum()
    precision = shared / reel.sum() if reel.any() else None
    recall = shared / known.sum() if known.any() else None
    assert found.precision == pytest.approx(precision, abs=1e-6)
    assert found.recall == pytest.approx(recall, abs=1e-6)
    assert found.num_highlights == len(groups(truth))
    assert found.num_touched == sum(reel[start:end].any() for start, end in groups(truth))


def test_by_hand():
    """Red when precision and recall are swapped."""
    found = reel_quality([(0, 10)], [(8, 12), (20, 30)], 60)
    assert (found.precision, found.recall) == (pytest.approx(2 / 10), pytest.approx(2 / 14))
    assert (found.num_touched, found.num_highlights) == (1, 2)


@pytest.mark.parametrize(
    ("segments", "duration", "message"),
    [
        ([(3, 2)], 10, "must not end before its start. Received 3 to 2"),
        ([(float("nan"), 2)], 10, "must not end before"),
        ([(1, float("inf"))], 10, "must not end before"),
        ([], float("nan"), "duration must be"),
    ],
)
def test_what_are_no_spans(segments, duration, message):
    with pytest.raises(ValueError, match=message):
        reel_quality(segments, [], duration)
    with pytest.raises(ValueError, match=message):
        reel_quality([], segments, duration)


def test_truth_is_read(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("start,end\n1.5,4\n1:00,1:02.5\n")
    assert read_truth(path) == [(1.5, 4.0), (60.0, 62.5)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "columns start and end. It has a, b"),
        ("", "It has none"),
        ("start,end\n1,2\n3,x\n", "line 3: .*'x'"),
        ("start,end\n1\n", "line 2"),
        ("start,end\n5,4\n", "line 2: A stretch must not end before"),
    ],
)
def test_wrong_truth_is_told(tmp_path, text, message):
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_truth(path)
