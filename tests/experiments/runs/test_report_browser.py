"""The page of all predictions, used in a real browser as a person uses it."""

import shutil
from contextlib import contextmanager

import numpy as np
import pytest

from experiments.runs.directory import Predictions, write_predictions
from experiments.runs.report import write_report
from tests.experiments.runs.report_runs import FakeShards, make_run
from tests.processes import PATIENCE_SECONDS

BROWSER = shutil.which("chromium")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium on this machine")
NUM_CLASSES, NUM_CLIPS = 6, 1000
NAMES = ["<script>document.title = 1</script>", *("class " + letter for letter in "bcdef")]


@pytest.fixture(scope="module")
def predictions():
    """A thousand clips; about a third are wrong."""
    generator = np.random.default_rng(0)
    labels = np.arange(NUM_CLIPS) % NUM_CLASSES
    probabilities = generator.dirichlet(np.ones(NUM_CLASSES), NUM_CLIPS)
    probabilities[np.arange(NUM_CLIPS), labels] += 0.4
    probabilities = (probabilities / probabilities.sum(axis=1, keepdims=True)).round(6)
    clips = [f"v_{i:04}_<b>&'x'.avi" for i in range(NUM_CLIPS)]
    groups, lengths = ["01"] * NUM_CLIPS, np.full(NUM_CLIPS, 40)
    return Predictions(NAMES, clips, groups, lengths, labels, probabilities)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, predictions):
    run_dir = make_run(tmp_path_factory.mktemp("browser") / "run")
    write_predictions(run_dir / "predictions.csv", predictions)
    write_report(run_dir, FakeShards(predictions.clips))
    return run_dir


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield running
        running.close()


@contextmanager
def opened(browser, address, **options):
    """A page in which nothing goes wrong, and which asks for nothing but files."""
    page = browser.new_page(viewport={"width": 1200, "height": 900}, **options)
    page.set_default_timeout(1000 * PATIENCE_SECONDS)
    wrong = []
    page.on("request", lambda one: one.url.startswith(("file:", "data:")) or wrong.append(one.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    page.goto(address)
    yield page
    page.close()
    assert wrong == []


def shown(page):
    """Paths of the rows shown."""
    return page.eval_on_selector_all(".predictions code", "all => all.map(one => one.textContent)")


def test_the_filters_find_what_they_say(browser, run_dir, predictions):
    """Red when a filter compares another column, or the order is not the one chosen."""
    wrong = ~predictions.correct
    with opened(browser, f"{(run_dir / 'predictions.html').as_uri()}") as page:
        assert len(shown(page)) == 100
        assert page.inner_text(".count") == "1,000 of 1,000 clips; the first 100 are shown"
        page.click(".more")
        assert shown(page) == predictions.clips[:200]
        page.select_option("[name=verdict]", "wrong")
        page.select_option("[name=true]", "0")
        page.select_option("[name=sort]", "confident")
        expected = np.flatnonzero(wrong & (predictions.labels == 0))
        expected = expected[np.argsort(-predictions.confidence[expected], kind="stable")]
        assert shown(page) == [predictions.clips[i] for i in expected][:100]
        assert page.inner_text(".count").startswith(f"{len(expected)} of 1,000 clips")
        page.select_option("[name=predicted]", "3")
        page.select_option("[name=sort]", "missed")
        found = expected[predictions.predicted[expected] == 3]
        by_truth = found[np.argsort(predictions.true_probability[found], kind="stable")]
        assert shown(page) == [predictions.clips[i] for i in by_truth]
        page.click("button[type=reset]")
        page.wait_for_function("location.hash === ''")
        page.fill("[name=text]", "V_0012_<B>&")
        assert shown(page) == [predictions.clips[12]]
        page.fill("[name=text]", "no such clip")
        assert page.inner_text(".count") == "0 of 1,000 clips"
        assert page.title() == "Predictions of run"


def test_the_report_links_into_the_filters_and_the_address_keeps_them(
    browser, run_dir, predictions
):
    """Red when a link shows other clips than its number says, or a reload forgets the filters."""
    with opened(browser, f"{(run_dir / 'report.html').as_uri()}") as page:
        link = page.locator(".pairs a").first
        number = int(link.inner_text().split()[0])
        link.click()
        page.wait_for_selector(".filters")
        assert len(shown(page)) == number
        true, predicted = (
            int(page.input_value(f"[name={name}]")) for name in ("true", "predicted")
        )
        both = (predictions.labels == true) & (predictions.predicted == predicted)
        assert shown(page) == [predictions.clips[i] for i in np.flatnonzero(both)]
        page.fill("[name=text]", "&'x'")
        page.select_option("[name=verdict]", "wrong")
        before = page.url
        page.reload()
        assert page.url == before
        assert page.input_value("[name=text]") == "&'x'"
        assert len(shown(page)) == number
        page.evaluate("location.hash = '#true=99&verdict=right&x=1'")
        chosen = "document.querySelector('[name=true]').selectedIndex"
        page.wait_for_function(f"{chosen} === 0")
        right = np.flatnonzero(predictions.correct)
        assert shown(page) == [predictions.clips[i] for i in right[:100]]


def test_without_javascript_it_is_a_long_table(browser, run_dir):
    """Red when rows or frames are there only once a script has run."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((run_dir / "predictions.html").as_uri())
    assert page.locator(".predictions tbody tr").count() == NUM_CLIPS
    assert not page.locator(".filters").is_visible()
    assert not page.locator(".more").is_visible()
    context.close()


@pytest.mark.parametrize("width", [1200, 500])
@pytest.mark.parametrize("name", ["report.html", "predictions.html"])
def test_nothing_is_cut_off(browser, run_dir, name, width):
    """Red when the page is wider than the window, or a strip does not load."""
    with opened(browser, (run_dir / name).as_uri()) as page:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if name == "predictions.html":
            page.wait_for_function(
                "document.querySelector('.predictions img').naturalWidth === 490"
            )


def test_a_clip_of_several_classes_is_found_by_each(browser, tmp_path):
    """Red when a filter knows one of a clip's classes only, or counts a clip as wrong for it."""
    truth = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], bool)
    several = Predictions.of_several(
        truth=truth,
        class_names=["a", "b", "c"],
        clips=["both.avi", "b.avi", "c.avi"],
        groups=["01"] * 3,
        num_frames=np.full(3, 40),
        probabilities=np.array([[0.9, 0.2, 0.1], [0.8, 0.7, 0.1], [0.1, 0.2, 0.6]]),
    )
    run_dir = make_run(tmp_path / "run")
    write_predictions(run_dir / "predictions.csv", several)
    write_report(run_dir, FakeShards(several.clips))
    with opened(browser, (run_dir / "predictions.html").as_uri()) as page:
        page.select_option("[name=true]", "1")
        assert shown(page) == ["b.avi", "both.avi"]
        page.select_option("[name=verdict]", "right")
        assert shown(page) == ["both.avi"]
        assert "a, b" in page.inner_text(".predictions tbody")
    with opened(browser, (run_dir / "report.html").as_uri()) as page:
        page.click("text=All predictions")
    assert "Most confused pairs" not in (run_dir / "report.html").read_text()
