"""The training of a scorer, from labels and shards to a run's directory with its report."""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.highlights.training.options import (
    check_options,
    config_of,
    recipe_of,
    run_name,
)
from experiments.highlights.training.recipes import Recipe, build_change, build_optimizer
from experiments.process import runtime
from experiments.runs.directory import remove_partials, write_atomically
from experiments.runs.run import choose_run_dir, threads_of_run, write_config

if TYPE_CHECKING:
    from experiments.highlights.commands.train import Train
    from experiments.highlights.training.batches import PictureBatches
    from experiments.highlights.training.data import TrainingData
    from experiments.runs.history import History
    from experiments.training.step import Classifier

DEFAULT_PRECISION = 0.9


@dataclass(frozen=True)
class _Job:
    """A run whose data are read and whose settings are known."""

    options: Train
    recipe: Recipe
    data: TrainingData
    run_dir: Path


def train_scorer(options: Train) -> dict[str, Any]:
    """Train, choose the best epoch, evaluate it and write the report.

    Returns:
        What result.json holds, and the run's directory.

    Raises:
        PreprocessError, ValueError, OSError: if labels, shards, directory or a flag are not what
            they should be; the message says what to do.
    """
    started = time.perf_counter()
    check_options(options)
    recipe = recipe_of(options)
    runtime.choose_threads(options.threads)  # a wrong flag is told before anything is read

    from experiments.highlights.training.data import describe, read_training_data

    data = read_training_data(
        options.labels,
        options.shards,
        validation_share=options.validation_share,
        seed=options.seed,
        allow_failures=options.allow_failures,
    )
    build_change(recipe, data.settings)  # checks the recipe
    run_dir = choose_run_dir(run_name(options), out=options.out, resume=options.resume)
    threads = threads_of_run(run_dir) if options.threads == "auto" else None
    threads = threads or runtime.choose_threads(options.threads)
    remove_partials(run_dir)
    config = config_of(options, recipe, data) | {"threads_used": asdict(threads)}
    finished = run_dir / "result.json"
    if finished.exists():
        write_config(run_dir, config)  # sees that it is the same run
        print(f"{run_dir} is finished; nothing to resume.")
        return json.loads(finished.read_text()) | {"run_dir": run_dir}
    for line in (*data.notes, *(describe(name, part) for name, part in data.parts.items())):
        print(line)
    print(f"keeping all in {run_dir}; {threads}")
    runtime.configure(threads, seed=options.seed)
    job = _Job(options, recipe, data, run_dir)
    classifier = _classifier(job)
    write_config(run_dir, config)
    return _train(job, classifier, started) | {"run_dir": run_dir}


def _train(job: _Job, classifier: Classifier, started: float) -> dict[str, Any]:
    from experiments.highlights.training.picture_metrics import SCORE_NAMES, score_of
    from experiments.training.loop import train

    options, recipe, data = job.options, job.recipe, job.data
    train_batches, validation_batches = _batches(job)
    history = train(
        classifier,
        train_batches.shuffled,
        validation_batches.in_order,
        epochs=recipe.epochs,
        clips_per_epoch=len(data.train) + len(data.validation),
        run_dir=job.run_dir,
        resume=options.resume,
        started=started,
        score=score_of(recipe.select, precision=options.precision or DEFAULT_PRECISION),
        score_name=SCORE_NAMES[recipe.select],
        unit="picture",
    )
    return _finish(job, classifier, history, validation_batches)


def _batches(job: _Job) -> tuple[PictureBatches, PictureBatches]:
    """Of training and of validation."""
    from experiments.highlights.training.batches import PictureBatches, drawing_weights

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
        PictureBatches(data.train, shape, weights=weights, change=change, **same),
        PictureBatches(data.validation, shape, **same),
    )


def _classifier(job: _Job) -> Classifier:
    from experiments.highlights.scoring.scorer_network import build_scorer
    from experiments.highlights.training.setup import begin_from
    from experiments.training.step import Classifier

    options, recipe = job.options, job.recipe
    model = build_scorer(
        options.depth,
        job.data.settings,
        layout=options.layout,
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


def _finish(
    job: _Job, classifier: Classifier, history: History, batches: PictureBatches
) -> dict[str, Any]:
    """Evaluate the best epoch's model, and write all that a run leaves."""
    from experiments.clips.evaluation import load_classifier
    from experiments.highlights.scoring.scorer import MODEL, write_scorer
    from experiments.highlights.training.evaluation import Evaluation, write_predictions
    from experiments.highlights.training.picture_metrics import SCORE_NAMES
    from experiments.highlights.training.report import Report

    trained = time.perf_counter()
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
    )
    result = {
        **_circumstances(job),
        "params": classifier.model.count_params(),
        "best_epoch": history.best.epoch,
        **evaluation.figures(),
        "pictures_per_second": history.frames_per_second,
        "wall_seconds": history.elapsed_seconds + time.perf_counter() - trained,
    }
    Report(
        *(
            job.run_dir,
            result,
            config_of(job.options, job.recipe, job.data),
            job.data,
            evaluation,
            batches,
        ),
        score_name=SCORE_NAMES[job.recipe.select],
    ).write()
    write_atomically(
        job.run_dir / "result.json", (json.dumps(result, indent=2, default=str) + "\n").encode()
    )
    return result


def _circumstances(job: _Job) -> dict[str, Any]:
    """Fields of a result: what was run on what, where and when."""
    from experiments.runs.environment import describe_environment, git_commit

    options, data = job.options, job.data
    counts = {
        f"num_{name}_{what}": number
        for name, part in data.parts.items()
        for what, number in (
            ("clips", len(part.clips)),
            ("groups", len(part.groups)),
            ("pictures", len(part)),
            ("highlight_pictures", part.num_positive),
        )
    }
    return {
        "experiment": "highlights",
        "command": command(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "model": f"ResNet-{options.depth}, {options.layout}",
        "recipe": " ".join([options.recipe, *options.set]),
        "select": job.recipe.select,
        "epochs": job.recipe.epochs,
        "batch_size": job.recipe.batch_size,
        "seed": options.seed,
        "policy": options.policy,
        "num_steps": job.recipe.epochs * math.ceil(len(data.train) / job.recipe.batch_size),
        **counts,
        **describe_environment(),
    }


def command() -> str:
    """What was typed."""
    return shlex.join(["python", "-m", "experiments.highlights", *sys.argv[1:]])
