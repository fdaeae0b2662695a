"""The systems in turn, and the table of what they gave."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

from tqdm import tqdm

from experiments.bench_ucf101.systems import Epochs, KerasSteps, Measured, TorchSteps
from experiments.process.runtime import Threads
from experiments.remote import Remote
from experiments.runs import formatting
from experiments.ucf101.arguments import RANDOM_WEIGHTS, Arguments
from experiments.ucf101.recipes import ModelName, Recipe, recipe_for
from preprocess.extraction.extract import extract
from preprocess.sources.synthetic import render_dataset

System = Callable[[], Remote]

# frames, height and width, and the batch: the original's, and those of the recipe `tuned`
_SIZES = {"original": ((28, 256, 342), 4), "tuned": ((16, 112, 112), 16)}


@dataclass(frozen=True)
class Row:
    """One system at one work."""

    work: str
    system: str
    clips_per_second: float
    """Median of the rounds."""
    spread: float | None
    """(Fastest - slowest round) / median; None for one round."""
    ratio: float | None
    """To the first system of the work."""
    waiting_share: float | None
    """Of an epoch, waiting for data."""
    peak_rss_bytes: int


def measure(
    scratch: Path, threads: Threads, *, num_clips: int, depth: int, rounds: int, torch: bool
) -> list[Row]:
    """Time all, one kind of work after the other; the systems of a kind take turns."""
    epochs = partial(_epochs, scratch, threads, num_clips=num_clips)
    work = {
        f"epoch of resnet{depth}-crnn, original recipe": epochs(
            "resnet-crnn", "original", depth=depth
        ),
        "epoch of crnn, tuned recipe": epochs("crnn", "tuned"),
        "epoch of conv3d, tuned recipe": epochs("conv3d", "tuned"),
    }
    for model, training, size in product(("crnn", "conv3d"), (True, False), _SIZES):
        shape, batch_size = _SIZES[size]
        fits = (model, training, size) != ("conv3d", True, "original")  # 11 GB more
        what = "training" if training else "inference"
        name = f"{what} of {model}, {size} sizes, batch {batch_size}"
        work[name] = _steps(
            (model, shape, batch_size, training), threads, bfloat16=fits, torch=torch
        )
    return [row for name, systems in work.items() for row in _in_turn(name, systems, rounds)]


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| work | system | clips/s | spread | of the first | waiting for data | peak RSS |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [
            *(row.work, row.system, f"{row.clips_per_second:.2f}"),
            formatting.or_absent(row.spread, lambda value: f"{value:.0%}"),
            formatting.or_absent(row.ratio, lambda value: f"{value:.2f}"),
            formatting.or_absent(row.waiting_share, lambda value: f"{value:.0%}"),
            formatting.size(row.peak_rss_bytes),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _in_turn(work: str, systems: dict[str, System], rounds: int) -> list[Row]:
    """Time the systems of one work, round by round."""
    made = {name: make() for name, make in systems.items()}
    taken: dict[str, list[Measured]] = {name: [] for name in systems}
    try:
        for _ in tqdm(range(rounds), unit=" rounds", desc=work):
            for name, system in made.items():
                taken[name].append(system.ask("measure"))
    finally:
        for system in made.values():
            system.close()
    reference = median(rate for rate, *_ in taken[next(iter(systems))])
    return [_row(work, name, found, reference) for name, found in taken.items()]


def _row(work: str, system: str, found: list[Measured], reference: float) -> Row:
    rates = [rate for rate, *_ in found]
    middle, waiting = median(rates), median(share for *_, share in found)
    return Row(
        work,
        system,
        middle,
        (max(rates) - min(rates)) / middle if len(rates) > 1 else None,
        middle / reference,
        waiting if work.startswith("epoch") else None,
        max(peak for _, peak, _ in found),
    )


def _steps(arguments: tuple, threads: Threads, *, bfloat16: bool, torch: bool) -> dict[str, System]:
    """Ours and PyTorch on a batch in memory."""
    ours = partial(Remote, KerasSteps, *arguments)
    systems: dict[str, System] = {"ours": partial(ours, threads=threads)}
    if bfloat16:
        systems["ours, bfloat16"] = partial(ours, "mixed_bfloat16", threads=threads)
    if torch:
        systems["PyTorch"] = partial(Remote, TorchSteps, *arguments, threads=threads)
    return systems


def _epochs(
    scratch: Path,
    threads: Threads,
    model: ModelName,
    recipe_name: str,
    *,
    num_clips: int,
    depth: int | None = None,
) -> dict[str, System]:
    """Epochs of a model of the job; of one with a ResNet also without stored features."""
    recipe = recipe_for(recipe_name, model, varlen=False)
    shards = _extract(scratch, recipe, num_clips)
    weights = RANDOM_WEIGHTS if depth else None
    arguments = Arguments(model=model, shards=shards, depth=depth, weights=weights)  # type: ignore[arg-type]
    make = partial(Remote, Epochs, arguments, recipe, scratch, threads=threads)
    if depth is None:
        return {"ours": make}
    anew = partial(Remote, Epochs, arguments, recipe, scratch, True, threads=threads)
    return {"features stored": make, "features computed anew": anew}


def _extract(scratch: Path, recipe: Recipe, num_clips: int) -> Path:
    """Shards of so many clips of the built-in set, as the recipe wants them."""
    videos = scratch / "videos"
    if not videos.exists():
        render_dataset(videos, groups_per_class=1, clips_per_group=math.ceil(num_clips / 11))
        clips = sorted(videos.rglob("*.mpg"))
        for surplus in clips[num_clips:]:
            surplus.unlink()
    settings = recipe.settings()
    shards = scratch / "-".join(map(str, (*settings.size, settings.stride, settings.max_frames)))
    if not shards.exists():
        extract(videos, shards, settings)
    return shards
