"""Report of a trained scorer: a self-contained `report.html`, with its plots as PNG beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.files import write_atomically
from experiments.highlights.training.batches import PictureBatches
from experiments.highlights.training.data import TrainingData, balance_of
from experiments.highlights.training.evaluation import WINDOW_SECONDS, Evaluation, Suggestion, worst
from experiments.highlights.training.examples import Examples
from experiments.highlights.training.picture_metrics import NUM_BINS, Calibration, TradeOff
from experiments.runs import formatting, plots
from experiments.runs.directory import read_history
from experiments.runs.plots import LIGHT, Theme, dress, new_figure, png_bytes
from experiments.runs.report import sections
from experiments.runs.report.clips import thumbnail
from experiments.runs.report.markup import (
    Markup,
    card,
    element,
    navigation,
    page_html,
    picture,
    section,
    table,
)
from experiments.runs.report.page import environment
from preprocess.video.time_ranges import format_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Sections of the page in their order; the navigation links to them by these titles.
TITLES = (
    *("Trade-off", "Calibration", "Curves", "Class balance", "Worst mistakes"),
    *("Configuration", "Environment"),
)
FEW_GROUPS = 5  # with fewer the page warns that the figures say little of another group
NUM_WORST = 12  # mistakes shown of each kind
PICTURE_HEIGHT = 320  # pixels


@dataclass(frozen=True)
class Report:
    """Report page of one run.

    Args:
        run_dir: folder that holds metrics.csv and gets report.html and the PNGs.
        result: contents of result.json.
        config: contents of config.json.
        data: pictures trained on and validated with.
        evaluation: evaluation of the validation pictures.
        batches: batches that give the validation pictures themselves.
        score_name: name of the score by which the best epoch was chosen.
    """

    run_dir: Path
    result: dict[str, Any]
    config: dict[str, Any]
    data: TrainingData
    evaluation: Evaluation
    batches: PictureBatches
    score_name: str

    def write(self) -> Path:
        """Write the page and its plots, and return the path of the page."""
        parts = [
            *_head(self),
            self._trade_off(),
            self._calibration(),
            self._curves(),
            _balance(self.data),
            self._mistakes(),
            sections.settings("Configuration", self.config),
            sections.settings("Environment", environment(self.result)),
        ]
        page = self.run_dir / "report.html"
        write_atomically(page, page_html(self.run_dir.resolve().name, parts).encode())
        return page

    def _picture(self, name: str, draw: Callable[[plots.Theme], bytes], alt: str) -> Markup:
        """Draw a plot in both colour schemes, and keep the light one as NAME.png too."""
        light, dark = draw(plots.LIGHT), draw(plots.DARK)
        write_atomically(self.run_dir / f"{name}.png", light)
        return picture(light, dark, alt=alt)

    def _trade_off(self) -> Markup:
        evaluation = self.evaluation
        image = self._picture(
            "trade_off",
            lambda theme: trade_off_png(evaluation, theme=theme),
            "Precision against recall, and both against the threshold",
        )
        words = (
            f"A reel takes the mean over {WINDOW_SECONDS:g} seconds before it compares with its "
            "threshold, so the threshold is chosen on such means, clip by clip. At a higher one "
            "the reel holds fewer false alarms, and misses more."
        )
        return section(
            "Trade-off", _suggested(evaluation), element("p", words, class_="soft"), image
        )

    def _calibration(self) -> Markup:
        found = self.evaluation.calibration
        image = self._picture(
            "calibration",
            lambda theme: calibration_png(found, theme=theme),
            "Said against true probabilities, and how many pictures there are of each",
        )
        words = (
            f"Expected calibration error {found.expected_error:.3f}, Brier score "
            f"{found.brier:.3f}, of single pictures. A point of a few pictures says little."
        )
        return section("Calibration", element("p", words, class_="soft"), image)

    def _curves(self) -> Markup:
        history = read_history(self.run_dir / "metrics.csv")
        assert history is not None
        # The accuracy has a plot in any case.
        name = None if self.score_name == "accuracy" else self.score_name
        image = self._picture(
            "curves",
            lambda theme: plots.curves_png(history, score_name=name, theme=theme),
            "Loss, accuracy and score of training and validation by epoch",
        )
        words = (
            f"{len(history['epoch'])} epochs. The star marks epoch {plots.best_epoch(history)}, "
            f"the best by validation {self.score_name}: its weights are kept as best.keras."
        )
        return section("Curves", element("p", words, class_="soft"), image)

    def _mistakes(self) -> Markup:
        kinds = (
            (0, "False alarms", "No highlight by the labels, most probable first."),
            (1, "Misses", "Highlights by the labels, least probable first."),
        )
        content: list[object] = []
        for label, title, words in kinds:
            places = worst(
                self.evaluation, label=label, most=NUM_WORST, apart_seconds=WINDOW_SECONDS
            )
            content.append(element("h3", title))
            words = words if places else "None: no such picture is on the wrong side of 50 %."
            content.append(element("p", words, class_="soft"))
            content.append(element("div", *map(self._shot, places), class_="shots"))
        return section("Worst mistakes", *content)

    def _shot(self, place: np.int64) -> Markup:
        examples = self.evaluation.examples
        clip = examples.clips[examples.clip[place]]
        when = format_time(float(examples.time[place]))
        probability = formatting.percent(float(self.evaluation.probabilities[place]))
        image = thumbnail(self.batches.picture(int(place)), most_height=PICTURE_HEIGHT)
        words = [element("b", probability), f" at {when}", element("br"), clip.source]
        alt = f"{clip.source} at {when}"
        return element("figure", element("img", src=image, alt=alt), element("figcaption", *words))


def _head(report: Report) -> list[Markup]:
    """Make everything above the first section."""
    result, data = report.result, report.data
    how = (
        f"{result['model']} with the {result['recipe']} recipe: {len(data.train):,} pictures of "
        f"{len(data.train.clips)} clips to train on, {len(data.validation):,} of "
        f"{len(data.validation.clips)} to validate."
    )
    origin = [f"{str(result['date'])[:16].replace('T', ' ')} UTC · "]
    return [
        element("div", element("h1", report.run_dir.resolve().name), class_="title"),
        element("p", how, class_="lead"),
        element("p", *origin, element("code", result["command"]), class_="soft"),
        element("div", *_cards(report.evaluation, result), class_="cards"),
        element("p", _trust(data.validation), class_="note"),
        navigation(TITLES),
    ]


def _cards(evaluation: Evaluation, result: dict[str, Any]) -> list[Markup]:
    interval = evaluation.interval
    more = "of single validation pictures"
    # An interval of no width, of a perfect scorer, would promise too much.
    if interval is not None and interval[0] < interval[1]:
        more += f"; 95 % interval {interval[0]:.2f} to {interval[1]:.2f} over other clips"
    more += f"; chance {np.mean(evaluation.examples.label):.2f}"
    chosen = evaluation.suggestion
    kept = (
        f"precision {formatting.percent(chosen.precision)}, recall "
        f"{formatting.percent(chosen.recall)} of means over {WINDOW_SECONDS:g} s"
    )
    return [
        card("average precision", formatting.share(evaluation.average_precision), more),
        card("suggested threshold", f"{chosen.threshold:.2f}", kept),
        card("accuracy", formatting.percent(evaluation.accuracy), "of single pictures, at 50 %"),
        card(
            "wall time",
            formatting.duration(result["wall_seconds"]),
            f"{result['epochs']} epochs at {result['pictures_per_second']:,.0f} pictures a "
            f"second; {formatting.count(result['params'])} parameters",
        ),
    ]


def _trust(validation: Examples) -> str:
    """Text on how far the figures can be trusted."""
    highlights = sum(len(clip.labels.highlights) for clip in validation.clips)
    groups = len(validation.groups)
    words = (
        f"Split by group: the validation clips are of {groups} group{'s' * (groups != 1)} that "
        f"training never saw ({', '.join(validation.groups)}), with {highlights} "
        f"highlight{'s' * (highlights != 1)} in {len(validation.clips)} clips. Best epoch and "
        "threshold were chosen on the same clips, so the figures are on the bright side."
    )
    if groups < FEW_GROUPS:
        words += (
            " So few groups say little of another: train with other values of --seed, which "
            "split otherwise, and compare."
        )
    return words


def _suggested(evaluation: Evaluation) -> Markup:
    chosen = evaluation.suggestion
    words = f"Threshold {chosen.threshold:.2f}: "
    if chosen.wanted is None:
        words += f"the best F1, {chosen.f1:.3f}."
    elif chosen.reached:
        words += f"the best recall at a precision of at least {chosen.wanted:g}."
    else:
        words += f"no threshold reaches the precision {chosen.wanted:g}; this comes nearest."
    return element("p", words)


def _balance(data: TrainingData) -> Markup:
    header = ("Part", "Clips", "Groups", "Pictures", "Highlights", "", "Share", "Seconds", "Hard")
    rows = [_balance_row(name.capitalize(), part) for name, part in data.parts.items()]
    words = (
        "Pictures of which the labels tell whether they show a highlight. Hard: those that were "
        "mistaken for a highlight, by a label of their own. Seconds: of highlights, of all."
    )
    return section("Class balance", element("p", words, class_="soft"), table(header, rows))


def _balance_row(name: str, part: Examples) -> list[object]:
    share = part.num_positive / len(part)
    balance = balance_of(part)
    bar = element("span", style=f"width:{100 * share:.1f}%")
    return [
        name,
        *map(formatting.count, (len(part.clips), len(part.groups), len(part), part.num_positive)),
        element("span", bar, class_="meter"),
        formatting.percent(share),
        f"{balance.positive_seconds:,.0f} of {balance.total_seconds:,.0f}",
        formatting.count(part.hard.sum()),
    ]


_LIMITS = (-0.02, 1.02)  # of axes from 0 to 1, so that lines at 0 and 1 are not cut
_SMOOTHED = f"mean over {WINDOW_SECONDS:g} s"


def trade_off_png(evaluation: Evaluation, *, theme: Theme = LIGHT) -> bytes:
    """Plot precision against recall, and both against the threshold; PNG of 1500 x 660 px."""
    figure = new_figure(10, 4.4, theme)
    curves, thresholds = figure.subplots(1, 2)
    _draw_precision_recall(curves, evaluation, theme)
    _draw_thresholds(thresholds, evaluation.smoothed_curve, evaluation.suggestion, theme)
    return png_bytes(figure)


def calibration_png(calibration: Calibration, *, theme: Theme = LIGHT) -> bytes:
    """Plot observed against predicted probabilities, and the counts; PNG of 1500 x 600 px."""
    figure = new_figure(10, 4, theme)
    reliability, counts = figure.subplots(1, 2)
    filled = calibration.counts > 0
    reliability.plot([0, 1], [0, 1], ":", color=theme.text, linewidth=1, label="perfect")
    reliability.plot(
        calibration.said[filled],
        calibration.true[filled],
        "o-",
        color=theme.train,
        linewidth=1.8,
        label=f"expected error {calibration.expected_error:.3f}",
    )
    _square(reliability, "Calibration", "probability said", "share that are highlights", theme)
    left = np.arange(NUM_BINS) / NUM_BINS
    bars = counts.bar(
        left, calibration.counts, 1 / NUM_BINS, align="edge", color=theme.train, zorder=2
    )
    for bar in bars:
        # Touching bars are told apart by an edge in the background's colour.
        bar.set_edgecolor(theme.background)
    # Heights of thousands and of one cannot be read off the same axis, so each bar has its number.
    for place, number in zip(left, calibration.counts, strict=True):
        middle = place + 0.5 / NUM_BINS
        counts.annotate(
            f"{number}",
            (middle, number),
            (0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=theme.text,
        )
    _title(counts, "Pictures of each probability", "probability said", "pictures", theme)
    return png_bytes(figure)


def _draw_precision_recall(axes: Axes, evaluation: Evaluation, theme: Theme) -> None:
    share = float(np.mean(evaluation.examples.label))
    drawn: tuple[tuple[TradeOff, float, str, str, str], ...] = (
        *((evaluation.curve, evaluation.average_precision, "single pictures", theme.train, "--"),),
        (
            *(evaluation.smoothed_curve, evaluation.smoothed_average_precision, _SMOOTHED),
            *(theme.validation, "-"),
        ),
    )
    for curve, average, name, colour, dashes in drawn:
        label = f"{name}: AP {average:.3f}"
        # The curve ends at its highest threshold; it is drawn on to recall 0 at the same precision.
        recall = np.append(curve.recall, 0.0)
        precision = np.append(curve.precision, curve.precision[-1])
        axes.step(recall, precision, dashes, where="post", color=colour, linewidth=1.8, label=label)
    axes.axhline(share, color=theme.text, linestyle=":", linewidth=1, label=f"chance {share:.3f}")
    chosen = evaluation.suggestion
    # Not clipped, since a threshold of recall or precision 1 lies near the edge of the axes.
    mark: dict[str, Any] = {"markersize": 13, "zorder": 5, "clip_on": False, "linestyle": ""}
    label = f"threshold {chosen.threshold:.2f}"
    axes.plot(
        [chosen.recall], [chosen.precision], marker="*", color=theme.accent, label=label, **mark
    )
    _square(axes, "Precision against recall", "recall", "precision", theme)


def _draw_thresholds(axes: Axes, curve: TradeOff, chosen: Suggestion, theme: Theme) -> None:
    lines = (
        ("precision", curve.precision, theme.train, "--"),
        ("recall", curve.recall, theme.validation, "-"),
        ("F1", curve.f1, theme.text, ":"),
    )
    for name, values, colour, dashes in lines:
        axes.plot(curve.thresholds, values, dashes, color=colour, linewidth=1.8, label=name)
    axes.axvline(
        chosen.threshold,
        color=theme.accent,
        linewidth=1.4,
        label=f"suggested {chosen.threshold:.2f}",
    )
    _square(axes, f"The {_SMOOTHED} against a threshold", "threshold", "", theme)


def _square(axes: Axes, title: str, x: str, y: str, theme: Theme) -> None:
    axes.set_xlim(*_LIMITS)
    axes.set_ylim(*_LIMITS)
    _title(axes, title, x, y, theme)
    axes.legend(loc="best", fontsize=9, frameon=False, labelcolor=theme.text)


def _title(axes: Axes, title: str, x: str, y: str, theme: Theme) -> None:
    axes.set_title(title, fontsize=11, loc="left", fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    dress(axes, theme)
    axes.grid(color=theme.grid, linewidth=0.8)
