"""Build a run's `report.html`, and `predictions.html` with every test clip.

The pages ask nothing of the network: styles are inline, and pictures are data URIs or, of the
predictions, files in `strips/` beside the page.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError
from common.files import write_atomically
from experiments.runs import formatting, metrics, plots
from experiments.runs.directory import PAGE, Predictions, Run, read_run
from experiments.runs.files import RunFileError
from experiments.runs.formatting import or_absent
from experiments.runs.metrics import confusion_matrix
from experiments.runs.records import check_result
from experiments.runs.report import clips, sections
from experiments.runs.report.clips import Sampling, Shards
from experiments.runs.report.markup import (
    Markup,
    card,
    element,
    join,
    navigation,
    page_html,
    to_predictions,
)
from experiments.runs.report.predictions import write_predictions_page
from experiments.runs.report.sections import MATRIX
from preprocess import open_shards
from preprocess.batches.views import FrameChoice, Views
from preprocess.errors import PreprocessError


def write_report(run_dir: Path, shards: Shards | None = None) -> Path:
    """Write report.html with its pictures, and predictions.html with its strips; return the first.

    Args:
        run_dir: holds config.json, metrics.csv, predictions.csv and result.json; a failed run may
            lack any of them, and the page says so.
        shards: `preprocess.open_shards(...)`, for strips of frames and the lengths of all clips.
    """
    run = read_run(run_dir)
    check_result(run.result, run_dir / "result.json")
    sampling = _sampling(run, shards)
    if run.history is not None:
        curves = plots.curves_png(run.history, chance=run.result.get("chance"))
        write_atomically(run_dir / "curves.png", curves)
    if run.predictions is not None:
        names = run.predictions.class_names
        labels, predicted = run.predictions.labels, run.predictions.predicted
        counts = confusion_matrix(labels, predicted, num_classes=len(names))
        write_atomically(run_dir / MATRIX, plots.confusion_png(counts, names))
        write_predictions_page(run_dir, run.predictions, shards, sampling)
    page = run_dir / PAGE
    write_atomically(page, _report_html(run, shards, sampling).encode())
    return page


def _report_html(run: Run, shards: Shards | None, sampling: Sampling) -> str:

    selection = {**run.result, **run.config}.get("selection")
    parts: list[Markup] = [sections.curves(run.history, run.result.get("chance"), selection)]
    if run.predictions is not None:
        parts.append(sections.confusion(run.predictions))
        parts.append(sections.confused_pairs(run.predictions))
        parts.append(sections.classes(run.predictions))
        parts.append(clips.mistakes(run.predictions, shards, sampling))
    parts.append(clips.lengths(run.predictions, shards, sampling))
    parts.append(sections.settings("Configuration", run.config))
    parts.append(sections.settings("Environment", environment(run.result)))
    title, top = head(run)
    return page_html(title, [top, *parts])


def _sampling(run: Run, shards: Shards | None) -> Sampling:

    flags, choice = {**run.result, **run.config}, run.model.get("choice")
    try:
        return Sampling(
            stride=_count(flags.get("stride") or 1),
            maxlen=None if flags.get("maxlen") is None else _count(flags["maxlen"]),
            stored_stride=1 if shards is None else shards.stride,
            choice=FrameChoice(**choice) if choice else None,
            places=Views.parse(flags.get("views") or "1x1").temporal,
        )
    except (TypeError, ValueError, AttributeError, PreprocessError) as error:
        raise RunFileError(
            f"config.json, result.json or model.json of {run.path} is damaged: {error}. Take them "
            "from the run again."
        ) from error


def _count(value: object) -> int:
    """Check a number of frames; raises InputError."""
    if type(value) is not int or not 1 <= value < 2**31:
        raise InputError(f"stride and maxlen must be whole numbers from 1. Received {value!r:.80}")
    return value


def rebuild_report(run_dir: Path, shards: Path | None = None) -> Path:
    """Write a run's report anew; return its page.

    Args:
        run_dir: the run's directory.
        shards: where its frames are; None for what its config.json says, if that still exists.
    """
    folder = shards or _existing(read_run(run_dir).config.get("shards"))
    if folder is None:
        return write_report(run_dir)

    return write_report(run_dir, open_shards(folder))


def environment(result: dict[str, Any]) -> dict[str, Any]:
    """Environment of a result: its command, commit and machine."""
    machine, versions = dict(result.get("machine") or {}), dict(result.get("versions") or {})
    if machine.get("memory_bytes"):
        machine["memory"] = formatting.size(machine.pop("memory_bytes"))
    named = {name: result.get(name) for name in ("command", "commit", "date")}
    return {**named, **machine, **versions} if machine or versions or any(named.values()) else {}


def _existing(folder: object) -> Path | None:
    """A folder that config.json names, if it is a folder's name and there is one."""
    is_name = isinstance(folder, str) and folder and "\0" not in folder
    return Path(str(folder)) if is_name and Path(str(folder)).is_dir() else None


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
    """Sentence that says what was run."""
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
