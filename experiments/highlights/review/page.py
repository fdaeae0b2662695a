"""Page of a review, which NiceGUI builds for each browser. Imports NiceGUI: import it late."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nicegui import ui
from nicegui.element import Element

from common.errors import UserError
from experiments.highlights.review.desk import Desk, perform, view
from experiments.highlights.review.media import PlayableCopies
from experiments.media.recording import Chunk

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
    "x": "it ends and is none",
    "d": "nothing else here",
    "u": "undo",
    "z": "zoom to it",
    "v": "next recording",
    "b": "draw the box",
}
_ONLY_SEVERAL, _ONLY_LABELLING = {"v"}, {"b"}
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
        desks: the reviews, one a recording, shared by all pages.
        copies: playable copies of the recordings' files.
        everywhere: function that refreshes all pages.
    """

    def __init__(
        self, desks: Sequence[Desk], copies: PlayableCopies, everywhere: Callable[[], None]
    ) -> None:
        self._desks = desks
        self._copies = copies
        self._place = 0
        self._everywhere = everywhere
        ui.add_css(WEB / "review.css")
        with ui.element("div").classes("page"):
            self._build_head()
            Player()
            SegmentList()
            self._build_tools()
            Curve()
            self._build_foot()
        self._feed = Feed()
        self._feed.on("act", lambda event: self._act(event.args))
        self._feed.on("go", lambda event: self._go(event.args))
        self._feed.on("copy", lambda event: self._make_copy(event.args))
        self._show_recording()
        self._build_question()
        # The rendering runs in a thread of its own, which must not touch the page; so the page
        # asks.
        ui.timer(0.4, self._watch_job)
        self._watch_job()
        self.refresh()

    @property
    def _desk(self) -> Desk:
        """Review of the recording that is shown."""
        return self._desks[self._place]

    def _show_recording(self) -> None:
        """Show what belongs to a recording and does not change."""
        desk = self._desk
        self._title.text = desk.title
        self._change.text = desk.change()
        self._change.set_visibility(bool(self._change.text))
        self._feed.props["recording"] = self._recording()
        # It changes only with the recording; all else is in `view`.
        self._add.set_visibility(desk.labels is not None and not desk.is_labelling)
        self._watch.set_visibility(False)
        for button in (self._play, self._render):
            button.set_visibility(not desk.is_labelling)

    def _go(self, place: object) -> None:
        """Show another recording."""
        if type(place) is int and 0 <= place < len(self._desks) and place != self._place:
            self._place = place
            self._show_recording()
            self._choice.value = place
            self.refresh()

    def refresh(self) -> None:
        """Show the current state of the review."""
        session = self._desk.session
        self._feed.props["view"] = view(session)
        self._feed.update()
        self._totals.text = self._finished() + self._desk.totals()
        self._options.text = "" if self._desk.is_labelling else self._desk.options()
        self._finish.text = "There is more" if session.is_finished else "Nothing else here"
        self._notes.text = "\n".join(session.notes)
        self._undo.set_enabled(session.can_undo)

    def _finished(self) -> str:
        """Say how many videos are labelled; nothing for one, or a review."""
        if not self._desk.is_labelling or len(self._desks) == 1:
            return ""
        number = sum(desk.session.is_finished for desk in self._desks)
        return f"{number} of {len(self._desks)} videos finished. "

    def _build_head(self) -> None:
        with ui.element("div").classes("head"):
            self._title = ui.label().classes("title")
            self._choice = ui.select(
                {place: desk.title for place, desk in enumerate(self._desks)},
                value=0,
                on_change=lambda event: self._go(event.value),
            )
            self._choice.props("dense outlined options-dense").classes("recordings")
            several = len(self._desks) > 1
            self._choice.set_visibility(several)
            self._title.set_visibility(not several)
            self._totals = ui.label().classes("totals")
            self._build_status()
            with ui.element("div").classes("buttons"):
                self._undo = _button("Undo", "undo", lambda: self._act({"name": "undo"}))
                self._finish = _button("Nothing else here", "done_all", self._toggle_finished)
                self._finish.tooltip("What is not marked is no highlight (d).")
                self._play = _button(
                    "Play the reel", "playlist_play", lambda: self._feed.run_method("playReel")
                )
                self._add = _button("Add to training data", "school", self._ask_and_add)
                self._add.tooltip("Shows what would be written into the labels.")
                self._render = _button("Render", "movie", self._ask_and_render)
                self._render.tooltip("Renders the reel.")

    def _build_status(self) -> None:
        with ui.element("div").classes("status"):
            with ui.element("div").classes("progress") as self._progress:
                self._bar = ui.linear_progress(0.0, show_value=False)
                self._percent = ui.label()
                _button("Stop", "stop", self._stop_job)
            with ui.element("div").classes("made"):
                self._result = ui.label().classes("result")
                self._watch = ui.link("Watch the reel", "", new_tab=True).classes("watch")

    def _build_tools(self) -> None:
        with ui.element("div").classes("tools"):
            Threshold()
            with ui.label().classes("options") as self._options:
                self._notes = ui.tooltip().classes("notes")
            self._change = ui.label().classes("change")

    def _build_question(self) -> None:
        with ui.dialog() as self._question, ui.card().classes("ask"):
            self._asked = ui.label().classes("notes")
            with ui.element("div").classes("buttons"):
                _button("Leave it", "close", self._question.close)
                self._agree = _button("Replace", "check", self._answer)

    def _ask(self, question: str, agree: str, action: Callable[[], None]) -> None:
        """Ask before an action is done."""
        self._asked.text, self._agree.text, self._agreed = question, agree, action
        self._question.open()

    def _answer(self) -> None:
        self._question.close()
        self._agreed()

    def _act(self, act: Any) -> None:
        """Perform an action on the recording for which the page meant it."""
        place = act.pop("recording", self._place) if isinstance(act, dict) else self._place
        if type(place) is int and 0 <= place < len(self._desks):
            self._try(lambda: perform(self._desks[place].session, act))

    def _toggle_finished(self) -> None:
        finished = not self._desk.session.is_finished
        self._act({"name": "finish", "finished": finished})

    def _make_copy(self, number: object) -> None:
        """Make a playable copy of a file, by its number among all files."""
        chunks = all_chunks(self._desks)
        if type(number) is int and 0 <= number < len(chunks):
            self._copies.start(number, chunks[number])

    def _stop_job(self) -> None:
        if self._desk.job is not None:
            self._desk.job.request_stop()

    def _try(self, action: Callable[[], object]) -> None:
        """Perform an action, show its error if it fails, and refresh all pages."""
        try:
            action()
        except (UserError, OSError) as error:
            _tell(str(error), failed=True)
        self._everywhere()

    def _ask_and_add(self) -> None:
        """Show what would be written into the labels, and write it if the user agrees."""
        desk = self._desk
        before = f"`train --before {desk.model}` says what a new training changes."
        hint = [] if desk.model is None else [before]

        def add() -> None:
            self._try(lambda: _tell("\n".join([*desk.add_to_training_data(), *hint])))

        self._try(
            lambda: self._ask("\n".join(desk.add_to_training_data(writes=False)), "Write", add)
        )

    def _ask_and_render(self) -> None:
        job = self._desk.job
        if job is None:
            return
        there = job.existing()
        if not there or self._desk.overwrite or job.running:
            self._start_job(overwrite=self._desk.overwrite)
            return
        exist = "exists" if len(there) == 1 else "exist"
        question = f"{' and '.join(map(str, there))} {exist} already."
        self._ask(question, "Replace", lambda: self._start_job(overwrite=True))

    def _start_job(self, *, overwrite: bool) -> None:
        desk, job = self._desk, self._desk.job
        if job is not None:
            self._try(lambda: job.start(desk.session.reel(), overwrite=overwrite))
        self._watch_job()

    def _watch_job(self) -> None:
        """Show the progress or the result of the rendering, and of a playable copy."""
        self._watch_copies()
        job = self._desk.job
        if job is None:
            self._progress.set_visibility(False)
            return
        self._watch.set_visibility(job.out.exists() and not job.running)
        self._watch.props["href"] = f"/reel?recording={self._place}"
        self._progress.set_visibility(job.running)
        self._render.set_enabled(not job.running)
        self._bar.value = job.share
        self._percent.text = f"{job.share:.0%} rendered"
        self._result.text = "" if job.running else job.result
        self._result.set_visibility(bool(self._result.text))
        self._result.classes(add="failed" if job.failed else "", remove="failed")

    def _watch_copies(self) -> None:
        """Tell the browser of the copies that can be played, and of one that is being made."""
        first = sum(len(desk.chunks) for desk in self._desks[: self._place])
        numbers = range(first, first + len(self._desk.chunks))
        copies = self._copies
        state = {
            "ready": [number for number in numbers if copies.path(number)],
            "making": copies.number,
            "share": round(copies.share, 2),
            "problem": copies.problem,
        }
        if self._feed.props.get("copies") != state:
            self._feed.props["copies"] = state
            self._feed.update()

    def _recording(self) -> dict[str, Any]:
        """Properties of the recording for the browser, as plain values."""
        desk = self._desk
        # Files are numbered through all recordings.
        first = sum(len(desk.chunks) for desk in self._desks[: self._place])
        chunks = [
            {
                "url": f"/video/{number}",
                "number": number,
                "name": chunk.path.name,
                "offset": chunk.offset,
                "duration": chunk.duration,
            }
            for number, chunk in enumerate(desk.chunks, first)
        ]
        return {
            "chunks": chunks,
            "duration": desk.session.track.duration,
            "recording": self._place,
            "numRecordings": len(self._desks),
            "labelling": desk.is_labelling,
        }

    def _build_foot(self) -> None:
        desk = self._desk
        hidden = set() if len(self._desks) > 1 else _ONLY_SEVERAL
        hidden = hidden if desk.is_labelling else hidden | _ONLY_LABELLING
        with ui.element("div").classes("foot"):
            for key, what in _KEYS.items():
                if key not in hidden:
                    with ui.element("div").classes("hint"):
                        ui.label(key).classes("key")
                        ui.label(what)
            ui.label(_POINTING)


def all_chunks(desks: Sequence[Desk]) -> list[Chunk]:
    """Files of all recordings, by the numbers with which a page asks for them."""
    return [chunk for desk in desks for chunk in desk.chunks]


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
