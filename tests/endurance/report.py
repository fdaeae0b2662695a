"""Report of a long run: figures, samples as CSV, and a plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.endurance.processes import Sample
from tests.endurance.slope import WARM_UP_SHARE, Trend, trend
from tests.endurance.watch import Watched


@dataclass(frozen=True)
class Trends:
    """Trends of memory, in MiB, and of open files."""

    memory: Trend
    files: Trend


def trends(samples: Sequence[Sample]) -> Trends:
    """Fit lines through the samples of a run.

    Raises:
        ValueError: if there are too few samples.
    """
    seconds = [sample.seconds for sample in samples]
    return Trends(
        trend(seconds, [sample.memory_mib for sample in samples]),
        trend(seconds, [sample.num_files for sample in samples]),
    )


def figures(watched: Watched, found: Trends, done: str) -> dict[str, float | str]:
    """Figures of a run as a table row; memory is that of all processes, shared parts counted once.

    Args:
        watched: the run.
        found: trends of the run.
        done: amount of work that was finished, such as "312 epochs".
    """
    samples = watched.samples
    warm = samples[int(WARM_UP_SHARE * len(samples))]
    return {
        "done": done,
        "MiB after warm-up": round(warm.memory_mib),
        "MiB at the end": round(samples[-1].memory_mib),
        "MiB at most": round(max(sample.memory_mib for sample in samples)),
        "MiB/hour": round(found.memory.per_hour, 1),
        "95 % interval": f"{found.memory.low:.1f} to {found.memory.high:.1f}",
        "open files": f"{warm.num_files} to {samples[-1].num_files}",
        "files/hour": round(found.files.per_hour, 1),
        "processes": samples[-1].num_processes,
    }


def samples_csv(samples: Sequence[Sample]) -> bytes:
    """CSV with one row per sample."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(samples[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(sample) for sample in samples)
    return text.getvalue().encode()


def image(samples: Sequence[Sample], title: str) -> bytes:
    """Plot memory and open files over time; PNG of 1500 x 525 px."""
    from experiments.runs.plots import LIGHT, dress, new_figure, png_bytes

    figure = new_figure(10, 3.5, LIGHT)
    minutes = [sample.seconds / 60 for sample in samples]
    panels = figure.subplots(1, 2)
    drawn = {
        "memory, MiB": [sample.memory_mib for sample in samples],
        "open files": [sample.num_files for sample in samples],
    }
    for axes, (name, values) in zip(panels, drawn.items(), strict=True):
        axes.plot(minutes, values, color=LIGHT.train, linewidth=1)
        axes.axvspan(0, WARM_UP_SHARE * minutes[-1], color=LIGHT.grid, linewidth=0)
        axes.set_ylim(0, 1.15 * max(values))
        axes.set_xlabel("minutes; grey: warm-up")
        axes.set_title(f"{title}: {name}", fontsize=11, loc="left", fontweight="bold")
        dress(axes, LIGHT)
    return png_bytes(figure)
