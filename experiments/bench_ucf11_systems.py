"""The job that `experiments.bench_ucf11` measures, in a process of its own."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.bench_ucf11 import Epoch, Setting, clip_lengths
from experiments.clips.ucf11 import Ucf11Arguments
from experiments.clips.ucf11_model import make_batches, make_classifier
from experiments.process import environment
from experiments.training.recipes import RECIPES
from preprocess import FrameSettings, open_shards
from preprocess.extraction.extract import extract
from preprocess.sources.synthetic import CLASS_NAMES, render_dataset

# Of five folds, four are trained on.
_TRAINED = 0.8
_GROUPS = 25
# Steps that are timed on a batch in memory, and batches that are read without a model.
_STEPS = 3
_READ_BATCHES = 40


class Clips:
    """Rendering and extraction of the clips.

    Args:
        shards: directory of shards, which is made unless it is there.
        videos: folder of videos; None renders them beside the shards.
        num_clips: number of clips to render.
    """

    def __init__(self, shards: Path, videos: Path | None, num_clips: int) -> None:
        self._shards = shards
        self._videos = videos or shards.with_name(f"videos-{num_clips}")
        if videos is None:
            # As many groups as UCF11 has in a class.
            render_dataset(
                self._videos,
                groups_per_class=_GROUPS,
                clips_per_group=math.ceil(num_clips / (_GROUPS * len(CLASS_NAMES))),
                lengths=clip_lengths(num_clips).tolist(),
            )

    def measure(self) -> str:
        """Extract the clips; return how fast that was."""
        was_there = self._shards.exists()
        started = time.perf_counter()
        result = extract(self._videos, self._shards, FrameSettings(max_frames=900))
        seconds = time.perf_counter() - started
        if was_there:
            return "shards of an earlier run"
        return f"extraction {result.num_frames / seconds:,.0f} frames/s ({seconds:,.0f} s)"


class Job:
    """Training of a TT-GRU on shards, as `experiments.ucf11` does it.

    Args:
        folder: directory of shards.
        setting: frames that are trained on.
        policy: arithmetic of the layers.
        recipe: name of the recipe.
    """

    def __init__(self, folder: Path, setting: Setting, policy: str, recipe: str) -> None:
        arguments = Ucf11Arguments(
            stride=setting.stride,
            policy=policy,  # type: ignore[arg-type]
        )
        chosen = replace(RECIPES[recipe], maxlen=setting.maxlen)
        shards = open_shards(folder)
        order = np.random.default_rng(0).permutation(len(shards))
        self._clips = np.sort(order[: round(_TRAINED * len(shards))])
        self._batches = make_batches(arguments, chosen, shards)
        self._classifier = make_classifier(
            arguments, chosen, shards, num_train_clips=len(self._clips)
        )

    def measure(self) -> Epoch:
        """Time a whole epoch, after the parts that it is made of."""
        # The steps first: the first of them compiles.
        step_rate = self._step_rate()
        reading_rate = self._reading_rate()
        num_frames, waited = 0, 0.0
        started = asked = time.perf_counter()
        for batch in self._batches.shuffled(self._clips, epoch=2):
            waited += time.perf_counter() - asked
            num_frames += self._classifier.train_replica_shards((batch,)).num_frames
            del batch  # its memory takes the next one
            asked = time.perf_counter()
        seconds = time.perf_counter() - started
        return Epoch(
            num_frames=num_frames,
            seconds=seconds,
            waiting_share=waited / seconds,
            reading_rate=reading_rate,
            step_rate=step_rate,
            peak_rss_bytes=environment.peak_rss_bytes(),
        )

    def _step_rate(self) -> float:
        batches = iter(self._batches.shuffled(self._clips, epoch=0))
        batch = next(batches)
        # Compiles, and meanwhile the batches ahead are loaded: nothing else works later.
        self._classifier.train_replica_shards((batch,))
        started = time.perf_counter()
        steps = [self._classifier.train_replica_shards((batch,)) for _ in range(_STEPS)]
        return sum(step.num_frames for step in steps) / (time.perf_counter() - started)

    def _reading_rate(self) -> float:
        num_frames, started = 0, time.perf_counter()
        for number, (inputs, _) in enumerate(self._batches.shuffled(self._clips, epoch=1)):
            num_frames += inputs["frames"].shape[0]
            if number == _READ_BATCHES:
                break
        return num_frames / (time.perf_counter() - started)
