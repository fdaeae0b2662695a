"""`predictions.html`: every test clip with its frames, to be filtered by class and by verdict.

Without JavaScript it is one long table; with it, a hundred rows are shown at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from common.files import write_atomically
from experiments.runs import formatting
from experiments.runs.directory import Predictions
from experiments.runs.report.clips import Sampling, Shards, frames_at, jpeg, scaled_down, strip_note
from experiments.runs.report.markup import PREDICTIONS_PAGE, Markup, element, join, page_html

VERDICTS = (("", "right and wrong"), ("right", "right"), ("wrong", "wrong"))
ORDERS = (
    ("", "path"),
    ("confident", "most confident first"),
    ("doubtful", "least confident first"),
    ("missed", "true class least probable"),
    ("found", "true class most probable"),
)
HEADER = ("Clip", "True class", "Predicted", "Confidence", "True class's probability", "Its rank")

Options = Iterable[tuple[object, str]]  # value and text


def write_predictions_page(
    run_dir: Path, predictions: Predictions, shards: Shards | None, sampling: Sampling
) -> None:
    """Write predictions.html and the folder strips/ into a run's directory."""
    made = write_strips(run_dir, predictions.clips, shards, sampling)
    note = strip_note(shards, sampling, num_frames=NUM_FRAMES)
    title = f"Predictions of {run_dir.resolve().name}"
    body = [element("h1", title), _lead(predictions), note]
    if shards is not None and None in made:
        body.append(_missing(made.count(None)))
    body.append(element("nav", element("a", "The run's report", href="report.html")))
    body.append(element("section", _filters(predictions), _table(predictions, made), _more()))
    body.append(element("script", Markup(_script())))
    write_atomically(run_dir / PREDICTIONS_PAGE, page_html(title, body).encode())


def _lead(predictions: Predictions) -> Markup:
    right, total = int(predictions.correct.sum()), len(predictions.clips)
    words = f"{total:,} test clips, {right:,} of them right ({formatting.percent(right / total)})."
    return element("p", words, class_="lead")


def _missing(number: int) -> Markup:
    words = f"{number:,} of the clips are not in the shards given, or have no frames there."
    return element("p", words, class_="note bad")


def _filters(predictions: Predictions) -> Markup:
    """The form, hidden until the script makes it work."""
    names = predictions.class_names
    parts = (
        _choice("true", "True class", _classes(names, predictions.labels)),
        _choice("predicted", "Predicted", _classes(names, predictions.predicted)),
        _choice("verdict", "Right or wrong", VERDICTS),
        element("label", "Path contains", element("input", type="search", name_="text")),
        _choice("sort", "Order", ORDERS, class_="wide"),
        element("button", "Clear", type="reset"),
    )
    form = element("form", *parts, class_="filters", autocomplete="off", hidden="")
    count = element("p", class_="count soft", role="status")
    return join([form, count])


def _classes(names: Sequence[str], chosen: npt.NDArray[np.int64]) -> Options:
    """Every class with the number of its clips; `chosen` are (N,) class indices."""
    counts = np.bincount(chosen, minlength=len(names))
    yield "", "any"
    for index, name in enumerate(names):
        yield index, f"{name} ({counts[index]:,})"


def _choice(name: str, label: str, options: Options, **attributes: object) -> Markup:
    entries = (element("option", text, value=value) for value, text in options)
    return element("label", label, element("select", *entries, name_=name), **attributes)


def _table(predictions: Predictions, made: Sequence[Strip | None]) -> Markup:
    by_path = sorted(range(len(predictions.clips)), key=predictions.clips.__getitem__)
    head = element("tr", *(element("th", cell, scope="col") for cell in HEADER))
    rows = (_row(predictions, i, made[i]) for i in by_path)
    parts = (element("thead", head), element("tbody", *rows))
    return element("table", *parts, class_="predictions")


