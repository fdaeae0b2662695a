"""The systems in turn, what their answers are, and the table of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.bench_timesformer.systems import KerasClips, OnnxClips, TorchClips
from experiments.clips.model import keep_model, read_model
from experiments.clips.viewed_model import Seen
from experiments.export.int8 import write_int8
from experiments.export.load import load_subject
from experiments.export.sample import Sample, find_sample
from experiments.export.write import write_onnx
from experiments.process.runtime import Threads
from experiments.remote import Remote
from experiments.runs import formatting
from preprocess.batches.views import CropChoice, FrameChoice
from preprocess.shards.settings import FrameSettings

_REFERENCE = "Keras, float32"
_CLASSES = 400
_STORED_SIZE = (341, 256)


@dataclass(frozen=True)
class Row:
    """One system."""

    system: str
    frames_per_second: float
    """Median of the rounds."""
    spread: float | None
    """(Fastest - slowest round) / median; None for one round."""
    ratio: float
    """To Keras in float32."""
    same_class: float | None
    """Share of the clips with the same best class as Keras in float32; None for other weights."""
    largest_difference: float | None
    """Of a probability, likewise."""
    accuracy: float | None
    """On the clips, where their classes are known."""
    peak_rss_bytes: int


def measure(
    run: Path | None,
    video: Path | None,
    scratch: Path,
    threads: Threads,
    *,
    batch: int,
    rounds: int,
    torch: bool,
) -> tuple[list[Row], str]:
    """Time all; gives the rows, and where the clips come from, in words."""
    run = run or _random_run(scratch / "run")
    subject = load_subject(run)
    sample = find_sample(subject, run_dir=run, video=video)
    exported, quantized = scratch / "model.onnx", scratch / "int8.onnx"
    write_onnx(subject, exported, sample)
    write_int8(exported, quantized, sample)
    clips = scratch / "clips.npy"
    np.save(clips, np.stack(sample.rows))
    made: dict[str, tuple[Any, ...]] = {
        _REFERENCE: (KerasClips, run),
        "Keras, bfloat16": (KerasClips, run, True),
        "ONNX Runtime, float32": (OnnxClips, exported),
        "ONNX Runtime, int8": (OnnxClips, quantized),
    }
    if torch:
        made["PyTorch, float32, other weights"] = (TorchClips, _torch_size(run))
    systems = {
        name: Remote(kind, clips, batch, *arguments, threads=threads)
        for name, (kind, *arguments) in made.items()
    }
    try:
        return _in_turn(systems, sample, rounds), sample.origin
    finally:
        for system in systems.values():
            system.close()


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| system | frames/s | spread | of Keras, float32 | same class | largest difference of a "
        "probability | accuracy | peak RSS |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [
            *(row.system, f"{row.frames_per_second:.1f}"),
            formatting.or_absent(row.spread, lambda value: f"{value:.0%}"),
            f"{row.ratio:.2f}",
            formatting.or_absent(row.same_class, lambda value: f"{value:.1%}"),
            formatting.or_absent(row.largest_difference, lambda value: f"{value:.2g}"),
            formatting.or_absent(row.accuracy, lambda value: f"{value:.3f}"),
            formatting.size(row.peak_rss_bytes),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _in_turn(systems: dict[str, Remote], sample: Sample, rounds: int) -> list[Row]:
    rates: dict[str, list[float]] = {name: [] for name in systems}
    peaks: dict[str, int] = {}
    for _ in tqdm(range(rounds), unit=" rounds"):
        for name, system in systems.items():
            rate, peaks[name] = system.ask("measure")
            rates[name].append(rate)
    answers = {
        name: system.ask("answers")
        for name, system in systems.items()
        if not name.startswith("PyTorch")
    }
    return [
        _row(name, found, peaks[name], median(rates[_REFERENCE]), answers, sample.labels)
        for name, found in rates.items()
    ]


def _row(
    name: str,
    rates: list[float],
    peak: int,
    reference: float,
    answers: dict[str, np.ndarray],
    labels: np.ndarray | None,
) -> Row:
    middle = median(rates)
    same_class = difference = accuracy = None
    if name in answers:
        ours, theirs = answers[_REFERENCE], answers[name]
        same_class = float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())
        difference = float(np.abs(ours - theirs).max())
        if labels is not None:
            accuracy = float((theirs.argmax(axis=1) == labels).mean())
    spread = (max(rates) - min(rates)) / middle if len(rates) > 1 else None
    return Row(name, middle, spread, middle / reference, same_class, difference, accuracy, peak)


def _random_run(folder: Path) -> Path:
    """The base model with random weights, kept as a run keeps its own."""
    from experiments.epic_kitchens.arguments import Arguments
    from experiments.epic_kitchens.models import build_model

    arguments = Arguments(shards=folder, recipe="original")
    recipe = arguments.made_recipe()
    folder.mkdir()
    names = tuple(f"class {number}" for number in range(_CLASSES))
    settings = FrameSettings(_STORED_SIZE, recipe.stride)
    crops = CropChoice(recipe.crop_size)
    seen = Seen(names, settings, FrameChoice(recipe.num_frames, "segments"), crops, 64)
    keep_model(folder, build_model(arguments, recipe, _CLASSES), seen)
    return folder


def _torch_size(run: Path) -> dict[str, Any]:
    """Of the run's TimeSformer, in `transformers`' words."""
    model, seen = read_model(run)
    inner = model.get_layer("timesformer")
    blocks = [layer for layer in inner.layers if layer.name.startswith("blocks_")]
    embed = inner.get_layer("embed")
    return {
        "image_size": seen.crops.size[0],
        "patch_size": embed.patch_size,
        "num_frames": seen.choice.num_frames,
        "hidden_size": embed.features,
        "num_hidden_layers": len(blocks),
        "num_attention_heads": blocks[0].heads,
        "intermediate_size": blocks[0].hidden,
        "num_labels": len(seen.class_names),
        "attention_type": {"divided": "divided_space_time", "joint": "joint_space_time"}.get(
            embed.attention, "space_only"
        ),
    }
