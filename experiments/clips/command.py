"""Name of the recipe and text of the outcome, as jobs on clips print them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def recipe_name(arguments: Any, *, between: str = "-") -> str:
    """Name of the recipe with the changes to it, as in a run's name."""
    return between.join([arguments.recipe, *arguments.set])


def outcome(result: dict[str, Any]) -> str:
    """Summarize a result: its accuracy, the interval and chance beside it, and the report."""
    low, high = result["accuracy_interval"].values()
    return (
        f"{result['dataset']}: test accuracy {result['accuracy']:.3f} (95 % interval {low:.3f} to "
        f"{high:.3f}; chance {result['chance']:.3f}) on {result['num_test_clips']} clips, of which "
        f"{result['num_test_clips_with_sibling']} have a sibling of their scene in training.\n"
        f"Report: {Path(result['run_dir']) / 'report.html'}"
    )
