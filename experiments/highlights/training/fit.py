"""Training of a scorer once its data are read: epochs, evaluation and the files of a run.

It imports TensorFlow, so `commands.train` imports it after the thread pools are set.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.errors import InputError
from common.files import write_atomically
from experiments.clips.evaluation import load_classifier
from experiments.clips.scorer import MODEL, write_scorer
from experiments.clips.scorer_model import Scorer, load_scorer
from experiments.highlights.scoring.scorer_network import begin_from, build_scorer
from experiments.highlights.training.augmentation import build_change
from experiments.highlights.training.batches import ImageBatches, drawing_weights
from experiments.highlights.training.data import TrainingData
from experiments.highlights.training.evaluation import (
    SCORE_NAMES,
    Evaluation,
    precision_at_length,
    score_of,
    smoothed_by_clip,
    write_predictions,
)
from experiments.highlights.training.recipes import Recipe, TrainOptions, config_of
from experiments.highlights.training.report import write_report
from experiments.process.environment import describe_environment, git_commit
from experiments.runs.run import write_config
from experiments.training.history import History
from experiments.training.loop import Classifier, train_and_test
from experiments.training.optimizers import scheduled_rate

DEFAULT_PRECISION = 0.9  # of `--select recall-at-precision` without `--precision`


@dataclass(frozen=True)
class Job:
    """One training: its options, recipe, data and directory."""

    options: TrainOptions
    recipe: Recipe
    data: TrainingData
    run_dir: Path


def fit(job: Job, config: dict[str, Any], started: float) -> dict[str, Any]:
    """Train a scorer, evaluate its best epoch and write the report.

    Args:
        job: the training.
        config: contents of config.json.
        started: `time.perf_counter()` at the start of the command.

    Returns:
        The contents of result.json.
    """
    classifier = _classifier(job)
    before = None if job.options.before is None else _scorer_before(job, job.options.before)
    # Only now: weights that do not fit the network end the command without a run behind it.
    write_config(job.run_dir, config)
    options, recipe, data = job.options, job.recipe, job.data
    train_batches, validation_batches = _batches(job)
    result = train_and_test(
        classifier,
        train_batches.shuffled,
        validation_batches.in_order,
        lambda history: _finish(job, classifier, history, validation_batches, before),
        epochs=recipe.epochs,
        clips_per_epoch=len(data.train) + len(data.validation),
        run_dir=job.run_dir,
        resume=options.resume,
        started=started,
        score=score_of(
            recipe.select,
            precision=options.precision or DEFAULT_PRECISION,
            examples=data.validation,
        ),
        score_name=SCORE_NAMES[recipe.select],
        unit="picture",
    )
    assert result is not None  # None is for the other processes of a distributed training
    return result


def _batches(job: Job) -> tuple[ImageBatches, ImageBatches]:
    """Make the batches of the training and of the validation pictures."""
    recipe, data = job.recipe, job.data
    same: dict[str, Any] = {"batch_size": recipe.batch_size, "seed": job.options.seed}
    weights = drawing_weights(
        data.train,
        least_share=recipe.least_positive_share,
        hard_negative_weight=recipe.hard_negative_weight,
    )
    shape = data.settings.frame_shape
    change = build_change(recipe, data.settings)
    return (
        ImageBatches(data.train, shape, weights=weights, change=change, **same),
        ImageBatches(data.validation, shape, **same),
    )


def _classifier(job: Job) -> Classifier:
    options, recipe = job.options, job.recipe
    model = build_scorer(
        options.depth,
        job.data.settings,
        layout=options.layout or "stacked",
        dropout=recipe.dropout,
        dtype=options.policy,
    )
    if options.weights is not None:
        print(begin_from(model, options.weights, options.depth))
    return Classifier(
        model,
        build_optimizer(recipe, len(job.data.train)),
        label_smoothing=recipe.label_smoothing,
        coupled_weight_decay=recipe.weight_decay if recipe.optimizer == "sgd" else 0.0,
    )


def _scorer_before(job: Job, run_dir: Path) -> Scorer:
    """Load the scorer of an earlier run, which must see the same pictures.

    Raises:
        ScorerError: if there is none.
        InputError: if its pictures are made in another way.
    """
    scorer = load_scorer(run_dir)
    if scorer.settings.frame_shape != job.data.settings.frame_shape:
        raise InputError(
            "--before must be a run on the same kind of pictures, "
            f"{job.data.settings.frame_shape}. "
            f"Those of {run_dir} are {scorer.settings.frame_shape}."
        )
    return scorer


def _change(
    job: Job, before: Scorer, validation: Evaluation, batches: ImageBatches
) -> dict[str, Any]:
    """Field of a result on what has changed since an earlier run, on all that is labelled.

    Args:
        job: the training.
        before: scorer of the earlier run.
        validation: evaluation of the new one on the validation clips.
        batches: batches of the validation pictures.
    """
    train = ImageBatches(
        job.data.train,
        job.data.settings.frame_shape,
        batch_size=job.recipe.batch_size,
        seed=job.options.seed,
    )
    now, _ = load_classifier(job.run_dir / MODEL).predict(train.in_order())
    then = [
        np.concatenate([before.predict(images) for images, _ in one.in_order()])
        for one in (train, batches)
    ]
    examples = (job.data.train, job.data.validation)
    labels = np.concatenate([one.label for one in examples])
    # Each clip is smoothed on its own, whichever part it is in.
    old = [
        smoothed_by_clip(one, scores.astype(float))
        for one, scores in zip(examples, then, strict=True)
    ]
    new = [smoothed_by_clip(job.data.train, now[:, 1].astype(float)), validation.smoothed]
    return {
        "before": str(job.options.before),
        "reviewed_before": precision_at_length(labels, np.concatenate(old)),
        "reviewed_after": precision_at_length(labels, np.concatenate(new)),
        "validation_before": precision_at_length(job.data.validation.label, old[1]),
        "validation_after": validation.precision_at_length,
    }


def _finish(
    job: Job,
    classifier: Classifier,
    history: History,
    batches: ImageBatches,
    before: Scorer | None,
) -> dict[str, Any]:
    """Evaluate the best epoch's model, and write the files of a finished run."""
    trained = time.perf_counter()
    # The kept file and not the model in memory, which is that of the last epoch.
    probabilities, _ = load_classifier(job.run_dir / MODEL).predict(batches.in_order())
    evaluation = Evaluation(
        job.data.validation, probabilities[:, 1].astype(float), job.options.precision
    )
    write_predictions(job.run_dir / "predictions.csv", evaluation)
    write_scorer(
        job.run_dir,
        job.data.settings,
        box=job.data.box,
        threshold=evaluation.suggestion.threshold,
        doubts=evaluation.doubts,
    )
    result = {
        **_circumstances(job),
        "params": classifier.model.count_params(),
        "best_epoch": history.best.epoch,
        **evaluation.figures(),
        **({} if before is None else {"change": _change(job, before, evaluation, batches)}),
        "pictures_per_second": history.frames_per_second,
        "wall_seconds": history.elapsed_seconds + time.perf_counter() - trained,
    }
    write_report(
        job.run_dir,
        result=result,
        config=config_of(job.options, job.recipe, job.data),
        data=job.data,
        evaluation=evaluation,
        batches=batches,
        score_name=SCORE_NAMES[job.recipe.select],
    )
    write_atomically(
        job.run_dir / "result.json", (json.dumps(result, indent=2, default=str) + "\n").encode()
    )
    return result


