"""The sections of report.html, each a function from what a run left to HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from experiments import formatting, metrics, plots
from experiments.markup import Markup, data_uri, element, join, picture, table
from experiments.run_directory import History, Predictions

NUM_WORST, NUM_BEST = 6, 3
FRAMES_IN_STRIP = 8
STRIP_FRAME_HEIGHT = 120  # pixels


class Clip(Protocol):
    """One stored clip."""

    @property
    def frames(self) -> npt.NDArray[np.uint8]:
        """(T, H, W, 3) RGB."""


class Shards(Protocol):
    """What the report asks of `preprocess.open_shards`."""

    @property
    def sources(self) -> Sequence[str]:
        """Path of each clip's video."""

    @property
    def num_frames(self) -> Any:
        """(N,) frames of each clip."""

    def __getitem__(self, index: int, /) -> Clip: ...


def section(title: str, *content: object) -> Markup:
    """A titled panel, reachable as #title."""
    return element("section", element("h2", title), *content, id=anchor(title))


def anchor(title: str) -> str:
    """The id of a section."""
    return title.lower().replace(" ", "-")


def curves(history: History | None, chance: float | None) -> Markup:
    """Loss and accuracy by epoch."""
    if history is None:
        return section("Curves", element("p", "No epoch was finished, so there are no curves."))
    light, dark = (
        plots.curves_png(history, chance=chance, theme=theme) for theme in (plots.LIGHT, plots.DARK)
    )
    best = plots.best_epoch(history)
    words = f"{len(history['epoch'])} epochs; loss includes the penalties on weights."
    if best is not None:
        words += f" The star marks epoch {best}, the first of the highest validation accuracy."
    alt = "Loss and accuracy of training and validation by epoch"
    return section("Curves", element("p", words, class_="soft"), picture(light, dark, alt=alt))


def confusion(predictions: Predictions) -> Markup:
    """The confusion matrix as a picture."""
    names = predictions.class_names
    counts = _confusion(predictions)
    light, dark = (
        plots.confusion_png(counts, names, theme=theme) for theme in (plots.LIGHT, plots.DARK)
    )
    words = "A row is a true class, a column a predicted one. Colour is the share of the row."
    if len(names) <= plots.MAX_CLASSES_WITH_COUNTS:
        words += " Numbers are test clips; empty cells are zero."
        width = None
    else:
        width = 16 * len(names)  # wide enough to read the names; the panel scrolls
    image = picture(light, dark, alt="Confusion matrix of the test clips", width=width)
    return section("Confusion matrix", element("p", words, class_="soft"), image)


def classes(predictions: Predictions) -> Markup:
    """Recall and precision a class, weakest first."""
    counts = _confusion(predictions)
    recall, precision = metrics.per_class_recall(counts), metrics.per_class_precision(counts)
    order = np.argsort(np.where(np.isnan(recall), 2, recall), kind="stable")
    rows = [_class_row(i, predictions.class_names, counts, recall, precision) for i in order]
    header = ("Class", "Accuracy (recall)", "", "Right", "Precision", "Most often taken for")
    note = element("p", "Weakest first, over the test clips.", class_="soft")
    return section("Accuracy by class", note, table(header, rows))


def mistakes(predictions: Predictions, shards: Shards | None, maxlen: int | None) -> Markup:
    """The most confident wrong predictions, and a few confident right ones, with their frames."""
    by_confidence = np.argsort(-predictions.confidence, kind="stable")
    right = predictions.correct[by_confidence]
    wrong_clips, right_clips = by_confidence[~right][:NUM_WORST], by_confidence[right][:NUM_BEST]
    content: list[object] = [_strip_note(shards, maxlen)]
    num_wrong = int(np.sum(~right))
    if num_wrong:
        words = f"The {len(wrong_clips)} most confident of {num_wrong} wrong predictions."
        content.append(element("p", words))
        content += [_clip(predictions, int(i), shards, maxlen) for i in wrong_clips]
    else:
        content.append(element("p", "None: every test clip was recognised."))
    if len(right_clips):
        content.append(element("h3", "Right, and most confident"))
        content += [_clip(predictions, int(i), shards, maxlen) for i in right_clips]
    return section("Worst mistakes", *content)


def lengths(predictions: Predictions | None, shards: Shards | None, maxlen: int | None) -> Markup:
    """How long the clips are and what truncation at `maxlen` costs."""
    if shards is not None:
        num_frames, whose = np.asarray(shards.num_frames), "all"
    elif predictions is not None:
        num_frames, whose = predictions.num_frames, "the test"
    else:
        return section("Clip lengths", element("p", "Not known: no clip was read."))
    if num_frames.size == 0:
        return section("Clip lengths", element("p", "There are no clips."))
    light, dark = (
        plots.lengths_png(num_frames, maxlen=maxlen, theme=theme)
        for theme in (plots.LIGHT, plots.DARK)
    )
    words = (
        f"Frames in {whose} {formatting.count(num_frames.size)} clips, as stored in the shards. "
    )
    words += _truncation(num_frames, maxlen)
    low, q1, median, q3, high = np.percentile(num_frames, (0, 25, 50, 75, 100))
    header = ("Clips", "Shortest", "25 %", "Median", "Mean", "75 %", "Longest", "Frames")
    values = (num_frames.size, low, q1, median, num_frames.mean(), q3, high, num_frames.sum())
    numbers = table(header, [[formatting.count(float(value)) for value in values]])
    alt = "Histogram of clip lengths in frames"
    return section("Clip lengths", element("p", words), numbers, picture(light, dark, alt=alt))


