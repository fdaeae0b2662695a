"""The command `python -m experiments.predict RUN VIDEO...`, which predicts with any trained run.

It is the same as `predict` of the jobs that train a model of clips: experiments.ucf11,
experiments.ucf101 and experiments.epic_kitchens.
"""

from __future__ import annotations

import sys

from experiments.clips.prediction.command import PredictArguments, main

__all__ = ["PredictArguments", "main"]

if __name__ == "__main__":
    sys.exit(main("python -m experiments.predict", sys.argv[1:]))