def _row(predictions: Predictions, i: int, strip: Strip | None) -> Markup:
    names, right = predictions.class_names, bool(predictions.correct[i])
    label, predicted = int(predictions.labels[i]), int(predictions.predicted[i])
    confidence, probability = predictions.confidence[i], predictions.true_probability[i]
    length = f"{predictions.num_frames[i]:,}\N{NO-BREAK SPACE}frames"
    where = f" · group {predictions.groups[i]} · {length}"
    path = element("p", element("code", predictions.clips[i]), where, class_="soft")
    mark, verdict = ("✓", "good") if right else ("✗", "bad")
    data: dict[str, object] = {
        "data-true": label,
        "data-predicted": predicted,
        "data-confidence": f"{confidence:.6g}",
        "data-probability": f"{probability:.6g}",
    }
    cells = (
        element("td", _picture(strip), path),
        element("td", names[label]),
        element("td", f"{mark} {names[predicted]}", class_=verdict),
        *(element("td", formatting.percent(value)) for value in (confidence, probability)),
        element("td", f"{predictions.true_rank[i]} of {len(names)}"),
    )
    return join([element("tr", *cells, **data), Markup("\n")])


def _picture(strip: Strip | None) -> Markup:
    if strip is None:
        return Markup()
    size = {"width": strip.width, "height": strip.height}
    return element("img", src=strip.path, alt="", loading="lazy", **size)


def _more() -> Markup:
    return element("button", "Show more", type="button", class_="more", hidden="")


def _script() -> str:
    return resources.files(__package__).joinpath("predictions.js").read_text(encoding="utf-8")


FOLDER = "strips"
NUM_FRAMES = 6
HEIGHT = 64  # pixels
GAP = 2  # pixels between two frames
GAP_GREY = 128
QUALITY = 75  # of the JPEG


@dataclass(frozen=True)
class Strip:
    """A picture of a clip: `path` is relative to the page; its size is in pixels."""

    path: str
    width: int
    height: int


def write_strips(
    run_dir: Path, clips: Sequence[str], shards: Shards | None, sampling: Sampling
) -> list[Strip | None]:
    """Make the folder strips/ anew, all of it at once; without shards there is none.

    Args:
        run_dir: takes the folder.
        clips: source paths; the file of clip i is called by i, for its own name is not trusted.
        shards: the frames.
        sampling: which of them the model sees.

    Returns:
        Of each clip its strip; None where the shards lack it, or have no frame of it.
    """
    target = run_dir / FOLDER
    with tempfile.TemporaryDirectory(prefix=f".{FOLDER}-", dir=run_dir) as private:
        made, old = Path(private, "made"), Path(private, "old")
        made.mkdir()
        strips: list[Strip | None] = [None] * len(clips)
        if shards is not None:
            strips = _write(made, clips, shards, sampling)
        if target.exists():
            target.rename(old)
        if any(strips):
            made.rename(target)
    return strips


def _write(
    folder: Path, clips: Sequence[str], shards: Shards, sampling: Sampling
) -> list[Strip | None]:
    position = {source: index for index, source in enumerate(shards.sources)}
    bar = tqdm(clips, "strips of frames", unit="clip", delay=2, dynamic_ncols=True, disable=None)
    strips: list[Strip | None] = []
    for number, source in enumerate(bar):
        index = position.get(source)
        picture = None if index is None else strip_picture(shards, index, sampling)
        if picture is None:
            strips.append(None)
            continue
        path = folder / f"{number:05}.jpg"
        path.write_bytes(jpeg(picture, quality=QUALITY))
        height, width = picture.shape[:2]
        strips.append(Strip(f"{FOLDER}/{path.name}", width, height))
    return strips


def strip_picture(shards: Shards, index: int, sampling: Sampling) -> npt.NDArray[np.uint8] | None:
    """Frames of a clip side by side, (H, W, 3) RGB with H <= HEIGHT; None if it has no frame."""
    chosen = sampling.spread(int(shards.num_frames[index]), NUM_FRAMES)
    frames = [scaled_down(frame, HEIGHT) for frame in frames_at(shards[index], chosen)]
    if not frames:
        return None
    gap = np.full((len(frames[0]), GAP, 3), GAP_GREY, np.uint8)
    return np.concatenate([part for frame in frames for part in (gap, frame)][1:], axis=1)
