"""From batches of clips to a run that is trained, tested, reported and recorded.

What the jobs on clips share; each brings its own data, model and recipe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import ArrayLike

from experiments.clips.evaluation import load_classifier, predict_clips, scores
from experiments.clips.model import keep_model
from experiments.clips.viewed_model import Seen
from experiments.runs.directory import write_predictions
from experiments.runs.history import History
from experiments.runs.records import append_record, write_result
from experiments.runs.report import write_report
from experiments.runs.run import RECORDS
from experiments.training.loop import NextRate, Stop, train
from experiments.training.step import Classifier
from preprocess.batches.background import Stream
from preprocess.batches.replicas import ALL, Share
from preprocess.batches.views import CropChoice, FrameChoice, Inputs
from preprocess.shards.reader import Shards
from preprocess.shards.settings import FrameSettings
from preprocess.sources.splits import Split


class Batches(Protocol):
    """The clips as a model sees them."""

    def shuffled(self, clips: ArrayLike, epoch: int, share: Share = ALL) -> Stream:
        """Batches of an epoch of training."""

    def by_length(self, clips: ArrayLike, share: Share = ALL) -> tuple[np.ndarray, Stream]:
        """Batches for evaluation, and the position of the clip that each of their rows shows."""


@dataclass(frozen=True)
class ClipJob:
    """A run on clips.

    Args:
        run_dir: takes everything; its config.json is written.
        shards: the clips.
        split: their parts.
        epochs: of training.
        selection: which weights are tested: "last", or "best" on the validation part.
        fields: of the result, what is known before training.
        resume: continue from the checkpoint.
        record: append the result to the recorded ones.
        started: `time.perf_counter()` when the run began.
    """

    run_dir: Path
    shards: Shards
    split: Split
    epochs: int
    selection: str
    fields: dict[str, Any]
    resume: bool
    record: bool
    started: float

    @classmethod
    def of(
        cls,
        arguments: Any,
        recipe: Any,
        run_dir: Path,
        shards: Shards,
        split: Split,
        *,
        fields: dict[str, Any],
        started: float,
    ) -> ClipJob:
        """A run by flags, `resume` and `record`, and a recipe, `epochs` and `selection`."""
        return cls(
            *(run_dir, shards, split, recipe.epochs, recipe.selection, fields),
            *(arguments.resume, arguments.record, started),
        )

    def train(
        self,
        classifier: Classifier,
        batches: Batches,
        *,
        clips: Callable[[int], ArrayLike] | None = None,
        stop: Stop | None = None,
        next_rate: NextRate | None = None,
    ) -> History:
        """Train to the end, or until `stop`; see `experiments.training.loop.train`.

        Args:
            classifier: what is trained.
            batches: what it sees.
            clips: of each epoch; None for those of the training part.
            stop: whether training ends.
            next_rate: the learning rate of the next epoch.
        """
        split, distribution = self.split, classifier.distribution

        def train_batches(epoch: int) -> Iterable[Any]:
            taken = clips(epoch) if clips else split.train
            if distribution is None:
                return batches.shuffled(taken, epoch)
            return distribution.dealt(lambda share: batches.shuffled(taken, epoch, share))

        share = distribution.process_share if distribution else ALL
        return train(
            classifier,
            train_batches,
            lambda: batches.by_length(split.validation, share)[1],
            epochs=self.epochs,
            clips_per_epoch=len(split.train) + len(split.validation),
            run_dir=self.run_dir,
            resume=self.resume,
            started=self.started,
            stop=stop,
            next_rate=next_rate,
        )

    def keep(
        self,
        choice: FrameChoice,
        crops: CropChoice,
        *,
        inputs: Inputs = "frames",
        every: int = 1,
        whole: Callable[[keras.Model], keras.Model] = lambda trained: trained,
    ) -> None:
        """Leave the chosen weights as a model of frames; see `experiments.clips.model`.

        Args:
            choice: which frames it sees.
            crops: which part of them.
            inputs: the frames, or their foreground.
            every: of the stored frames, every how many it sees.
            whole: makes the model from frames to classes of the one that was trained.
        """
        chosen = load_classifier(self.run_dir / f"{self.selection}.keras").model
        settings = self.shards.settings
        assert isinstance(settings, FrameSettings)
        most = settings.max_frames
        seen = Seen(
            tuple(self.shards.class_names),
            replace(
                settings, stride=settings.stride * every, max_frames=most and -(-most // every)
            ),
            choice,
            crops,
            usual_frames=int(np.median(-(-self.shards.num_frames // every))),
            inputs=inputs,
        )
        keep_model(self.run_dir, whole(chosen), seen)

    def test(self, history: History, batches: Batches) -> dict[str, Any]:
        """Test the best and the last weights; returns the result, and the run's directory."""
        begun = time.perf_counter()
        predictions = {
            name: predict_clips(
                load_classifier(self.run_dir / f"{name}.keras"),
                *(self.shards, batches, self.split.test),
            )
            for name in ("best", "last")
        }
        write_predictions(self.run_dir / "predictions.csv", predictions[self.selection])
        result = {
            **self.fields,
            **scores(history, predictions, selection=self.selection),
            "wall_seconds": history.elapsed_seconds + time.perf_counter() - begun,
        }
        result = write_result(self.run_dir, result)
        write_report(self.run_dir, self.shards)
        if self.record:
            append_record(result, RECORDS)
        return result | {"run_dir": self.run_dir}
