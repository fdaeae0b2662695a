"""The TimeSformer job, from flags to a run that is trained, tested and reported."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import InputError
from common.files import write_atomically
from experiments.clips.datasets import described, result_fields
from experiments.clips.recipe import recipe_name
from experiments.clips.subsets import Subsets, open_clips, with_frame_size
from experiments.epic_kitchens.recipes import DATASET, MODULE, SIZES, EpicKitchensArguments, Recipe
from experiments.process import runtime
from experiments.runs.records import mean_and_spread
from experiments.runs.run import CONFIG, begin_run, check_run
from experiments.training.history import next_rate, stop
from experiments.training.rate_finder import find_rate, rate_finder_png
from preprocess.sources.listed_clips import is_epic_kitchens
from weights.timesformer import TimesformerSize, fit_timesformer, read_timesformer

if TYPE_CHECKING:
    from experiments.training.loop import Classifier


def train(arguments: EpicKitchensArguments) -> dict[str, Any] | None:
    """Run the experiment once, or with --folds on each fold in turn; see `run`."""
    if arguments.folds is None:
        return run(arguments)
    _train_folds(arguments)
    return None


def run(arguments: EpicKitchensArguments) -> dict[str, Any] | None:
    """Run the whole experiment: data, model, training, test.

    Returns:
        The content of result.json, with the run's directory; None if learning rates were tried.

    Raises:
        PreprocessError, RunError, WeightsError, ValueError, OSError: if clips, weights, directory
            or a flag are not what they should be; the message says what to do.
    """
    started = time.perf_counter()
    recipe, subsets = check_arguments(arguments)

    # Data
    recipe = with_frame_size(DATASET, arguments, recipe)
    shards = open_clips(DATASET, arguments, recipe)
    strategy, split = subsets.strategy, subsets.split(shards)
    resolved = {"shards": shards.folder, "maxlen": recipe.num_frames, "split": strategy}
    settings = {**asdict(arguments), **asdict(recipe), **resolved}
    name = _run_name(arguments, shards.dataset, strategy)
    run_dir, finished = begin_run(name, arguments, settings)
    if finished:
        return finished
    print(described(shards, split))

    # Imported now: these load TensorFlow, whose threads `begin_run` has set.
    from experiments.clips import evaluation
    from experiments.epic_kitchens import models

    classifier = models.build_classifier(
        arguments, recipe, len(shards.class_names), num_train_clips=len(split.train)
    )
    batches = models.make_batches(arguments, recipe, shards)
    clips = models.epoch_clips(shards, split, recipe, arguments.seed)
    if arguments.find_rate:
        train_batches, _ = evaluation.epoch_batches(batches, split, None, clips)
        _find_rate(classifier, train_batches, run_dir)
        return None
    return evaluation.train_and_test(
        classifier,
        batches,
        shards,
        split,
        arguments,
        recipe,
        run_dir=run_dir,
        started=started,
        # Several views of each test clip, where validation takes one.
        test_batches=batches.with_views(recipe.places),
        clips=clips,
        input_spec=evaluation.describe_input(
            shards, recipe.choice(), recipe.crops, inputs=recipe.inputs
        ),
        fields=result_fields(
            MODULE,
            arguments,
            recipe,
            shards,
            split,
            split=strategy,
            num_folds=arguments.num_folds,
            model=_model_name(arguments),
            maxlen=recipe.num_frames,
            recipe_epochs=arguments.plain_recipe().epochs,
            params=classifier.model.count_params(),
        ),
        stop=stop(recipe),
        next_rate=next_rate(recipe),
    )


def _train_folds(arguments: EpicKitchensArguments) -> None:
    """Train and test on each fold in turn, and print the accuracies with mean and spread.

    The figures are written to folds.json, beside the folds' directories.
    """
    arguments.check()
    if arguments.fold:
        raise InputError(f"--folds tests every fold. Leave out --fold {arguments.fold}.")
    num_folds = arguments.num_folds
    name = f"epic_kitchens-{arguments.recipe}-{num_folds}folds-seed{arguments.seed}"
    out = arguments.out or Path("runs") / name
    folds = [replace(arguments, fold=fold, out=out / f"fold-{fold}") for fold in range(num_folds)]
    # All folds are checked first: the last one might be refused after hours on the others.
    for each in folds:
        # A job that was stopped in its second fold has no third one to resume.
        can_resume = (out / f"fold-{each.fold}" / CONFIG).exists()
        check_arguments(replace(each, resume=each.resume and can_resume))
    results = []
    for number, each in enumerate(folds, 1):
        print(f"\nfold {number} of {num_folds}")
        result = run(each)
        assert result is not None
        results.append(result)
        runtime.forget_models()
    values = {
        name: [result[name] for result in results] for name in ("validation_accuracy", "accuracy")
    }
    write_atomically(out / "folds.json", (json.dumps(values, indent=1) + "\n").encode())
    print(f"\n{num_folds} folds in {out}:")
    for name, of_folds in values.items():
        spread = mean_and_spread(of_folds)
        listed = ", ".join(f"{value:.3f}" for value in of_folds)
        print(f"{name.replace('_', ' ')}: {spread.mean:.3f} ± {spread.deviation:.3f} ({listed})")


def check_arguments(arguments: EpicKitchensArguments) -> tuple[Recipe, Subsets]:
    """Check all flags before extraction, which may take hours.

    Returns:
        The recipe, and the rule of the split.

    Raises:
        PreprocessError, RunError, WeightsError, ValueError: as `run` does.
    """
    arguments.check()
    recipe = arguments.made_recipe()
    runtime.choose_threads(arguments.threads)
    _check_weights(arguments, recipe)

    strategy = arguments.split or _usual_split(arguments)
    subsets = Subsets(DATASET, strategy, arguments, recipe.validation, arguments.num_folds)
    check_run(
        _run_name(arguments, subsets.check(), strategy),
        arguments,
        {**asdict(arguments), **asdict(recipe), "split": strategy},
        unknown=["shards", *(["frame_size"] if recipe.frame_size is None else [])],
    )
    return recipe, subsets


def _check_weights(arguments: EpicKitchensArguments, recipe: Recipe) -> None:
    """Raise WeightsError for a file of weights that does not fit; reads it without Keras."""
    if arguments.weights is None:
        return

    size = SIZES[arguments.size_name]
    wanted = TimesformerSize(
        # Any number does: a head for other classes is left out when weights are loaded.
        num_classes=2,
        num_frames=recipe.num_frames,
        image_size=recipe.crop_size[0],
        patch_size=size.patch_size,
        dim=size.dim,
        depth=size.depth,
        hidden=4 * size.dim,
        attention=arguments.attention,
    )
    fit_timesformer(read_timesformer(arguments.weights), wanted.shapes())


def _find_rate(
    classifier: Classifier, train_batches: Callable[[int], Iterable[Any]], run_dir: Path
) -> None:
    """Try rising learning rates, print the best one, and draw the curve."""
    curve = find_rate(classifier, train_batches)
    write_atomically(run_dir / "rate_finder.png", rate_finder_png(curve))
    print(f"{curve}\nPicture: {run_dir / 'rate_finder.png'}")


def _usual_split(arguments: EpicKitchensArguments) -> Any:
    videos = arguments.videos
    if videos is None and not arguments.on_demo and arguments.shards is None:
        # Only Epic Kitchens and lists say which clips test; a folder of videos does not.
        videos = Path(DATASET.default_videos_dir)
    is_list = videos is not None and (videos.suffix == ".csv" or is_epic_kitchens(videos))
    return "listed" if is_list and arguments.folds is None else "group"


def _run_name(arguments: EpicKitchensArguments, dataset: str, strategy: str) -> str:
    parts = [_model_name(arguments), recipe_name(arguments), f"freeze-{arguments.freeze}", strategy]
    parts.append(f"fold{arguments.fold}-seed{arguments.seed}")
    if arguments.find_rate:
        parts.append("rates")
    return "-".join(["epic_kitchens", dataset, *parts])


def _model_name(arguments: EpicKitchensArguments) -> str:
    return f"timesformer-{arguments.size_name}-{arguments.attention}"
