"""`train`: trains a scorer on labelled pictures and writes its report."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.highlights.training.options import TrainOptions
from experiments.process.command import typed_command


@dataclass(frozen=True)
class Train(TrainOptions):
    """Train a scorer on labelled pictures: a ResNet that says how likely each is a highlight."""

    @property
    def resume_hint(self) -> str:
        """Sentence on how to continue a run that was stopped."""
        return f"Continue with: {typed_command('experiments.highlights', resume=True)}"

    def run(self) -> int:
        """Train and print the result. Returns the exit code."""
        from experiments.highlights.training.job import train_scorer

        result = train_scorer(self)
        # The average precision of a scorer that guesses: the share of highlights.
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
