"""The page of all predictions and its strips, the confused pairs, and the Parquet file."""

import csv
import json
import stat
from urllib.parse import parse_qs

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import top_k_accuracy_score

from common.formatting import ABSENT
from experiments.runs import plots
from experiments.runs.directory import Predictions, read_predictions, write_predictions
from experiments.runs.metrics import top_k_accuracy
from experiments.runs.report import write_report
from experiments.runs.strips import Sampling, strip_image, write_strips
from preprocess.batches.views import FrameChoice
from tests.experiments.runs.report_runs import (
    BLUE,
    CLIPS,
    HOSTILE,
    LABELS,
    NAMES,
    RED,
    FakeShards,
    Page,
    make_run,
)

NASTY = "<script>alert(\"1\")</script>\n&amp;'x'"


@pytest.fixture(autouse=True)
def _quick_images(monkeypatch):
    pixel = cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes()
    for name in ("curves_png", "confusion_png", "lengths_png"):
        monkeypatch.setattr(plots, name, lambda *_, **__: pixel)


@pytest.fixture
def run_dir(tmp_path):
    return make_run(tmp_path / "run")


def replace_predictions(run_dir, labels, probabilities, names, clips=None):
    """Other predictions for a run, as it would have written them."""
    number = len(labels)
    clips = clips or [f"clip{i:03}.avi" for i in range(number)]
    groups, lengths = ["01"] * number, np.full(number, 40)
    predictions = Predictions(
        names, clips, groups, lengths, np.array(labels), np.array(probabilities, float)
    )
    write_predictions(run_dir / "predictions.csv", predictions)
    return predictions


def confident(predicted, num_classes):
    """(N, C) probabilities with their largest at `predicted`."""
    return np.eye(num_classes)[predicted] * 0.5 + 0.5 / num_classes


def rows_of(run_dir):
    """Of the page of predictions each row: its data, and its cells' text."""
    page = Page(run_dir / "predictions.html")
    return [attributes for tag, attributes in page.elements if tag == "tr" and attributes]


def test_every_clip_is_on_the_page_with_its_verdict(run_dir):
    write_report(run_dir, FakeShards())
    page = Page(run_dir / "predictions.html")
    rows = rows_of(run_dir)
    assert [int(row["data-true"]) for row in rows] == LABELS.tolist()
    assert [int(row["data-predicted"]) for row in rows] == [0, 1, 1, 2, 2, 2]
    assert page.text.count("✗") == 2
    assert page.text.count("✓") == 4
    second = page.text.partition(CLIPS[1])[2].partition(CLIPS[2])[0]
    assert second.split() == [
        *("·", "group", "01", "·", "40", "frameswalking✗"),
        *(f"{HOSTILE}90.0", "%5.0", "%2", "of", "3"),
    ]


def test_the_rows_are_by_path_and_keep_their_strips(run_dir):
    """Red when sorting the rows leaves the strips in the order of the file."""
    clips = ["c.avi", "a.avi", "b.avi"]
    replace_predictions(run_dir, [0, 1, 2], np.eye(3), NAMES, clips)
    write_report(run_dir, FakeShards(clips))
    page = Page(run_dir / "predictions.html")
    assert page.images() == [f"strips/0000{i}.jpg" for i in (1, 2, 0)]
    assert [int(row["data-true"]) for row in rows_of(run_dir)] == [1, 2, 0]
    assert all(attributes["loading"] == "lazy" for tag, attributes in page.elements if tag == "img")


def test_names_and_paths_are_escaped(run_dir):
    clips = [f"{NASTY}/{i}.avi" for i in range(2)]
    replace_predictions(run_dir, [0, 1], np.eye(2), [NASTY, "</option>&lt;"], clips)
    write_report(run_dir, FakeShards(clips))
    for name in ("predictions.html", "report.html"):
        text = (run_dir / name).read_text()
        assert "<script>alert" not in text
        page = Page(run_dir / name)
        assert NASTY in page.text
        assert clips[1] in page.text
        assert "</option>&lt;" in page.text
    assert text.count("<script>") == 0
    assert sorted(path.name for path in (run_dir / "strips").iterdir()) == [
        "00000.jpg",
        "00001.jpg",
    ]


