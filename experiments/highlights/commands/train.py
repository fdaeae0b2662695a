"""`train`: labels and pictures to a scorer, with a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from experiments.runs.run import typed_command


@dataclass(frozen=True)
class Train:
    """Train a scorer on labelled pictures: a ResNet that says how likely each is a highlight."""

    labels: Positional[Path]
    """The original's data.csv, or ours: path,x1,y1,x2,y2,start,end,label,group."""
    shards: Positional[Path]
    """What `extract` made of it."""
    recipe: Literal["tuned", "original"] = "tuned"
    """tuned: ours; original: that of eqy/autotosis."""
    depth: Literal[18, 34, 50, 101, 152] = 18
    """Of the ResNet."""
    layout: Literal["stacked", "two-inputs"] = "stacked"
    """stacked: one ResNet sees face and spectrogram as one tall picture, as the original's;
    two-inputs: one sees the face, another the spectrogram."""
    weights: Path | None = None
    """Begin from a ResNet of ImageNet: torchvision's .pth or .safetensors, or what `python -m
    weights convert` made of it; or from the original's model_best.pth.tar. By default from
    scratch."""
    select: Literal["ap", "precision", "recall-at-precision", "accuracy"] | None = None
    """What the best epoch is chosen by, on the validation clips; by default the recipe's: ap,
    the average precision, or accuracy in the original's."""
    precision: float | None = None
    """Precision that the suggested threshold has to reach, such as 0.9; by default the threshold
    is that of the best F1. Also of --select recall-at-precision, where it is 0.9 by default."""
    epochs: int | None = None
    """Passes over the training pictures; by default the recipe's."""
    batch_size: int | None = None
    """Pictures a step; by default the recipe's."""
    lr: float | None = None
    """Learning rate; by default the recipe's."""
    set: tuple[str, ...] = ()
    """Changes to the recipe, NAME=VALUE, such as mask=0; see highlights/training/recipes.py."""
    seed: int = 0
    """Of the split, the initial weights, the order of pictures and their changes."""
    validation_share: float = 0.25
    """Of the clips, by whole groups; they choose the best epoch and the threshold."""
    threads: str = "auto"
    """TensorFlow's thread pools: INTRA,INTER such as 4,2; or auto."""
    policy: Literal["float32", "mixed_bfloat16"] = "float32"
    """Arithmetic of the layers; mixed_bfloat16 is faster where the processor knows it."""
    out: Path | None = None
    """The run's directory; by default runs/ and a name made of the settings."""
    resume: bool = False
    """Continue a run that was stopped, to the same numbers."""
    allow_failures: bool = False
    """Go on without labelled clips that have no pictures."""

    @property
    def going_on(self) -> str:
        """How to continue a run that is stopped."""
        return f"Continue with: {typed_command('experiments.highlights', resume=True)}"

    def run(self) -> int:
        """Train and say what came out; the exit code."""
        from experiments.highlights.training.job import train_scorer

        result = train_scorer(self)
        chance = result["num_validation_highlight_pictures"] / result["num_validation_pictures"]
        wanted = result["wanted_precision"]
        if not result["wanted_precision_reached"]:
            print(f"No threshold reaches the precision {wanted:g} on the validation clips.")
        print(
            f"Validation: average precision {result['average_precision']:.3f} (chance "
            f"{chance:.3f}), accuracy {result['accuracy']:.3f}. Suggested threshold "
            f"{result['threshold']:.2f}: precision {result['precision']:.3f}, recall "
            f"{result['recall']:.3f}.\n"
            f"Report: {result['run_dir'] / 'report.html'}"
        )
        return 0
