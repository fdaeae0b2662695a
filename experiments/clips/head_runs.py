"""Runs of heads on frozen features, many in one process: folds, seeds and settings.

A run of `experiments.ucf11 --features` spends its seconds on starting, compiling and reporting. In
this process clips and features are opened once, and runs that differ in fold and seed share a
compiled step. Their numbers are those of the command, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from experiments.clips.evaluation import Batches, predict_clips, score_of, scores
from experiments.clips.subsets import Subsets
from experiments.clips.ucf11 import (
    Ucf11Arguments,
    check_arguments,
    frame_settings,
)
from experiments.clips.ucf11_model import (
    FrozenFeatures,
    Ucf11Model,
    describe_result,
    make_head,
    open_features,
)
from experiments.runs.directory import Predictions, write_predictions
from experiments.runs.records import append_record, write_result
from experiments.runs.run import RECORDS, write_config
from experiments.training.history import History
from experiments.training.loop import Classifier, run_epoch
from experiments.training.recipes import Recipe
from preprocess.shards.reader import Shards
from preprocess.sources.splits import Split

# Flags that neither the clips nor their features depend on.
_OF_A_RUN = {
    *("tt", "format", "recurrent_format", "joint_format", "rank", "cell", "split", "fold"),
    *("recipe", "epochs", "batch_size", "lr", "set", "seed", "list", "lists"),
}
_OF_ITS_FILES = {"out", "resume", "record"}


@dataclass(frozen=True)
class _Data:
    """Clips, and their features."""

    shards: Shards
    features: FrozenFeatures


@dataclass(frozen=True)
class TrainedHead:
    """A head that was trained, and what it was trained on.

    Args:
        arguments, recipe: flags and recipe of the run.
        shards, split, batches: the clips.
        classifier: the head with its last weights, until the next one is trained.
        best: weights of its best epoch on the validation clips.
        history: its epochs.
        fields: fields of its result that were known before.
        started: `time.perf_counter()` when the training began.
    """

    arguments: Ucf11Arguments
    recipe: Recipe
    shards: Shards
    split: Split
    batches: Batches
    classifier: Classifier
    best: Sequence[np.ndarray]
    history: History
    fields: dict[str, Any]
    started: float

    def predictions(self, classifier: Classifier | None = None) -> Predictions:
        """Predict the test clips, by the head or by another classifier of the same features."""
        return predict_clips(
            classifier or self.classifier, self.shards, self.batches, self.split.test
        )


class HeadRuns:
    """Trains and tests heads; what several of them need is made once.

    TensorFlow must be set up; see `experiments.process.runtime.configure`.
    """

    def __init__(self) -> None:
        self._data: dict[tuple, _Data] = {}
        self._classifiers: dict[tuple, Classifier] = {}

    def run(self, arguments: Ucf11Arguments, run_dir: Path, *, command: str) -> dict[str, Any]:
        """Carry out one run of the UCF11 job on features.

        It leaves config.json, metrics.csv, predictions.csv and result.json, but neither a model nor
        a report.

        Args:
            arguments: flags of the run.
            run_dir: an existing directory.
            command: command line that repeats the run, for the record.

        Returns:
            The content of result.json.

        Raises:
            PreprocessError, WeightsError, UserError: as the job does.
        """
        trained = self.train(arguments)
        recipe = trained.recipe
        predictions = {"last": trained.predictions()}
        _assign(trained.classifier.model.variables, trained.best)
        predictions["best"] = trained.predictions()
        result = {
            **trained.fields,
            **scores(trained.history, predictions, selection=recipe.selection),
            "command": command,
            "wall_seconds": time.perf_counter() - trained.started,
        }
        settings = {**asdict(trained.arguments), **asdict(recipe)}
        write_config(run_dir, {**settings, "shards": trained.shards.folder})
        trained.history.write(run_dir / "metrics.csv")
        write_predictions(run_dir / "predictions.csv", predictions[recipe.selection])
        result = write_result(run_dir, result)
        if arguments.record:
            append_record(result, RECORDS)
        return result

    def build(self, arguments: Ucf11Arguments) -> Ucf11Model:
        """Build the head of a run, untrained.

        Raises:
            PreprocessError, WeightsError, UserError: as the job does.
        """
        arguments, recipe, _, subsets = check_arguments(arguments)
        data = self._opened(arguments, recipe, subsets)
        split = subsets.split(data.shards)
        return make_head(arguments, recipe, data.features, split, data.shards)

    def train(self, arguments: Ucf11Arguments) -> TrainedHead:
        """Train the head of one run.

        Raises:
            PreprocessError, WeightsError, UserError: as the job does.
        """
        arguments, recipe, _, subsets = check_arguments(arguments)
        data = self._opened(arguments, recipe, subsets)
        started = time.perf_counter()
        split = subsets.split(data.shards)
        model = make_head(arguments, recipe, data.features, split, data.shards)
        fields = describe_result(arguments, recipe, model, data.shards, split)
        classifier = self._compiled(
            replace(arguments, fold=0, list=1, seed=0, out=None, record=False), model.classifier
        )

        history = History()
        best: list[np.ndarray] = []
        for epoch in range(recipe.epochs):
            row = run_epoch(
                classifier,
                epoch,
                model.batches.shuffled(split.train, epoch),
                lambda: model.batches.by_length(split.validation)[1],
                began=started,
                score=score_of(data.shards),
            )
            history.epochs.append(row)
            if history.best is row:
                best = [weight.numpy() for weight in classifier.model.variables]
        return TrainedHead(
            arguments=arguments,
            recipe=recipe,
            shards=data.shards,
            split=split,
            batches=model.batches,
            classifier=classifier,
            best=best,
            history=history,
            fields=fields,
            started=started,
        )

    def _opened(self, arguments: Ucf11Arguments, recipe: Recipe, subsets: Subsets) -> _Data:
        """Open the clips and their features, unless an earlier run has."""
        flags = asdict(arguments)
        key = tuple(flags[name] for name in sorted(flags.keys() - _OF_A_RUN - _OF_ITS_FILES))
        if key not in self._data:
            shards = subsets.open(frame_settings(arguments, recipe))
            self._data[key] = _Data(shards, open_features(arguments, shards))
        return self._data[key]

    def _compiled(self, setting: Ucf11Arguments, fresh: Classifier) -> Classifier:
        """Return a classifier in the state of a new one, whose steps may be compiled already.

        Args:
            setting: flags of the run without those in which runs of one setting differ.
            fresh: the new classifier.
        """
        assert fresh.optimizer is not None
        rate = fresh.optimizer.get_config()["learning_rate"]  # the schedule is compiled, too
        key = (*asdict(setting).values(), repr(rate))
        known = self._classifiers.setdefault(key, fresh)
        if known is not fresh:
            _assign(known.variables, [variable.numpy() for variable in fresh.variables])
        return known


def _assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
