"""The report is parsed again with html.parser: what it holds, escapes and never fetches."""

import base64
import json
import re
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from jinja2 import UndefinedError

from experiments.report import main
from experiments.runs import plots
from experiments.runs.directory import read_predictions
from experiments.runs.files import PAGE, RunFileError
from experiments.runs.html import ENVIRONMENT
from experiments.runs.records import write_result
from experiments.runs.report import write_report
from experiments.runs.run import finished_result
from experiments.runs.strips import ExplainedClip, write_explanations
from preprocess.batches.views import FrameChoice
from tests.experiments.runs.report_runs import (
    CLIPS,
    HOSTILE,
    LABELS,
    NAMES,
    PROBABILITIES,
    RED,
    FakeShards,
    Page,
    make_run,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _quick_images(monkeypatch):
    """Pictures are one pixel here, which is quick; test_plots.py looks at real ones."""
    pixel = cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes()
    for name in ("curves_png", "confusion_png", "lengths_png"):
        monkeypatch.setattr(plots, name, lambda *_, **__: pixel)


@pytest.fixture
def run_dir(tmp_path):
    return make_run(tmp_path / "first<run>")


def test_headline_numbers_are_those_of_the_run(run_dir):
    text = Page(write_report(run_dir)).text
    for expected in (
        *("DEMO", "first<run>", "66.7 %", "4 of 6", "chance is 33.3 %", "30.0 to 90.3 %"),
        *("203,435", "3,232", "13,687x", "220x", "6 min 3 s", "4,200", "2.1 GB"),
        "0 of 6 test clips have a sibling of the same group in training.",
    ):
        assert expected in text, expected


def test_only_the_demo_set_wears_the_badge(tmp_path):
    run_dir = make_run(tmp_path / "run", dataset="ucf11")
    assert "DEMO" not in Page(write_report(run_dir)).text


def test_siblings_in_training_are_told_with_their_meaning(tmp_path):
    run_dir = make_run(tmp_path / "run", split="random", num_test_clips_with_sibling=5)
    text = Page(write_report(run_dir)).text
    assert "Random split, fold 0 of 5" in text
    assert "5 of 6 test clips have a sibling" in text
    assert "read the accuracy as high" in text


def test_a_recipe_that_validates_on_the_test_clips_says_so(run_dir):
    assert "no second opinion" not in Page(write_report(run_dir)).text
    (run_dir / "config.json").write_text(json.dumps({"validation": "test", "selection": "last"}))
    text = Page(write_report(run_dir)).text
    assert "no second opinion" in text
    assert "The last epoch's weights were tested." in text


def test_names_paths_and_settings_are_escaped(run_dir):
    page = Page(write_report(run_dir, FakeShards()))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"b>&", "i", "script", "x"}
    assert HOSTILE in page.text
    assert CLIPS[1] in page.text
    assert "<script>alert(1)</script>" in page.text
    assert "<b>&" not in write_report(run_dir).read_text()


def test_text_and_attributes_are_escaped_once():
    """Red when templates escape nothing, or what a macro returns a second time."""
    template = ENVIRONMENT.from_string(
        "{% macro bold(text) %}<b>{{ text }}</b>{% endmacro %}"
        '<a title="{{ title }}">{{ bold("<&>") }}{{ text }}</a>'
    )
    page = template.render(title='"><x>', text="<")
    assert page == '<a title="&#34;&gt;&lt;x&gt;"><b>&lt;&amp;&gt;</b>&lt;</a>'
    with pytest.raises(UndefinedError, match="'text' is undefined"):
        template.render(title="")


def test_no_template_opens_a_way_around_escaping():
    """Red when a value is declared safe, or stands in an attribute without quotes."""
    templates = sorted((ROOT / "experiments").rglob("*.jinja"))
    assert len(templates) >= 3
    for path in templates:
        text = path.read_text()
        assert not re.search(r"\bsafe\b|autoescape|\s[\w-]+=\{\{", text), path


def test_the_page_asks_nothing_of_the_network(run_dir):
    path = write_report(run_dir, FakeShards())
    page = Page(path)
    assert not {tag for tag, _ in page.elements} & {"link", "script", "iframe", "object", "base"}
    for tag, attributes in page.elements:
        for name in ("src", "srcset", "href", "poster", "data", "action"):
            value = attributes.get(name, "#")
            own = ("data:image/", "#", "predictions.html")
            assert value.startswith(own), (tag, name, value[:80])
    style = path.read_text().partition("<style>")[2].partition("</style>")[0]
    assert not re.search(r"url\(|@import", style)


def test_links_within_the_page_lead_somewhere(run_dir):
    page = Page(write_report(run_dir))
    links = {attributes["href"] for tag, attributes in page.elements if tag == "a"}
    targets = {link[1:] for link in links if link.startswith("#")}
    assert targets
    assert {link.partition("#")[0] for link in links} == {"", "predictions.html"}
    assert targets <= {attributes.get("id") for _, attributes in page.elements}


def test_mistakes_come_most_confident_first_with_their_frames(run_dir):
    page = Page(write_report(run_dir, FakeShards()))
    mistakes = page.text.partition("2 wrong predictions")[2].partition("most confident")[0]
    assert mistakes.index(CLIPS[1]) < mistakes.index(CLIPS[3])
    assert f"predicted {HOSTILE} (90.0 %), true walking (5.0 %)" in mistakes
    assert CLIPS[0] not in mistakes
    assert len(page.strips()) == 8 * (2 + 3)  # two mistakes, three right ones