def test_the_page_asks_nothing_of_the_network(run_dir):
    write_report(run_dir, FakeShards())
    page = Page(run_dir / "predictions.html")
    for tag, attributes in page.elements:
        for name in ("src", "srcset", "href", "poster", "data", "action"):
            assert attributes.get(name, "#").startswith(("#", "strips/", "report.html")), tag


def test_strips_show_what_the_model_saw_in_its_true_colours(run_dir):
    write_report(run_dir, FakeShards())  # maxlen 20: red
    strip = cv2.imread(str(run_dir / "strips" / "00003.jpg"))[:, :, ::-1]  # (H, W, 3) RGB
    assert strip.shape == (60, 6 * 80 + 5 * 2, 3)
    for start in range(0, strip.shape[1], 82):
        frame = strip[:, start + 8 : start + 72]
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), RED, atol=6)


class NumberedClip:
    """Frame t is t grey, of 128 x 96 pixels."""

    def read(self, *, start, max_frames):
        assert max_frames == 1
        return np.full((1, 96, 128, 3), start, np.uint8)


@given(
    num_frames=st.integers(0, 200),
    stride=st.integers(1, 8),
    maxlen=st.none() | st.integers(1, 60),
    max_frames=st.integers(1, 9),
)
def test_the_frames_of_a_strip_are_spread_over_those_seen(num_frames, stride, maxlen, max_frames):
    seen = np.arange(num_frames)[::stride][:maxlen]
    chosen = Sampling(stride=stride, maxlen=maxlen).spread(num_frames, max_frames)
    assert len(chosen) == min(max_frames, len(seen))
    assert set(chosen) <= set(seen)
    steps = np.diff(np.searchsorted(seen, chosen))
    assert not len(steps) or (steps.min() >= 1 and np.ptp(steps) <= 1)
    if len(chosen) > 1:
        assert (chosen[0], chosen[-1]) == (seen[0], seen[-1])


def test_where_frames_are_chosen_otherwise_the_strip_shows_those(run_dir):
    """Red when the first frames are shown of a model that sees frames of the whole clip."""
    choice = {"num_frames": 4, "sampling": "segments", "start": "random", "exact": True}
    (run_dir / "model.json").write_text(json.dumps({"choice": choice}))
    text = Page(write_report(run_dir, FakeShards())).text
    assert "what the model saw: a frame of each of 4 equal parts." in text
    assert "The model sees a frame of each of 4 equal parts of a clip." in text
    strip = cv2.imread(str(run_dir / "strips" / "00000.jpg"))[:, :, ::-1]
    middles = [strip[:, start + 8 : start + 72].mean(axis=(0, 1)) for start in range(0, 328, 82)]
    np.testing.assert_allclose(middles, [RED, RED, BLUE, BLUE], atol=6)


def test_places_in_time_are_all_shown():
    window = FrameChoice(2, "window", "random")
    sampling = Sampling(choice=window, places=3)
    assert sampling.spread(11, 9).tolist() == [0, 1, 5, 6, 9, 10]
    assert sampling.spread(0, 9).tolist() == []
    assert Sampling(choice=FrameChoice(8)).spread(3, 9).tolist() == [0, 1, 2]


def test_a_strip_is_of_single_frames_scaled_to_64_pixels():
    shards = FakeShards(["x"], num_frames=11)
    shards._clip = NumberedClip()
    strip = strip_image(shards, 0, Sampling())
    assert strip.shape == (64, 6 * 85 + 5 * 2, 3)
    assert strip[32, 40::87, 0].tolist() == [0, 2, 4, 6, 8, 10]
    assert strip_image(FakeShards(["x"], num_frames=0), 0, Sampling()) is None


def test_stale_strips_go_and_half_made_ones_never_show(run_dir):
    write_report(run_dir, FakeShards())
    folder = run_dir / "strips"
    assert len(list(folder.iterdir())) == 6
    (folder / "00099.jpg").write_bytes(b"of an earlier report")
    before = sorted(folder.iterdir())

    class Broken(FakeShards):
        def __getitem__(self, index):
            if index == 4:
                raise OSError("the disk is gone")
            return super().__getitem__(index)

    with pytest.raises(OSError, match="the disk is gone"):
        write_strips(run_dir, CLIPS, Broken(), Sampling())
    assert sorted(folder.iterdir()) == before
    write_report(run_dir, FakeShards(sources=[CLIPS[0], *CLIPS[2:]]))
    assert sorted(path.stem for path in folder.iterdir()) == [f"0000{i}" for i in (0, 2, 3, 4, 5)]
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(make_folder(run_dir).stat().st_mode)
    assert "1 of the clips are not in the shards" in Page(run_dir / "predictions.html").text
    assert not list(run_dir.glob(".strips*"))


