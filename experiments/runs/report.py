"""Build a run's `report.html`, and `predictions.html` with every test clip.

The pages ask nothing of the network: styles are inline, and pictures are data URIs or, of the
predictions, files in `strips/` beside the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common import formatting
from common.errors import InputError
from experiments.runs import metrics, plots
from experiments.runs.directory import THRESHOLD, Predictions, Run, read_run
from experiments.runs.files import PAGE, RunFileError
from experiments.runs.html import draw_themes, write_page
from experiments.runs.records import FIELDS, check_result
from experiments.runs.strips import (
    FRAMES_IN_FILE,
    FRAMES_IN_REPORT,
    Sampling,
    Shards,
    frame_images,
    read_explanations,
    write_strips,
)
from preprocess import open_shards
from preprocess.batches.views import FrameChoice, Views
from preprocess.errors import PreprocessError

PREDICTIONS_PAGE = "predictions.html"
NUM_WORST, NUM_BEST, NUM_PAIRS = 6, 3, 10
TOP = 5  # of more classes than so many, the headline is the accuracy among the first five


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
    predictions, result = run.predictions, dict.fromkeys(FIELDS) | run.result
    test = None
    if predictions is not None:
        _write_predictions_page(run_dir, predictions, shards, sampling)
        test = _test_values(run_dir, predictions, shards, sampling)
    page = run_dir / PAGE
    write_page(
        page,
        "runs/templates/report.html.jinja",
        title=run_dir.resolve().name,
        recorded=bool(run.result),
        result=result,
        config=run.config,
        validates_on_test=run.config.get("validation") == "test",
        is_demo=run.result.get("dataset", run.config.get("dataset")) == "demo",
        selection=(run.result | run.config).get("selection"),
        environment=environment(run.result),
        has_shards=shards is not None,
        sampling=sampling,
        lengths=_lengths(predictions, shards, sampling),
        test=test,
        names=predictions and predictions.class_names,
        **_curves(run),
    )
    return page


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


def _sampling(run: Run, shards: Shards | None) -> Sampling:
    flags, given = {**run.result, **run.config}, run.model.get("choice")
    try:
        choice = FrameChoice(**given) if given else None
        maxlen = None if flags.get("maxlen") is None else _count(flags["maxlen"])
        places = Views.parse(flags.get("views") or "1x1").temporal
        if choice and (choice.sampling, choice.start, places) == ("window", "first", 1):
            maxlen, choice = choice.num_frames, None  # the first frames after the stride
        return Sampling(
            stride=_count(flags.get("stride") or 1),
            maxlen=maxlen,
            stored_stride=1 if shards is None else shards.stride,
            choice=choice,
            places=places,
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


def _curves(run: Run) -> dict[str, Any]:
    """Loss and accuracy by epoch as a picture, and what is said of it."""
    history = run.history
    if history is None:
        return {"curves": None, "num_epochs": 0, "best_epoch": None}
    chance = run.result.get("chance")
    has_several = run.predictions is not None and run.predictions.truth is not None
    is_scored = has_several and "validation_score" in history
    score_name = "mean average precision" if is_scored else None
    curves = draw_themes(
        lambda theme: plots.curves_png(history, chance=chance, score_name=score_name, theme=theme),
        run.path / "curves.png",
    )
    return {
        "curves": curves,
        "num_epochs": len(history["epoch"]),
        "best_epoch": plots.best_epoch(history),
    }


def _lengths(
    predictions: Predictions | None, shards: Shards | None, sampling: Sampling
) -> dict[str, Any] | None:
    """How long the clips are and what truncation at `maxlen` costs; None if no clip is known."""
    if shards is not None:
        stored, whose = shards.num_frames, "all"
    elif predictions is not None:
        stored, whose = predictions.num_frames, "the test"
    else:
        return None
    if shards is None and sampling.stride > 1:  # the stride that was stored is not known
        sampling = Sampling()
        whose = "before the stride, the test"
    num_frames = sampling.lengths(stored)
    if num_frames.size == 0:
        return {"num_clips": 0}
    maxlen = None if sampling.choice else sampling.maxlen
    low, q1, median, q3, high = np.percentile(num_frames, (0, 25, 50, 75, 100))
    total = num_frames.sum()
    return {
        "whose": whose,
        "num_clips": num_frames.size,
        "sampling": sampling,
        "maxlen": maxlen,
        "num_cut": int(np.sum(num_frames > maxlen)) if maxlen else 0,
        "kept": np.minimum(num_frames, maxlen).sum() / total if maxlen and total else None,
        "figures": [num_frames.size, low, q1, median, num_frames.mean(), q3, high, total],
        "histogram": draw_themes(
            lambda theme: plots.lengths_png(num_frames, maxlen=maxlen, theme=theme)
        ),
    }


def _test_values(
    run_dir: Path, predictions: Predictions, shards: Shards | None, sampling: Sampling
) -> dict[str, Any]:
    """Compute the template's values from the predictions of the test clips."""
    names, total = predictions.class_names, len(predictions.clips)
    num_right = int(np.sum(predictions.correct))
    by_confidence = np.argsort(-predictions.confidence, kind="stable")
    right = predictions.correct[by_confidence]

    explained, sees_pixels = read_explanations(run_dir)

    def shown_clips(places: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        return [
            _clip(predictions, int(i))
            | {"frames": frame_images(predictions.clips[i], shards, sampling)}
            for i in places
        ]

    def top_k(k: int) -> float:
        return metrics.top_k_accuracy(predictions.labels, predictions.probabilities, k=k)

    return {
        "num_clips": total,
        "num_right": num_right,
        "num_wrong": total - num_right,
        "interval": metrics.wilson_interval(num_right, total),
        "top2": top_k(2),
        "top5": top_k(TOP) if len(names) > TOP else None,
        **(_one_class(run_dir, predictions) if predictions.truth is None else {}),
        "ranked": None if predictions.truth is None else _ranked_classes(predictions),
        "threshold": THRESHOLD,
        "frames_in_strip": FRAMES_IN_REPORT,
        "num_explained": len(explained),
        "sees_pixels": sees_pixels,
        "mistakes": [
            clip | {"explained": explained.get(clip["source"])}
            for clip in shown_clips(predictions.worst_mistakes[:NUM_WORST])
        ],
        "successes": shown_clips(by_confidence[right][:NUM_BEST]),
    }


def _one_class(run_dir: Path, predictions: Predictions) -> dict[str, Any]:
    """Values of the confusion matrix for the template, where each clip has one class."""
    names = predictions.class_names
    counts = metrics.confusion_matrix(
        predictions.labels, predictions.predicted, num_classes=len(names)
    )
    pairs = list(_confused_pairs(counts))
    has_counts = len(names) <= plots.MAX_CLASSES_WITH_COUNTS
    return {
        "matrix": draw_themes(
            lambda theme: plots.confusion_png(counts, names, theme=theme),
            run_dir / "confusion_matrix.png",
        ),
        "matrix_has_counts": has_counts,
        # Without counts the names are small: the picture is as wide as they need to be read.
        "matrix_width": 460 + 30 * len(names) if has_counts else max(1230, 16 * len(names)),
        "num_pairs": len(pairs),
        "pairs": pairs[:NUM_PAIRS],
        "classes": _classes(counts),
    }


def _ranked_classes(predictions: Predictions) -> dict[str, Any]:
    """Average precision of each class, where a clip may be of several; the weakest first."""
    assert predictions.truth is not None
    found = metrics.average_precisions(predictions.probabilities, predictions.truth)
    chosen = predictions.probabilities >= THRESHOLD
    right = (chosen & predictions.truth).sum(axis=0)
    total, num_chosen = predictions.truth.sum(axis=0), chosen.sum(axis=0)
    return {
        "mean": metrics.mean_average_precision(predictions.probabilities, predictions.truth),
        "classes": [
            {
                "index": i,
                "average_precision": None if np.isnan(found[i]) else found[i],
                "total": total[i],
                "share": total[i] / len(predictions.clips),
                "chosen": num_chosen[i],
                "right": right[i],
            }
            for i in np.argsort(np.where(np.isnan(found), 2, found), kind="stable")
        ],
    }


def _confused_pairs(counts: npt.NDArray[np.int64]) -> Iterator[dict[str, int]]:
    """Pairs of a true and a predicted class, the most frequent first, then by share."""
    totals = counts.sum(axis=1)
    wrong = counts - np.diag(np.diag(counts))
    pairs = np.argwhere(wrong)  # (P, 2) true and predicted
    number = wrong[pairs[:, 0], pairs[:, 1]]
    for true, predicted in pairs[np.lexsort((-number / totals[pairs[:, 0]], -number))]:
        yield {
            "true": true,
            "predicted": predicted,
            "number": wrong[true, predicted],
            "total": totals[true],
            "back": wrong[predicted, true],
            "back_total": totals[predicted],
        }


def _classes(counts: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """Recall and precision of each class, the weakest first and those without a clip last."""
    recall, precision = metrics.per_class_recall(counts), metrics.per_class_precision(counts)
    wrong = counts - np.diag(np.diag(counts))
    return [
        {
            "index": i,
            "right": counts[i, i],
            "total": counts[i].sum(),
            "recall": None if np.isnan(recall[i]) else recall[i],
            "precision": None if np.isnan(recall[i] + precision[i]) else precision[i],
            "rival": wrong[i].argmax(),
            "num_taken": wrong[i].max(),
        }
        for i in np.argsort(np.where(np.isnan(recall), 2, recall), kind="stable")
    ]


def _clip(predictions: Predictions, i: int) -> dict[str, Any]:
    return {
        "source": predictions.clips[i],
        "group": predictions.groups[i],
        "num_frames": predictions.num_frames[i],
        "label": predictions.labels[i],
        # Several where the clip may be of several classes.
        "own": predictions.own_labels(i),
        "predicted": predictions.predicted[i],
        "confidence": predictions.confidence[i],
        "true_probability": predictions.true_probability[i],
        "true_rank": predictions.true_rank[i],
    }


def _write_predictions_page(
    run_dir: Path, predictions: Predictions, shards: Shards | None, sampling: Sampling
) -> None:
    """Write predictions.html and the folder strips/ into a run's directory."""
    strips = write_strips(run_dir, predictions.clips, shards, sampling)
    by_path = sorted(range(len(predictions.clips)), key=predictions.clips.__getitem__)
    num_classes = len(predictions.class_names)
    write_page(
        run_dir / PREDICTIONS_PAGE,
        "runs/templates/predictions.html.jinja",
        title=f"Predictions of {run_dir.resolve().name}",
        names=predictions.class_names,
        clips=[_clip(predictions, i) | {"strip": strips[i]} for i in by_path],
        num_right=int(predictions.correct.sum()),
        num_true=np.bincount(predictions.labels, minlength=num_classes)
        if predictions.truth is None
        else predictions.truth.sum(axis=0),
        num_predicted=np.bincount(predictions.predicted, minlength=num_classes),
        num_missing=strips.count(None),
        has_several=predictions.truth is not None,
        has_shards=shards is not None,
        num_frames=FRAMES_IN_FILE,
        sampling=sampling,
    )