def test_explained_mistakes_and_heads_on_features(run_dir):
    """Red when a picture stands at another clip, or a head on features is passed over silently."""
    green = np.full((20, 90, 3), (0, 200, 0), np.uint8)
    write_explanations(run_dir, [ExplainedClip(CLIPS[3], 0.5, green)], sees_pixels=True)
    page = Page(write_report(run_dir, FakeShards()))
    assert "Below the frames of 1 clip: what decided." in page.text
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    (place,) = [i for i, image in enumerate(images) if image.get("alt", "").startswith("Which")]
    # After the eight frames of the second mistake.
    assert sum(image.get("alt", "").startswith("frame") for image in images[:place]) == 16
    content = base64.b64decode(images[place]["src"].partition(",")[2])
    shown = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(shown[:, :, ::-1].mean(axis=(0, 1)), (0, 200, 0), atol=3)
    write_explanations(run_dir, [], sees_pixels=False)
    text = Page(write_report(run_dir, FakeShards())).text
    assert "sees no picture. python -m experiments.predict RUN VIDEO --explain" in text
    (run_dir / "explained" / "index.json").write_text('{"clips": ["a"]}')
    with pytest.raises(RunFileError, match="explained is damaged"):
        write_report(run_dir, FakeShards())


def test_strips_show_what_the_model_saw_in_its_true_colours(run_dir):
    for uri in Page(write_report(run_dir, FakeShards())).strips():
        jpeg = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
        frame = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[:, :, ::-1]  # (H, W, 3) RGB
        assert frame.shape == (60, 80, 3)
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), RED, atol=6)


def test_a_clip_of_three_frames_has_a_strip_of_three(run_dir):
    assert len(Page(write_report(run_dir, FakeShards(num_frames=3))).strips()) == 3 * 5


def test_without_shards_the_page_says_why_there_are_no_frames(run_dir):
    page = Page(write_report(run_dir))
    assert page.strips() == []
    assert "the shards were not at hand" in page.text


def test_a_clip_that_the_shards_lack_is_named(run_dir):
    page = Page(write_report(run_dir, FakeShards(sources=[CLIPS[0], *CLIPS[2:]])))
    assert page.text.count("not in the shards given") == 1


@pytest.mark.parametrize("choice", [None, FrameChoice(15, "window", "first", exact=False)])
def test_lengths_are_counted_as_the_model_sees_them(run_dir, choice):
    """Red when the choice that is kept with a model hides what truncation costs, or the stride."""
    config = {"maxlen": 15, "stride": 2}
    (run_dir / "config.json").write_text(json.dumps(config))
    (run_dir / "model.json").write_text(json.dumps({"choice": choice and asdict(choice)}))
    page = Page(write_report(run_dir, FakeShards(num_frames=39)))  # 20 after the stride
    assert "6 of them (100.0 %) are longer than maxlen 15" in page.text
    assert "75.0 % of all frames are kept" in page.text
    captions = [attributes["title"] for _, attributes in page.elements if "title" in attributes]
    assert captions[:8] == [f"frame {t}" for t in (1, 5, 9, 13, 17, 21, 25, 29)]


def test_a_stride_already_in_the_shards_is_not_taken_twice(run_dir):
    (run_dir / "config.json").write_text(json.dumps({"maxlen": 15, "stride": 6}))
    shards = FakeShards(num_frames=39)
    shards.stride = 3
    text = Page(write_report(run_dir, shards)).text
    assert "75.0 % of all frames are kept" in text
    assert "counting every 6th of the video" in text
    assert "before the stride, the test 6 clips" in Page(write_report(run_dir)).text


def test_the_weakest_class_leads_the_table_of_classes(run_dir):
    text = Page(write_report(run_dir)).text
    table = text.partition("Most often taken for")[2]
    assert table.startswith("walking50.0 %1 of 2100.0 %" + HOSTILE + " (1)")


def test_a_failed_run_still_has_a_page(tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    write_result(run_dir, {"status": "failed: out of memory"})
    text = Page(write_report(run_dir)).text
    assert "This run failed: out of memory" in text
    assert "no predictions were made" in text
    assert not (run_dir / "curves.png").exists()


def test_the_pictures_lie_beside_the_page(run_dir, monkeypatch):
    monkeypatch.undo()
    write_report(run_dir, FakeShards())
    for name in ("curves.png", "confusion_matrix.png"):
        assert min(cv2.imread(str(run_dir / name)).shape[:2]) >= 600


def test_predictions_survive_the_file(run_dir):
    found = read_predictions(run_dir / "predictions.csv")
    assert (found.class_names, found.clips) == (NAMES, CLIPS)
    np.testing.assert_array_equal(found.labels, LABELS)
    np.testing.assert_allclose(found.probabilities, PROBABILITIES)


def test_labels_may_be_indices_but_not_unknown_names(tmp_path):
    path = tmp_path / "predictions.csv"
    header = "clip,group,num_frames,label,predicted,correct,confidence,p_a,p_b\n"
    path.write_text(header + "x,1,5,1,1,1,0.9,0.1,0.9\n")
    assert read_predictions(path).labels == [1]
    path.write_text(header + "x,1,5,c,b,1,0.9,0.1,0.9\n")
    with pytest.raises(ValueError, match="Received 'c'"):
        read_predictions(path)


def test_the_command_rebuilds_the_page_and_refuses_what_is_no_run(run_dir, capsys):
    assert main([str(run_dir)]) == 0
    assert (run_dir / "report.html").exists()
    assert main([str(run_dir / "none")]) == 2
    assert "a run directory is needed" in capsys.readouterr().err
    assert main([str(run_dir), "--shards", str(run_dir)]) == 2
    assert "No shards in" in capsys.readouterr().err


def test_a_finished_run_that_was_stopped_before_its_report_gets_it(run_dir):
    """Red when --resume points to a report that was never written."""
    assert not (run_dir / PAGE).exists()
    assert finished_result(run_dir)["run_dir"] == run_dir
    assert "<html" in (run_dir / PAGE).read_text()