def make_folder(parent):
    """A folder as anybody makes one."""
    (parent / "usual").mkdir()
    return parent / "usual"


def test_without_shards_there_are_no_strips_and_the_page_says_how_to_get_them(run_dir):
    write_report(run_dir, FakeShards())
    write_report(run_dir)
    page = Page(run_dir / "predictions.html")
    assert page.images() == []
    assert not (run_dir / "strips").exists()
    assert "Rebuild it with python -m experiments.report RUN_DIR --shards SHARDS." in page.text
    assert len(rows_of(run_dir)) == 6


def pairs_table(run_dir):
    text = Page(run_dir / "report.html").text
    return text.partition("Other way round")[2].partition("Accuracy by class")[0]


def test_the_most_confused_pairs_lead_to_their_clips(run_dir):
    """Red when they are ordered by share rather than number, or seen from the other class."""
    labels = [0] * 6 + [1] * 4 + [2]
    predicted = [0, 0, 0, 1, 1, 1, 1, 1, 0, 2, 0]
    replace_predictions(run_dir, labels, confident(predicted, 3), ["a", "b", "c"])
    page = Page(write_report(run_dir))
    assert "6 mistakes fall on 4 pairs of classes." in page.text
    expected = f"ab3 of 650.0 %1 of 4ca1 of 1100.0 %{ABSENT}ba1 of 425.0 %3 of 6"
    expected += f"bc1 of 425.0 %{ABSENT}"
    assert pairs_table(run_dir) == expected
    links = {attributes.get("href") for _, attributes in page.elements}
    assert "predictions.html#true=0&predicted=1" in links
    assert "predictions.html#true=2&predicted=0" in links


def test_ten_pairs_are_enough(run_dir):
    predicted = (np.arange(40) + 1) % 20
    replace_predictions(
        run_dir, np.arange(40) % 20, confident(predicted, 20), [f"n{i}" for i in range(20)]
    )
    write_report(run_dir)
    assert pairs_table(run_dir).count("100.0 %") == 10
    assert "fall on 20 pairs of classes; the 10 most" in Page(run_dir / "report.html").text


def test_a_faultless_run_has_no_pairs(run_dir):
    replace_predictions(run_dir, [0, 1], np.eye(3)[:2], NAMES)
    text = Page(write_report(run_dir)).text
    assert "Most confused pairsNone: every test clip was recognised." in text


def test_every_link_into_the_page_is_a_filter_that_finds_a_clip(run_dir):
    """Red when a link's classes are swapped, or its names are not the form's."""
    report = Page(write_report(run_dir))
    links = [attributes.get("href", "") for _, attributes in report.elements]
    filters = [link.partition("#")[2] for link in links if link.startswith("predictions.html#")]
    assert len(filters) >= 5
    form = Page(run_dir / "predictions.html")
    fields = {a["name"] for tag, a in form.elements if tag in ("select", "input")}
    for state in map(parse_qs, filters):
        assert set(state) <= fields
        verdict = state.pop("verdict", [None])[0]
        assert verdict in (None, "right", "wrong")
        assert any(
            all(row[f"data-{name}"] == value for name, (value,) in state.items())
            for row in rows_of(run_dir)
        )


def test_many_classes_unfold(run_dir):
    number = 30
    predicted = np.where(np.arange(number) < 3, 29, np.arange(number))
    names = [f"n{i}" for i in range(number)]
    replace_predictions(run_dir, np.arange(number), confident(predicted, number), names)
    page = Page(write_report(run_dir))
    assert "The other 5 classes" in page.text
    assert sum(tag == "details" for tag, _ in page.elements) == 1
    assert sum("meter" in attributes.get("class", "") for _, attributes in page.elements) == number


