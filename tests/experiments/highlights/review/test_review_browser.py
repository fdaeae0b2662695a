"""The page of a review, used in a real browser as a person uses it."""

import json
import shutil
from contextlib import contextmanager
from itertools import combinations

import numpy as np
import pytest

from experiments.clips.images import Box
from experiments.highlights.commands.arguments import Run
from experiments.highlights.commands.remembered import remember
from experiments.highlights.labels import Interval, read_labels
from tests.experiments.highlights.counters import ffmpeg, read_images
from tests.experiments.highlights.review.conftest import (
    SECONDS,
    reviewing,
    serving,
    write_scores,
)

BROWSER = shutil.which("chromium")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium on this machine")
PATIENCE_MILLISECONDS = 90_000  # of each wait in the browser; a step takes a few seconds at most
TIME = "document.querySelector('video').currentTime"
SOURCE = "document.querySelector('video').src"
HURRIED = """number => [0.95, 0.5, 0.7].forEach(value => {
    number.value = value;
    number.dispatchEvent(new Event("change"));
})"""
UNANSWERED = """async () => {
    const { parts, wantThreshold } = await import("review/store.js");
    window.asked = [];
    parts.act = ({ value }) => window.asked.push(value);
    [0.3, 0.4, 0.5].forEach(wantThreshold);
}"""
COLOUR = "name => getComputedStyle(document.body)[name].match(/\\d+/g).slice(0, 3).map(Number)"


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory, chunks):
    """One server for the tests that only look, or put back what they did."""
    folder = tmp_path_factory.mktemp("shared")
    scores = write_scores(folder)
    with reviewing(folder, chunks, "--scores", scores, "--bin-size", 0) as address:
        yield address


class Screen:
    """A page with what the tests do on it."""

    def __init__(self, page):
        self.page = page
        self.box = page.locator(".curve").bounding_box()

    def x(self, time):
        """Where a time is while the curve shows all of the recording."""
        return self.box["x"] + time / SECONDS * self.box["width"]

    def y(self, score):
        """Where a score is; the sound and the axis of times take 60 pixels."""
        return self.box["y"] + (1 - score) * (self.box["height"] - 60)

    def click(self, time, score=0.05):
        self.page.mouse.click(self.x(time), self.y(score))

    def drag(self, start, end, score=0.9):
        self.page.mouse.move(self.x(start), self.y(score))
        self.page.mouse.down()
        self.page.mouse.move(self.x(end), self.y(score), steps=4)
        self.page.mouse.up()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def reads(self, selector, text):
        """Wait until a text is there."""
        self.page.locator(selector).filter(has_text=text).first.wait_for()

    def states(self, count):
        """Of each band, once there are so many."""
        self.page.wait_for_function(
            "count => document.querySelectorAll('.band').length === count", arg=count
        )
        return [each.split()[1] for each in self.classes(".band")]

    def classes(self, selector):
        return self.page.eval_on_selector_all(selector, "all => all.map(one => one.className)")

    def until(self, condition):
        self.page.wait_for_function(condition)


