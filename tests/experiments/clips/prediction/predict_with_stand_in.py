"""`python predict_with_stand_in.py ARGS...`: the command with a model without TensorFlow."""

import sys
from types import SimpleNamespace

import numpy as np

from experiments.clips.prediction.command import main
from experiments.process import runtime
from preprocess.shards.settings import FrameSettings

MODEL = SimpleNamespace(
    class_names=("dark", "bright"),
    frame_settings=FrameSettings((20, 16)),
    window=8,
    several_labels=False,
    predict=lambda windows, original_size: np.array(
        [[1 - w.mean() / 255, w.mean() / 255] for w in windows]
    ),
)

if __name__ == "__main__":
    runtime.configure = lambda threads, seed: None
    stand_in = SimpleNamespace(load_clip_model=lambda run_dir, views: MODEL)
    sys.modules["experiments.clips.model"] = stand_in
    sys.exit(main("predict", sys.argv[1:]))
