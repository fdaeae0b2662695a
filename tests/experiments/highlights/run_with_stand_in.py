"""`python run_with_stand_in.py SECONDS ARGS...`: the command with a stand-in for its model.

The stand-in's score is the bright fraction of a picture; each batch takes SECONDS.
"""

import sys
import time

import numpy as np

from experiments.clips.images import ImageSettings
from experiments.highlights.scoring.scoring_job import ScoringOptions


class Brightness:
    """Scorer without TensorFlow."""

    settings = ImageSettings(side=32)
    box = None
    threshold = 0.4
    doubts = ()

    def __init__(self, seconds=0.0):
        self.num_images = 0
        self._seconds = seconds

    def predict(self, images):
        time.sleep(self._seconds)
        self.num_images += len(images)
        return (images[:, 16:31] > 150).mean((1, 2, 3), dtype=np.float32)


if __name__ == "__main__":
    from experiments.highlights.commands import main

    scorer = Brightness(float(sys.argv[1]))
    ScoringOptions.load = lambda self: scorer
    sys.exit(main(sys.argv[2:]))
