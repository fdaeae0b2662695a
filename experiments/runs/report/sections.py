"""The report's sections on the whole run: curves, classes, configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.runs import formatting, metrics, plots
from experiments.runs.directory import History, Predictions
from experiments.runs.report.markup import Markup, element, picture, section, table, to_predictions

MATRIX = "confusion_matrix.png"  # beside the page
NUM_PAIRS = 10
MOST_CLASSES_AT_ONCE = 25  # of more, the weakest are shown and the others unfold
LONG_VALUE = 36  # characters; a longer setting takes the whole width


def curves(history: History | None, chance: float | None, selection: str | None) -> Markup:
    """Loss and accuracy by epoch; `selection` is which epoch's weights were tested, if known."""
    if history is None:
        return section("Curves", element("p", "No epoch was finished, so there are no curves."))
    light, dark = (
        plots.curves_png(history, chance=chance, theme=theme) for theme in (plots.LIGHT, plots.DARK)
    )
    best = plots.best_epoch(history)
    words = f"{len(history['epoch'])} epochs."
    if best is not None:
        words += f" The star marks epoch {best}, the best by validation accuracy."
    if selection is not None:
        words += f" The {selection} epoch's weights were tested."
    alt = "Loss and accuracy of training and validation by epoch"
    return section("Curves", element("p", words, class_="soft"), picture(light, dark, alt=alt))


def confusion(predictions: Predictions) -> Markup:
    """The confusion matrix as a picture."""
    names = predictions.class_names
    counts = _confusion(predictions)
    light, dark = (
        plots.confusion_png(counts, names, theme=theme) for theme in (plots.LIGHT, plots.DARK)
    )
    words: list[object] = [
        "A row is a true class, a column a predicted one. Colour is the share of the row."
    ]
    if len(names) <= plots.MAX_CLASSES_WITH_COUNTS:
        words.append(" Numbers are test clips; empty cells are zero.")
        width = 460 + 30 * len(names)
    else:
        width = 16 * len(names)  # wide enough to read the names; the panel scrolls
        link = element("a", MATRIX, href=MATRIX)
        words += [" The picture scrolls sideways; the whole of it is ", link, "."]
    alt = "Confusion matrix of the test clips"
    image = picture(light, dark, alt=alt, width=width, shrinks=len(names) <= 40)
    return section("Confusion matrix", element("p", *words, class_="soft"), image)


def confused_pairs(predictions: Predictions) -> Markup:
    """Which class was most often taken for which other, each with a link to its clips."""
    counts = _confusion(predictions)
    totals = counts.sum(axis=1)
    wrong = counts - np.diag(np.diag(counts))
    pairs = np.argwhere(wrong)  # (P, 2) true and predicted
    number = wrong[pairs[:, 0], pairs[:, 1]]
    order = np.lexsort((-number / totals[pairs[:, 0]], -number))[:NUM_PAIRS]
    if not len(order):
        words = "None: every test clip was recognised."
        return section("Most confused pairs", element("p", words))
    rows = [
        _pair_row(int(i), int(j), predictions.class_names, wrong, totals) for i, j in pairs[order]
    ]
    words = f"{number.sum():,} mistakes fall on {len(pairs):,} pairs of classes"
    words += f"; the {len(order)} most frequent." if len(order) < len(pairs) else "."
    header = ("True class", "Taken for", "Clips", "Share", "Other way round")
    note = element("p", words, class_="soft")
    return section("Most confused pairs", note, table(header, rows, class_="pairs"))


def classes(predictions: Predictions) -> Markup:
    """Recall and precision a class, weakest first."""
    counts = _confusion(predictions)
    recall, precision = metrics.per_class_recall(counts), metrics.per_class_precision(counts)
    order = np.argsort(np.where(np.isnan(recall), 2, recall), kind="stable")
    rows = [_class_row(int(i), predictions.class_names, counts, recall, precision) for i in order]
    header = ("Class", "Accuracy (recall)", "", "Right", "Precision", "Most often taken for")
    note = element("p", "Weakest first, over the test clips.", class_="soft")
    first, others = rows[:MOST_CLASSES_AT_ONCE], rows[MOST_CLASSES_AT_ONCE:]
    content = [note, table(header, first, class_="classes")]
    if others:
        summary = element("summary", f"The other {len(others)} classes")
        content.append(element("details", summary, table(header, others, class_="classes")))
    return section("Accuracy by class", *content)


def settings(title: str, values: dict[str, Any]) -> Markup:
    """Names and values, in two columns where there is room."""
    if not values:
        return section(title, element("p", "Not recorded."))
    pairs = (
        element(
            "div",
            element("dt", name),
            element("dd", element("code", _shown(value))),
            class_="wide" if len(_shown(value)) > LONG_VALUE else None,
        )
        for name, value in values.items()
    )
    return section(title, element("dl", *pairs, class_="settings"))


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
    taken_for: object = formatting.ABSENT
    if others[rival]:
        text = f"{names[rival]} ({others[rival]})"
        taken_for = to_predictions(text, true=index, predicted=rival)
    if np.isnan(recall[index]):
        return [names[index], formatting.ABSENT, "", "0 of 0", formatting.ABSENT, taken_for]
    bar = element("span", style=f"width:{100 * recall[index]:.1f}%")
    return [
        to_predictions(names[index], true=index),
        formatting.percent(recall[index]),
        element("span", bar, class_="meter"),
        f"{row[index]} of {row.sum()}",
        formatting.ABSENT if np.isnan(precision[index]) else formatting.percent(precision[index]),
        taken_for,
    ]


def _pair_row(
    true: int,
    predicted: int,
    names: Sequence[str],
    wrong: npt.NDArray[np.int64],
    totals: npt.NDArray[np.int64],
) -> list[object]:
    back: object = formatting.ABSENT
    if wrong[predicted, true]:
        text = f"{wrong[predicted, true]} of {totals[predicted]}"
        back = to_predictions(text, true=predicted, predicted=true)
    number = wrong[true, predicted]
    return [
        element("span", names[true]),
        element("span", names[predicted]),
        to_predictions(f"{number} of {totals[true]}", true=true, predicted=predicted),
        formatting.percent(number / totals[true]),
        back,
    ]


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value))
    return formatting.ABSENT if value is None else str(value)