def test_the_names_in_the_matrix_of_many_classes_are_wide_enough_to_read(run_dir):
    """Red when the picture shrinks to its panel, which leaves letters of four pixels."""
    names = [f"n{i}" for i in range(30)]
    replace_predictions(run_dir, np.arange(30), confident(np.arange(30), 30), names)
    page = Page(write_report(run_dir))
    (matrix,) = (a for _, a in page.elements if a.get("alt", "").startswith("Confusion matrix"))
    assert matrix["style"] == "width:1230px"
    assert matrix["class"] == "large"


def test_the_top_5_accuracy_is_a_headline_of_more_than_5_classes(run_dir, tmp_path):
    assert "top-5" not in Page(write_report(run_dir)).text
    generator = np.random.default_rng(0)
    labels, probabilities = np.arange(60) % 6, generator.dirichlet(np.ones(6), 60)
    names = [f"n{i}" for i in range(6)]
    expected = top_k_accuracy_score(labels, probabilities, k=5)
    replace_predictions(run_dir, labels, probabilities, names)
    text = Page(write_report(run_dir)).text
    assert f"top-5{100 * expected:.1f} %" in text
    recorded = make_run(tmp_path / "other", accuracy_top5=0.1234)
    replace_predictions(recorded, labels, probabilities, names)
    assert "top-512.3 %" in Page(write_report(recorded)).text


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_the_rank_is_what_top_k_accuracy_counts(seed, k):
    """Red when ties, which are frequent in rounded probabilities, are ranked otherwise."""
    generator = np.random.default_rng(seed)
    probabilities = generator.integers(0, 3, (9, 5)) / 4
    labels = generator.integers(0, 5, 9)
    found = Predictions(list("abcde"), [""] * 9, [""] * 9, labels, labels, probabilities)
    assert np.mean(found.true_rank <= k) == top_k_accuracy(labels, probabilities, k=k)
    np.testing.assert_array_equal(found.true_rank == 1, found.correct)
    assert found.true_probability.tolist() == [
        row[label] for row, label in zip(probabilities, labels, strict=True)
    ]


def test_the_parquet_file_holds_the_columns_of_the_csv_typed(run_dir):
    table = pq.read_table(run_dir / "predictions.parquet")
    with (run_dir / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert table.column_names == list(rows[0])
    kinds = [str(field.type) for field in table.schema]
    assert kinds[:7] == ["string", "string", "int64", "string", "string", "bool", "double"]
    assert set(kinds[7:]) == {"double"}
    for row, typed in zip(rows, table.to_pylist(), strict=True):
        assert row.pop("correct") == str(int(typed.pop("correct")))
        assert row == {
            name: f"{value:.6g}" if isinstance(value, float) else str(value)
            for name, value in typed.items()
        }


def test_the_parquet_file_of_no_clip_has_its_types(tmp_path):
    nothing = np.zeros(0, int)
    predictions = Predictions(["a"], [], [], nothing, nothing, np.zeros((0, 1)))
    write_predictions(tmp_path / "predictions.csv", predictions)
    schema = pq.read_schema(tmp_path / "predictions.parquet")
    assert [str(field.type) for field in schema][:2] == ["string", "string"]
    assert schema.names[-1] == "p_a"


def test_several_classes_a_clip_are_written_and_read(tmp_path):
    """Red when a clip's classes are lost in the table, or its most probable one is another."""
    truth = np.array([[1, 1, 0], [0, 0, 1]], bool)
    probabilities = np.array([[0.25, 0.5, 0.125], [0.75, 0.5, 0.25]])
    written = Predictions.of_several(
        truth=truth,
        class_names=["a", "b", "c"],
        clips=["x", "y"],
        groups=["01", "02"],
        num_frames=np.array([3, 4]),
        probabilities=probabilities,
    )
    write_predictions(tmp_path / "predictions.csv", written)
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert [row["label"] for row in rows] == ["a|b", "c"]
    assert [row["predicted"] for row in rows] == ["b", "a"]
    assert [row["above_threshold"] for row in rows] == ["b", "a|b"]
    read = read_predictions(tmp_path / "predictions.csv")
    np.testing.assert_array_equal(read.truth, truth)
    np.testing.assert_array_equal(read.probabilities, probabilities)
    assert read.labels.tolist() == [1, 2]  # of its own the most probable
    assert read.correct.tolist() == [True, False]
    assert read.true_rank.tolist() == [1, 3]
