"""Page of a review, which NiceGUI builds for each browser. Imports NiceGUI: import it late."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nicegui import ui
from nicegui.element import Element

from common.errors import UserError
from experiments.highlights.review.desk import Desk, perform, view

WEB = Path(__file__).parent / "web"
# Shown at the foot of the page. The keys themselves are handled in `web`, in the browser.
_KEYS = {
    "space": "play, pause",
    "n": "next",
    "p": "previous",
    "a": "accept",
    "r": "reject",
    "c": "take back",
    "i": "a new segment starts",
    "o": "it ends",
    "u": "undo",
    "z": "zoom to it",
}
_POINTING = "On the curve: click to seek, wheel to zoom, drag to move or pan, double click for all."


class Feed(Element, component="web/review_feed.js", esm={"review": "web"}):
    """Element that sends the review to the browser and the user's actions back."""


class Player(Element, component="web/review_player.js"):
    """Element that plays the video."""


class Curve(Element, component="web/review_curve.js"):
    """Element that draws the score over time."""


class Threshold(Element, component="web/review_threshold.js"):
    """Slider of the probability that a segment has to reach."""


class SegmentList(Element, component="web/review_list.js"):
    """List of the segments."""


class Page:
    """One browser's page of a review.

    Args:
        desk: the review, shared by all pages.
        everywhere: function that refreshes all pages.
    """

    def __init__(self, desk: Desk, everywhere: Callable[[], None]) -> None:
        self._desk = desk
        self._everywhere = everywhere
        ui.add_css(WEB / "review.css")
        with ui.element("div").classes("page"):
            self._build_head()
            Player()
            SegmentList()
            self._build_tools()
            Curve()
            _build_foot()
        self._feed = Feed()
        # Sent once; what changes is in the property `view`.
        self._feed.props["recording"] = _recording(desk)
        self._feed.on("act", lambda event: self._act(event.args))
        self._build_question()
        # The rendering runs in a thread of its own, which must not touch the page; so the page
        # asks.
        ui.timer(0.4, self._watch_job)
        self._watch_job()
        self.refresh()

    def refresh(self) -> None:
        """Show the current state of the review."""
        session = self._desk.session
        self._feed.props["view"] = view(session)
        self._feed.update()
        self._totals.text = self._desk.totals()
        self._options.text = self._desk.options()
        self._notes.text = "\n".join(session.notes)
        self._undo.set_enabled(session.can_undo)

    def _build_head(self) -> None:
        desk = self._desk
        with ui.element("div").classes("head"):
            ui.label(desk.title).classes("title")
            self._totals = ui.label().classes("totals")
            self._build_status()
            with ui.element("div").classes("buttons"):
                self._undo = _button("Undo", "undo", lambda: self._act({"name": "undo"}))
                _button("Play the reel", "playlist_play", lambda: self._feed.run_method("playReel"))
                add = _button("Add to training data", "school", self._add_to_training_data)
                add.tooltip(f"Writes the decisions into {desk.labels}.")
                add.set_visibility(desk.labels is not None)
                self._render = _button("Render", "movie", self._ask_and_render)
                self._render.tooltip(f"Renders the reel into {desk.job.out}.")

    def _build_status(self) -> None:
        with ui.element("div").classes("status"):
            with ui.element("div").classes("progress") as self._progress:
                self._bar = ui.linear_progress(0.0, show_value=False)
                self._percent = ui.label()
                _button("Stop", "stop", self._desk.job.request_stop)
            self._result = ui.label().classes("result")

    def _build_tools(self) -> None:
        with ui.element("div").classes("tools"):
            Threshold()
            with ui.label().classes("options") as self._options:
                self._notes = ui.tooltip().classes("notes")

    def _build_question(self) -> None:
        with ui.dialog() as self._question, ui.card().classes("ask"):
            self._asked = ui.label()
            with ui.element("div").classes("buttons"):
                _button("Leave it", "close", self._question.close)
                _button("Replace", "movie", self._replace)

    def _act(self, act: Any) -> None:
        self._try(lambda: perform(self._desk.session, act))

    def _try(self, action: Callable[[], object]) -> None:
        """Perform an action, show its error if it fails, and refresh all pages."""
        try:
            action()
        except (UserError, OSError) as error:
            _tell(str(error), failed=True)
        self._everywhere()

    def _add_to_training_data(self) -> None:
        self._try(lambda: _tell("\n".join(self._desk.add_to_training_data())))

    def _ask_and_render(self) -> None:
        there = self._desk.job.existing()
        if not there or self._desk.overwrite or self._desk.job.running:
            self._start_job(overwrite=self._desk.overwrite)
            return
        exist = "exists" if len(there) == 1 else "exist"
        self._asked.text = f"{' and '.join(map(str, there))} {exist} already."
        self._question.open()

    def _replace(self) -> None:
        self._question.close()
        self._start_job(overwrite=True)

    def _start_job(self, *, overwrite: bool) -> None:
        desk = self._desk
        self._try(lambda: desk.job.start(desk.session.reel(), overwrite=overwrite))
        self._watch_job()

    def _watch_job(self) -> None:
        """Show the progress or the result of the rendering."""
        job = self._desk.job
        self._progress.set_visibility(job.running)
        self._render.set_enabled(not job.running)
        self._bar.value = job.share
        self._percent.text = f"{job.share:.0%} rendered"
        self._result.text = "" if job.running else job.result
        self._result.set_visibility(bool(self._result.text))
        self._result.classes(add="failed" if job.failed else "", remove="failed")


def _recording(desk: Desk) -> dict[str, Any]:
    """Properties of the recording for the browser, as plain values."""
    chunks = [
        {
            "url": f"/video/{number}",
            "name": chunk.path.name,
            "offset": chunk.offset,
            "duration": chunk.duration,
        }
        for number, chunk in enumerate(desk.chunks)
    ]
    return {"chunks": chunks, "duration": desk.session.track.duration}


def _build_foot() -> None:
    with ui.element("div").classes("foot"):
        for key, what in _KEYS.items():
            with ui.element("div").classes("hint"):
                ui.label(key).classes("key")
                ui.label(what)
        ui.label(_POINTING)


def _button(text: str, icon: str, on_click: Callable[[], object]) -> ui.button:
    return ui.button(text, icon=icon, on_click=on_click).props("outline dense no-caps")


def _tell(text: str, *, failed: bool = False) -> None:
    ui.notify(
        text,
        type="negative" if failed else "positive",
        position="bottom",
        multi_line=True,
        close_button="Close",
        timeout=0 if failed else 6000,  # milliseconds; an error stays until it is closed
        classes="told",
    )
