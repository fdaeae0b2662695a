"""The top of report.html: what was run, the headline numbers, the leak between the folds."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.runs import formatting, metrics
from experiments.runs.directory import Predictions, Run
from experiments.runs.formatting import or_absent
from experiments.runs.report.markup import Markup, card, element, join, navigation, to_predictions

ON_PREDICTIONS = ("Confusion matrix", "Most confused pairs", "Accuracy by class", "Worst mistakes")
SECTIONS = ("Curves", *ON_PREDICTIONS, "Clip lengths", "Configuration", "Environment")
TOP = 5


def head(run: Run) -> tuple[str, Markup]:
    """The page's title and everything above its first section."""
    title = run.path.resolve().name
    is_demo = run.result.get("dataset", run.config.get("dataset")) == "demo"
    badge = [element("span", "DEMO", class_="badge")] if is_demo else []
    validates_on_test = run.config.get("validation") == "test"
    parts = [
        element("div", element("h1", title), *badge, class_="title"),
        element("p", what_was_run(run.result), class_="lead"),
        _origin(run.result),
        *([element("p", _DEMO, class_="note bad")] if is_demo else []),
        *_status(run.result),
        element("div", *_cards(run), class_="cards"),
        element("p", leak(run.result), class_="note"),
        *([element("p", _SEEN, class_="note bad")] if validates_on_test else []),
        _navigation(run),
    ]
    return title, join(parts)


_DEMO = (
    "This is the built-in demo set: rendered clips whose classes differ by motion. "
    "Its numbers show that the suite works; they are not comparable with any published figure."
)
_SEEN = (
    "The validation clips are the test clips, as in the published script: the validation curve "
    "is no second opinion."
)


def what_was_run(result: dict[str, Any]) -> str:
    """One sentence."""
    if not result:
        return "This run left no result.json: it was stopped, or is still going on."
    model = (result.get("model") or "a model").upper()
    words = f"{model} with the {result.get('recipe') or 'given'} recipe on {result.get('dataset')}"
    if result.get("num_clips") and result.get("num_classes"):
        words += (
            f": {formatting.count(result['num_clips'])} clips of {result['num_classes']} classes"
        )
    if result.get("maxlen"):
        words += f", at most {result['maxlen']} frames a clip"
    if (result.get("stride") or 1) > 1:
        words += f", every {formatting.ordinal(result['stride'])} frame"
    if result.get("epochs"):
        words += f", {result['epochs']} epochs"
    return words + "."


def _origin(result: dict[str, Any]) -> Markup:
    """When, from which commit and by which command."""
    parts: list[object] = []
    if result.get("date"):
        parts.append(f"{str(result['date'])[:16].replace('T', ' ')} UTC")
    if result.get("commit"):
        parts.append(f"commit {result['commit']}")
    if result.get("command"):
        parts.append(element("code", result["command"]))
    separated = [piece for part in parts for piece in (" · ", part)][1:]
    return element("p", *separated, class_="soft")


def leak(result: dict[str, Any]) -> str:
    """How far the split keeps scenes apart."""
    split, fold, num_folds = (result.get(name) for name in ("split", "fold", "num_folds"))
    words = f"{(split or 'unknown').capitalize()} split"
    if fold is not None and num_folds:
        words += f", fold {fold} of {num_folds} (counted from 0)"
    clips, siblings = result.get("num_test_clips"), result.get("num_test_clips_with_sibling")
    if clips is None or siblings is None:
        return words + ": how many test clips have a sibling in training was not recorded."
    verb = "has" if siblings == 1 else "have"
    words += (
        f": {siblings:,} of {clips:,} test clips {verb} a sibling of the same group in training."
    )
    if siblings:
        words += " A scene seen in training helps with its sibling, so read the accuracy as high."
    return words


def _status(result: dict[str, Any]) -> list[Markup]:
    status = result.get("status")
    return (
        [element("p", f"This run {status}", class_="note bad")]
        if status not in (None, "ok")
        else []
    )


def _cards(run: Run) -> list[Markup]:
    result = run.result
    cards = [*_accuracy_cards(run.predictions, result), *_parameter_cards(result)]
    wall, speed, peak = (
        result.get(name) for name in ("wall_seconds", "frames_per_second", "peak_rss_bytes")
    )
    if wall is not None:
        epochs = result.get("epochs")
        cards.append(
            card("wall time", formatting.duration(wall), f"{epochs} epochs" if epochs else "")
        )
    if speed is not None:
        cards.append(card("training speed", formatting.count(speed), "frames a second"))
    if peak is not None:
        cards.append(
            card("peak memory", formatting.size(peak), "resident, of the training process")
        )
    return cards


def _accuracy_cards(predictions: Predictions | None, result: dict[str, Any]) -> list[Markup]:
    if predictions is None:
        return [card("test accuracy", formatting.ABSENT, "no predictions were made")]
    right, total = int(np.sum(predictions.correct)), len(predictions.clips)
    low, high = metrics.wilson_interval(right, total)
    chance = result.get("chance")
    interval = f"95 % interval {100 * low:.1f} to {formatting.percent(high)}"
    if chance is not None:
        interval += f"; chance is {formatting.percent(chance)}"
    value, clips = formatting.percent(right / total), f"{right:,} of {total:,}"
    if len(predictions.class_names) > TOP:
        more = f"{clips} clips; {interval}"
        cards = [card("test accuracy, top-1", value, more), _top_card(predictions, result)]
    else:
        top_2 = metrics.top_k_accuracy(predictions.labels, predictions.probabilities, k=2)
        among = f"true class among the first 2: {formatting.percent(top_2)}"
        cards = [card("test accuracy", value, interval), card("test clips right", clips, among)]
    if result.get("validation_accuracy") is not None:
        train, last = result.get("train_accuracy"), result.get("accuracy_last")
        more = f"training {or_absent(train, formatting.percent)}"
        more += f"; last epoch's model on test {or_absent(last, formatting.percent)}"
        value = formatting.percent(result["validation_accuracy"])
        cards.append(card("validation accuracy", value, more))
    return cards


def _top_card(predictions: Predictions, result: dict[str, Any]) -> Markup:
    """The accuracy as it was recorded, or of the predictions where a run did not record it."""
    accuracy = result.get("accuracy_top5")
    if accuracy is None:
        accuracy = metrics.top_k_accuracy(predictions.labels, predictions.probabilities, k=TOP)
    more = f"true class among the {TOP} most probable"
    return card(f"test accuracy, top-{TOP}", formatting.percent(accuracy), more)


def _parameter_cards(result: dict[str, Any]) -> list[Markup]:
    params, tt_params = result.get("params"), result.get("tt_params")
    cards = []
    if params is not None:
        layer = or_absent(result.get("compression_layer"), formatting.times)
        more = f"the recurrent layer is {layer} smaller than dense" if tt_params else "dense"
        cards.append(card("parameters", formatting.count(params), more))
    if tt_params is not None:
        kernel = or_absent(result.get("compression_kernel"), formatting.times)
        more = f"{kernel} smaller than the dense kernel; the recurrent matrix stays dense"
        cards.append(card("input kernel's parameters", formatting.count(tt_params), more))
    return cards


def _navigation(run: Run) -> Markup:
    if run.predictions is not None:
        return navigation(SECTIONS, to_predictions("All predictions"))
    return navigation(name for name in SECTIONS if name not in ON_PREDICTIONS)