def _circumstances(job: Job) -> dict[str, Any]:
    """Fields of a result that say what was run on which data, where and when."""
    options, data = job.options, job.data
    counts = {
        f"num_{name}_{what}": number
        for name, subset in data.subsets.items()
        for what, number in (
            ("clips", len(subset.clips)),
            ("groups", len(subset.groups)),
            ("pictures", len(subset)),
            ("highlight_pictures", subset.num_positive),
        )
    }
    return {
        "experiment": "highlights",
        "command": command(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "model": (
            "frozen EfficientNet-Lite0 and ResNet-18"
            if options.layout == "pretrained"
            else f"ResNet-{options.depth}, {options.layout}"
        ),
        "recipe": " ".join([options.recipe, *options.set]),
        "select": job.recipe.select,
        "epochs": job.recipe.epochs,
        "batch_size": job.recipe.batch_size,
        "seed": options.seed,
        "policy": options.policy,
        # The last batch of an epoch may be smaller, hence the rounding up.
        "num_steps": job.recipe.epochs * math.ceil(len(data.train) / job.recipe.batch_size),
        **counts,
        **describe_environment(),
    }


def command() -> str:
    """Command line as it was typed, for a shell."""
    return shlex.join(["python", "-m", "experiments.highlights", *sys.argv[1:]])


def build_optimizer(recipe: Recipe, num_images: int) -> keras.Optimizer:
    """Build a recipe's optimizer for `num_images` per epoch.

    SGD comes without weight decay, which the training step adds to the gradient, as torch does.
    """
    steps_an_epoch = math.ceil(num_images / recipe.batch_size)
    rate = scheduled_rate(recipe, recipe.epochs * steps_an_epoch)
    if recipe.schedule == "steps":
        decay_steps = recipe.epochs_a_step * steps_an_epoch
        # A staircase of tenths, as torch's `StepLR` of the original.
        rate = keras.optimizers.schedules.ExponentialDecay(rate, decay_steps, 0.1, staircase=True)
    if recipe.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=recipe.momentum)
    return keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