def settings(title: str, values: dict[str, Any], *more: object) -> Markup:
    """A two-column table of names and values."""
    if not values:
        return section(title, element("p", "Not recorded."), *more)
    rows = [(name, element("code", _shown(value))) for name, value in values.items()]
    return section(title, table(("Name", "Value"), rows, class_="settings"), *more)


def _confusion(predictions: Predictions) -> npt.NDArray[np.int64]:
    num_classes = len(predictions.class_names)
    return metrics.confusion_matrix(
        predictions.labels, predictions.predicted, num_classes=num_classes
    )


def _class_row(
    index: int,
    names: Sequence[str],
    counts: npt.NDArray[np.int64],
    recall: npt.NDArray[np.float64],
    precision: npt.NDArray[np.float64],
) -> list[object]:
    row = counts[index]
    others = np.where(np.arange(len(names)) == index, 0, row)
    rival = int(others.argmax())
    taken_for = f"{names[rival]} ({others[rival]})" if others[rival] else formatting.ABSENT
    if np.isnan(recall[index]):
        return [names[index], formatting.ABSENT, "", "0 of 0", formatting.ABSENT, taken_for]
    bar = element("span", style=f"width:{100 * recall[index]:.1f}%")
    return [
        names[index],
        formatting.percent(recall[index]),
        element("span", bar, class_="meter"),
        f"{row[index]} of {row.sum()}",
        formatting.ABSENT if np.isnan(precision[index]) else formatting.percent(precision[index]),
        taken_for,
    ]


def _strip_note(shards: Shards | None, maxlen: int | None) -> Markup:
    if shards is None:
        words = "Without frames: the shards were not at hand when this report was made. "
        words += "Rebuild it with python -m experiments.report RUN_DIR --shards SHARDS."
    else:
        words = f"{FRAMES_IN_STRIP} frames evenly spaced over what the model saw"
        words += f", at most the first {maxlen} frames." if maxlen else "."
    return element("p", words, class_="soft")


def _clip(predictions: Predictions, i: int, shards: Shards | None, maxlen: int | None) -> Markup:
    names = predictions.class_names
    predicted, label = names[predictions.predicted[i]], names[predictions.labels[i]]
    confidence = formatting.percent(predictions.confidence[i])
    if predictions.correct[i]:
        verdict = [element("span", label, class_="good"), f", {confidence} sure"]
    else:
        true_share = formatting.percent(predictions.probabilities[i, predictions.labels[i]])
        verdict = [
            "predicted ",
            element("span", predicted, class_="bad"),
            f" ({confidence}); true ",
            element("span", label, class_="good"),
            f" ({true_share})",
        ]
    source = predictions.clips[i]
    where = element(
        "p", element("code", source), f" · group {predictions.groups[i]}", class_="soft"
    )
    return element(
        "div", element("p", *verdict), where, _strip(source, shards, maxlen), class_="clip"
    )


def _strip(source: str, shards: Shards | None, maxlen: int | None) -> Markup:
    if shards is None:
        return Markup()
    if source not in list(shards.sources):
        return element("p", "This clip is not in the shards given.", class_="soft")
    frames = shards[list(shards.sources).index(source)].frames[:maxlen]  # (T, H, W, 3)
    if len(frames) == 0:
        return element("p", "This clip has no frames.", class_="soft")
    chosen = np.linspace(0, len(frames) - 1, min(FRAMES_IN_STRIP, len(frames))).round().astype(int)
    images = (
        element("img", src=_thumbnail(frames[t]), alt=f"frame {t + 1}", title=f"frame {t + 1}")
        for t in chosen
    )
    return element("div", *images, class_="strip")


def _thumbnail(frame: npt.NDArray[np.uint8]) -> str:
    import cv2

    height, width = frame.shape[:2]
    if height > STRIP_FRAME_HEIGHT:
        size = (round(width * STRIP_FRAME_HEIGHT / height), STRIP_FRAME_HEIGHT)
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not done:
        raise ValueError(f"a frame of shape {frame.shape} could not be written as JPEG.")
    return data_uri(jpeg.tobytes(), "jpeg")


def _truncation(num_frames: npt.NDArray[np.int64], maxlen: int | None) -> str:
    if maxlen is None:
        return "None is truncated."
    cut = int(np.sum(num_frames > maxlen))
    kept = np.minimum(num_frames, maxlen).sum() / num_frames.sum()
    if not cut:
        return f"None is longer than maxlen {maxlen}: nothing is truncated."
    return (
        f"{cut:,} of them ({formatting.percent(cut / num_frames.size)}) are longer than maxlen "
        f"{maxlen} and lose their end; {formatting.percent(kept)} of all frames are kept."
    )


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value))
    return formatting.ABSENT if value is None else str(value)


def paragraphs(*texts: object) -> Markup:
    """Each text as a paragraph."""
    return join(element("p", text) for text in texts)