@contextmanager
def screen(browser, address, **options):
    """Open the page. Nothing may be asked of another server, and nothing may go wrong in it."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, **options)
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    page = context.new_page()
    wrong = []
    own = address.split("?")[0]
    page.on("request", lambda one: one.url.startswith((own, "data:")) or wrong.append(one.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    page.goto(address)
    page.wait_for_selector(".player video")
    page.wait_for_function("window.did_handshake")
    yield Screen(page)
    assert page.url == own  # the token is gone from the address
    context.close()
    assert wrong == []


def saved(folder):
    return json.loads((folder / "scores.review.json").read_text())


def test_what_is_dragged_is_kept(browser, start, tmp_path):
    """Red when an edge moves otherwise than the pointer, or a reload or another page forgets it."""
    with start() as address:
        with screen(browser, address) as view:
            view.states(2)
            view.drag(16, 20)
            view.reads(".segment", "moved")
            (one,) = saved(tmp_path)["decisions"]
            assert (one["start"], one["origin"]) == (8, [8, 16])
            assert one["end"] == pytest.approx(20, abs=0.1)
            view.drag(30, 40)
            view.until("document.querySelectorAll('.band.moved').length === 2")
            other = saved(tmp_path)["decisions"][1]
            assert other["start"] == pytest.approx(37, abs=0.1)
            assert other["end"] - other["start"] == pytest.approx(7, abs=1e-6)
            view.page.reload()
            assert view.states(2) == ["moved", "moved"]
        with screen(browser, address) as view:
            assert view.states(2) == ["moved", "moved"]
            view.press("u")
            view.until("document.querySelectorAll('.band.moved').length === 1")


def test_decisions_become_training_data(browser, start, tmp_path, chunks):
    """Red when a key, a button or a row of the labels is not what the legend says."""
    labels = tmp_path / "labels.csv"
    flags = ("--labels", labels, "--box", "0.5,0,1,0.5")
    with start(*flags) as address, screen(browser, address) as view:
        view.states(2)
        view.press("n", "r")
        view.reads(".segment", "rejected")
        view.press("n")
        view.page.locator(".segment.chosen button.accept").click()
        view.reads(".segment", "accepted")
        view.click(40)
        view.press("i")
        view.click(43)
        view.press("o")
        view.reads(".segment", "added")
        view.page.get_by_text("Add to training data").click()
        view.reads(".ask", "New in ")
        assert "negatives 1 (8.0 s)" in view.page.inner_text(".ask")
        assert not labels.exists()
        view.page.get_by_role("button", name="Write").click()
        view.reads(".q-notification", "highlights 3 (")
        first, second = read_labels(labels)
        assert [clip.path.resolve() for clip in (first, second)] == [
            (chunks / f"part{number}.mp4").resolve() for number in (0, 1)
        ]
        assert first.negatives == (Interval(8, 16),)
        assert first.highlights == (Interval(27, 30),)  # the segment runs over the files' border
        over, added = second.highlights
        assert (over.start, over.end) == (0, pytest.approx(4, abs=0.05))
        assert (added.start, added.end) == (pytest.approx(10, abs=0.1), pytest.approx(13, abs=0.1))
        assert {(clip.group, clip.rest_known, clip.box) for clip in (first, second)} == {
            ("monday", False, Box(0.5, 0, 1, 0.5))
        }
        before = labels.read_bytes()
        view.page.get_by_text("Add to training data").click()
        view.reads(".ask", "says all that already")
        view.page.get_by_role("button", name="Leave it").click()
        assert labels.read_bytes() == before
        view.page.wait_for_selector(".q-dialog", state="detached")  # it would take the key
        view.press("d")  # though nearly nothing was played
        view.reads(".buttons", "There is more")
        view.page.get_by_text("Add to training data").click()
        view.reads(".ask", "of the recording were not played here, and count as none")
        view.page.get_by_role("button", name="Leave it").click()


def scored(folder, name, video, model):
    """Scores of a file, as a `run` with a model leaves them."""
    rows = [f"{time},{0.9 if 8 < time < 16 else 0.1}" for time in np.arange(0.25, 30, 0.5)]
    path = folder / f"{name}.scores.csv"
    path.write_text("\n".join(["time_seconds,probability", *rows]))
    command = Run(recording=(video,), model=model, out=folder / f"{name}.mp4", bin_size=0)
    remember(command, cut=command.with_threshold(0.5))
    return path


def test_several_recordings_in_one_session(browser, tmp_path, chunks):
    """Red when a decision lands on another recording, or the page hides what training changed."""
    model, change = tmp_path / "new", {"before": "runs/old"}
    for name in ("reviewed", "validation"):
        change |= {f"{name}_before": 0.5, f"{name}_after": 0.875}
    model.mkdir()
    (model / "result.json").write_text(json.dumps({"change": change}))
    first = scored(tmp_path, "first", chunks / "part0.mp4", model)
    second = scored(tmp_path, "second", chunks / "part1.mp4", tmp_path / "unknown")
    command = ("--scores", first, second, "--labels", "labels.csv", "--box", "0,0,1,1")
    with reviewing(tmp_path, *command) as address, screen(browser, address) as view:
        view.states(1)
        view.reads(".change", "with runs/old: all that is labelled 0.500 before, 0.875 now")
        view.press("v")
        view.until("document.querySelector('video').src.includes('/video/1')")
        view.until("!document.querySelector('.change').checkVisibility()")
        view.press("n", "r")
        view.reads(".segment", "rejected")
        (one,) = json.loads((tmp_path / "second.scores.review.json").read_text())["decisions"]
        assert (one["start"], one["end"], one["kept"]) == (8, 16, False)
        assert not (tmp_path / "first.scores.review.json").exists()
        view.press("v")
        view.until("document.querySelector('video').src.includes('/video/0')")
        view.press("n", "a")
        view.reads(".segment", "accepted")
        view.page.get_by_text("Add to training data").click()
        view.page.get_by_role("button", name="Write").click()
        view.reads(".q-notification", f"`train --before {model}` says what")
    (clip,) = read_labels(tmp_path / "labels.csv")
    assert clip.path.resolve() == (chunks / "part0.mp4").resolve()
    assert (clip.highlights, clip.negatives) == ((Interval(8, 16),), ())


def test_the_picture_follows_the_edge(browser, start):
    """Red when the moment at which a segment will end cannot be seen while it is dragged."""
    with start() as address, screen(browser, address) as view:
        view.states(2)
        view.page.mouse.move(view.x(16), view.y(0.9))
        view.page.mouse.down()
        view.page.mouse.move(view.x(22), view.y(0.9), steps=6)
        view.until(f"Math.abs({TIME} - 22) < 0.3")
        view.page.mouse.move(view.x(19), view.y(0.9), steps=3)
        view.until(f"Math.abs({TIME} - 19) < 0.3")
        view.page.mouse.up()
        view.reads(".segment.moved .until", "0:00:1")
        thumbnail = "document.querySelector('.segment.moved img').naturalWidth === 72"
        view.until(thumbnail)
        view.page.fill("input[type=number]", "0.95")
        view.press("Enter")
        view.states(1)
        view.press("u")
        view.states(2)
        view.press("u")
        view.until("!document.querySelector('.band.moved')")


def test_videos_are_labelled(browser, tmp_path, chunks):
    """Red when a key marks another moment, the box is another part, or a change is not kept."""
    labels = tmp_path / "labels.csv"
    videos = [chunks / "part0.mp4", chunks / "part1.mp4"]
    last = f"highlights extract {labels} data/shards/labels --side 64\n"
    with (
        serving(tmp_path, "label", *videos, "--labels", labels, last=last) as address,
        screen(browser, address) as view,
    ):
        view.reads(".empty", "press i where a highlight starts")
        view.until("document.querySelector('.sheet').clientWidth > 300")
        frame = view.page.locator(".sheet").bounding_box()
        view.press("b")
        view.page.mouse.move(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 4)
        view.page.mouse.down()
        view.page.mouse.move(frame["x"] + frame["width"] - 1, frame["y"] + 1, steps=3)
        view.page.mouse.up()
        view.until("document.querySelector('img.cut-out').naturalHeight === 320")
        view.page.eval_on_selector("video", "video => video.currentTime = 4")
        view.until("document.querySelector('.clock').textContent === '0:00:04.0'")
        view.press("i", " ")
        view.until(f"{TIME} > 4.6")
        view.press("o")
        view.reads(".segment .state", "highlight")
        view.press(" ")
        for time, key in ((20, "i"), (22, "x")):
            view.page.eval_on_selector("video", f"video => video.currentTime = {time}")
            view.until(f"document.querySelector('.clock').textContent === '0:00:{time}.0'")
            view.press(key)
        view.reads(".segment .state", "none")
        view.press("d")
        view.reads(".totals", "1 of 2 videos finished. 1 highlight, 1 marked as none; nothing else")
        view.press("v")
        view.reads(".empty", "press i where")
        view.until(f"{SOURCE}.endsWith('/video/1')")
        view.press("d")
        view.reads(".empty", "There is no highlight in this video")
        first, second = read_labels(labels)
    assert first.box == second.box
    assert (first.box.x1, first.box.y2) == pytest.approx((0.5, 0.25), abs=0.01)
    assert (first.box.x2, first.box.y1) == pytest.approx((1, 0), abs=0.01)
    (highlight,) = first.highlights
    assert highlight.start == 4
    assert 4.5 < highlight.end < 8
    assert first.negatives == (Interval(20, 22),)
    assert first.rest_known
    assert (second.highlights, second.negatives, second.rest_known) == ((), (), True)
    assert [first.group, second.group] == ["part0", "part1"]


def test_the_video_follows(browser, address):
    """Red when a click, a key or the border of two files leads to another moment."""
    with screen(browser, address) as view:
        view.states(2)
        view.click(20)
        view.until(f"Math.abs({TIME} - 20) < 0.2")
        view.click(52)
        view.until(f"{SOURCE}.endsWith('/video/1') && Math.abs({TIME} - 22) < 0.2")
        view.reads(".clock", "0:00:5")
        view.press("p")
        view.until(f"{SOURCE}.endsWith('/video/0') && Math.abs({TIME} - 27) < 0.2")
        view.click(29.2)
        view.press(" ")
        view.until(f"{SOURCE}.endsWith('/video/1') && {TIME} > 0.1")
        view.press(" ")
        view.until("document.querySelector('video').paused")
        view.page.locator(".segment").first.locator("button.play").click()
        view.until(f"!document.querySelector('video').paused && {TIME} > 8.1")


def test_zooming(browser, address):
    """Red when the wheel does not zoom about the pointer, or all cannot be seen again."""
    with screen(browser, address) as view:
        view.states(2)
        width = view.page.locator(".band").first.bounding_box()["width"]
        view.page.mouse.move(view.x(12), view.y(0.3))
        for _ in range(5):
            view.page.mouse.wheel(0, -120)
        view.until(f"document.querySelector('.band').clientWidth > {2 * width}")
        band = view.page.locator(".band").first.bounding_box()
        assert band["x"] + band["width"] / 2 == pytest.approx(view.x(12), abs=3)
        view.page.mouse.dblclick(view.x(20), view.y(0.3))
        view.until(f"Math.abs(document.querySelector('.band').clientWidth - {width}) < 3")
        view.press("n", "z")
        view.until("document.querySelector('.band.chosen').clientWidth > 0.2 * innerWidth")


def test_the_reel_is_rendered(browser, start, tmp_path):
    """Red when the button renders something else, or replaces without asking."""
    with start("-o", "out.mp4", "--no-snap") as address, screen(browser, address) as view:
        view.states(2)
        view.press("n", "r")
        view.reads(".segment", "rejected")
        view.page.get_by_role("button", name="Render").click()
        view.reads(".result", "1 segment, 7.0 s, in out.mp4 and out.csv.")
        link = view.page.locator(".watch")
        link.wait_for()
        reel = view.page.request.get(f"{address.split('?')[0][:-1]}{link.get_attribute('href')}")
        assert reel.body() == (tmp_path / "out.mp4").read_bytes()
        images, rate = read_images(tmp_path / "out.mp4")
        assert len(images) / rate == pytest.approx(7, abs=0.15)
        (tmp_path / "out.mp4").write_text("mine")
        view.page.get_by_role("button", name="Render").click()
        view.reads(".ask", "out.mp4 and out.csv exist already")
        view.page.get_by_role("button", name="Leave it").click()
        view.page.wait_for_selector(".ask", state="hidden")
        assert (tmp_path / "out.mp4").read_text() == "mine"


def test_names_and_codecs(browser, tmp_path, scores):
    """Red when a name is taken for HTML, or a video that cannot be played stops all else."""
    name = '<img src=x onerror="document.title=1">&amp;'
    args = ["-f", "lavfi", "-i", f"testsrc2=s=64x48:r=5:d={SECONDS}", "-c:v", "mpeg4"]
    ffmpeg(*args, f"file:{tmp_path / name}.avi")
    command = (f"{name}.avi", "--scores", scores, "--labels", "labels.csv", "--bin-size", "0")
    with reviewing(tmp_path, *command) as address, screen(browser, address) as view:
        view.reads(".problem", f"{name}.avi cannot be played by this browser")
        assert view.page.inner_text(".title") == name
        assert view.page.title() == f"Review of {name}"
        view.press("n", "a")
        view.reads(".segment", "accepted")
        view.page.get_by_text("Add to training data").click()
        view.page.get_by_role("button", name="Write").click()
        view.reads(".q-notification", "highlights 1")
        view.page.get_by_text("Make a copy that can be played").click()
        view.until("document.querySelector('video').videoWidth === 480")
        assert view.page.locator(".problem").count() == 0
        assert list(tmp_path.glob(".playable-*/0.mp4"))
    assert not list(tmp_path.glob(".playable-*"))
    assert [clip.group for clip in read_labels(tmp_path / "labels.csv")] == [name]


def test_two_pages_show_one_review(browser, address):
    """Red when what is done on one page is not seen on the other."""
    with screen(browser, address) as one, screen(browser, address) as other:
        one.states(2)
        other.states(2)
        one.press("n", "a")
        other.reads(".segment", "accepted")
        other.press("n", "c")
        one.until("!document.querySelector('.segment.accepted')")


def test_what_is_typed_stays(browser, start):
    """Red when another threshold replaces a half-typed number, or an old number hides it."""
    field = "input[type=number]"
    with (
        start() as address,
        screen(browser, address) as one,
        screen(browser, address) as other,
    ):
        one.states(2)
        other.states(2)
        before = one.page.input_value(field)
        one.page.fill(field, "0.95")
        other.page.fill(field, "0.85")
        other.press("Enter")
        one.states(1)
        assert one.page.input_value(field) == "0.95"
        one.press("Enter")
        other.states(0)
        one.page.fill(field, before)
        one.page.fill(field, "0.95")  # no change after all, so the browser tells of none
        one.press("Enter")
        other.page.fill(field, "0.85")
        other.press("Enter")
        one.states(1)
        assert one.page.input_value(field) == "0.85"


def test_a_threshold_is_not_lost(browser, address):
    """Red when the last of several thresholds is never asked for, since an answer was lost."""
    with screen(browser, address) as view:
        view.states(2)
        view.page.evaluate(UNANSWERED)
        view.until("window.asked.length === 2")
        assert view.page.evaluate("window.asked") == [0.3, 0.5]


def test_the_threshold_changes_the_reel(browser, address):
    """Red when the slider, the number or the line on the curve choose no other segments."""
    with screen(browser, address) as view:
        assert view.states(2) == ["automatic", "automatic"]
        view.reads(".totals", "2 segments in the reel, 0:15 of 1:00")
        slider = view.page.locator(".q-slider").bounding_box()
        middle = slider["y"] + slider["height"] / 2
        view.page.mouse.move(slider["x"] + 0.7 * slider["width"], middle)
        view.page.mouse.down()
        view.page.mouse.move(slider["x"] + 0.5 * slider["width"], middle, steps=5)
        view.page.mouse.up()
        view.states(3)
        view.reads(".totals", "3 segments in the reel, 0:21 of 1:00")
        view.page.fill("input[type=number]", "0.95")
        view.press("Enter")
        view.reads(".segments .empty", "No score reaches the threshold 0.95; the highest is 0.90")
        view.page.fill("input[type=number]", "0.955")
        view.press("Enter")
        view.reads(".limit", "0.955")  # as exact as the field
        view.page.fill("input[type=number]", "0.95")
        view.press("Enter")
        view.until("document.querySelector('.limit span').textContent === '0.95'")
        assert view.states(0) == []
        view.page.mouse.move(view.x(55), view.y(0.95))
        view.page.mouse.down()
        view.page.mouse.move(view.x(55), view.y(0.85), steps=4)
        view.page.mouse.up()
        view.states(1)
        view.page.eval_on_selector("input[type=number]", HURRIED)
        view.states(2)


def test_nothing_is_cut_off(browser, address):
    """Red when a part is outside of the window, covers another, or text and ground look alike."""
    with screen(browser, address) as view:
        view.states(2)
        for size in ((1400, 900), (900, 1200)):
            view.page.set_viewport_size({"width": size[0], "height": size[1]})
            parts = [".head", ".player", ".segments", ".tools", ".curve", ".foot"]
            boxes = [view.page.locator(part).bounding_box() for part in parts]
            assert all(box["x"] >= 0 and box["x"] + box["width"] <= size[0] for box in boxes)
            assert all(box["y"] + box["height"] <= size[1] for box in boxes)
            assert boxes[1]["width"] > 600
            assert not any(overlap(*pair) for pair in combinations(boxes, 2))
        view.page.set_viewport_size({"width": 400, "height": 800})
        for button in view.page.locator(".segment").first.locator("button").all():
            box = button.bounding_box()
            assert 0 <= box["x"] <= 400 - box["width"]  # within reach on a phone
        for scheme in ("light", "dark"):
            view.page.emulate_media(color_scheme=scheme)
            view.until(f"document.body.classList.contains('body--{scheme}')")
            ink, ground = (
                sum(view.page.evaluate(COLOUR, name)) for name in ("color", "backgroundColor")
            )
            assert (ink > ground) == (scheme == "dark")
            assert abs(ink - ground) > 400


def overlap(one, other):
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "width"), ("y", "height"))
    )
