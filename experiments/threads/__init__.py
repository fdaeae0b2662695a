"""CPU threads: measure the suite's own work under many settings, choose, and keep the choice.

    python -m experiments.threads
    python -m experiments.threads --workload tt-train --shards data/shards/ucf11

Every run is a fresh process, because TensorFlow fixes its pools at the first operation; settings
take turns, round by round. The setting that is best beyond the noise is kept for this machine, and
`--threads auto` takes it from then on. docs/threads.md explains the command, docs/log.md has our
own figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

WorkloadName = Literal["tt-train", "alexnet", "resnet", "extract", "classify"]


@dataclass(frozen=True)
class Arguments:
    """Find the thread settings that are best for the suite's work on this machine."""

    workload: tuple[WorkloadName, ...] = ("tt-train", "alexnet", "resnet", "extract", "classify")
    """tt-train: the UCF11 job's training; alexnet, resnet: pictures in memory; extract: videos to
    shards; classify: folders of videos with AlexNet."""
    settings: Annotated[tuple[str, ...], arg(metavar="INTRA,INTER")] = ()
    """Compare these with the default, such as 18,36 1,36, instead of searching; for extract:
    JOBS,OPENCV_THREADS."""
    budget_minutes: float = 40.0
    """For all of it; each kind of work gets an equal share."""
    rounds: int = 3
    """How often a setting is measured, in turn with the others."""
    confirmations: int = 5
    """Pairs of runs that compare the fastest setting with the default, afterwards."""
    seconds: float = 3.0
    """How long a run is timed, its start and warm-up apart."""
    variants: bool = True
    """Also try other things than threads, with what is left of the time: policy, batch size,
    oneDNN, XLA, OpenMP, malloc."""
    shards: Annotated[Path | None, arg(metavar="DIR")] = None
    """Frames that tt-train works on; by default rendered clips."""
    videos: Annotated[Path | None, arg(metavar="DIR")] = None
    """Videos that extract and classify work on; by default rendered ones."""
    keep: bool = True
    """Keep what was found best for --threads auto; --no-keep only reports it."""
    show: bool = False
    """Say what is seen of the machine and what is kept for it, and stop."""
    out: Path = Path("runs/threads")
    """Folder for results.json, report.md and a picture a kind of work."""
