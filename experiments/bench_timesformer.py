"""Measure TimeSformer in Keras, ONNX Runtime and PyTorch: speed, accuracy and memory.

    python -m experiments.bench_timesformer [--run runs/NAME] [--video VIDEO]

Without a run it measures the base model with random weights, 8 frames of 224x224: it is as fast as
a trained one, but its predictions say little. Each system lives in a process of its own; they take
turns, round by round, on the same clips, and medians count. PyTorch runs the model
TimesformerForVideoClassification of `transformers`, of the same size but with other weights.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common import formatting
from common.command_line import parse_arguments
from common.errors import InputError
from experiments.benchmarks import (
    Remote,
    carry_out,
    closing_all,
    keep_results,
    take_turns,
    with_peers,
)
from experiments.clips.viewed_model import ClipInputSpec, ViewedModel
from experiments.process import environment, runtime
from experiments.process.runtime import Threads
from experiments.runs.run import require_model, require_place
from preprocess.batches.views import CropChoice, FrameChoice
from preprocess.shards.settings import FrameSettings

if TYPE_CHECKING:
    from experiments.clips.export.sample import Sample


@dataclass(frozen=True)
class Arguments:
    """Frames a second of a TimeSformer, and how far its answers move."""

    run: Path | None = None
    """Directory of a run of experiments.epic_kitchens; by default random weights."""
    video: Path | None = None
    """Whose frames are taken; by default the run's test clips, else the built-in set's."""
    batch: int = 4
    """Clips at once."""
    rounds: int = 5
    """How often each is timed; the median counts."""
    threads: str = "auto"
    """TensorFlow's pools: auto, or INTRA,INTER. The others have as many threads as cores."""
    torch: bool = True
    """Whether to run PyTorch; pip install -e '.[benchmark]' first."""
    out: Path = Path("runs/bench_timesformer")
    """Folder for table.md and results.json."""


def run(arguments: Arguments) -> None:
    """Measure all systems, print the table and write it.

    Raises:
        ValueError, OSError, RuntimeError, PreprocessError: for an impossible flag, run or video, or
            a system that failed.
    """
    if arguments.batch < 1 or arguments.rounds < 1:
        raise InputError("--batch and --rounds must be at least 1.")
    threads = runtime.choose_threads(arguments.threads)
    if arguments.run is not None:
        require_model(arguments.run)
    if arguments.video is not None and not arguments.video.exists():
        raise InputError(f"--video must be a video. There is no {arguments.video}.")
    require_place(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    runtime.configure(threads, seed=0)

    with tempfile.TemporaryDirectory(prefix="bench-timesformer-") as scratch:
        rows, origin = measure(
            arguments.run,
            arguments.video,
            Path(scratch),
            threads,
            batch=arguments.batch,
            rounds=arguments.rounds,
            torch=with_peers(arguments.torch, "torch", "transformers"),
        )
    keep_results(
        arguments.out,
        rows,
        table=table(rows),
        circumstances=(
            f"Batches of {arguments.batch} clips, of {origin}; medians of {arguments.rounds} rounds"
        ),
        threads=threads,
    )


# The systems in turn, their predictions, and the table of both.


_REFERENCE = "Keras, float32"
# As many classes as Kinetics-400 has, and frames of 4:3 with the original's short side.
_CLASSES = 400
_STORED_SIZE = (341, 256)


@dataclass(frozen=True)
class Row:
    """Figures of one system."""

    system: str
    frames_per_second: float
    """Median rate of the rounds."""
    spread: float | None
    """Relative spread of the rounds, (fastest - slowest) / median; None for one round."""
    ratio: float
    """Rate relative to Keras in float32."""
    same_class: float | None
    """Fraction of clips with the best class of Keras in float32; None for other weights."""
    largest_difference: float | None
    """Largest difference of a probability from Keras in float32; None for other weights."""
    accuracy: float | None
    """Accuracy on the clips; None if their classes are not known."""
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
    """Measure all systems; returns the rows, and a description of the clips."""
    from experiments.clips.export.sample import find_sample
    from experiments.clips.export.subjects import load_subject
    from experiments.clips.export.write import write_int8, write_onnx

    run = run or _random_run(scratch / "run")
    subject = load_subject(run)
    sample = find_sample(subject, run_dir=run, video=video)
    exported, quantized = scratch / "model.onnx", scratch / "int8.onnx"
    write_onnx(subject, exported, sample)
    write_int8(exported, quantized, sample)
    # Each system reads the same views from this file, in its own process.
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
    with closing_all(systems):
        return _in_turn(systems, sample, rounds), sample.origin


def table(rows: Sequence[Row]) -> str:
    """Make a Markdown table of the rows."""
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
    measured = take_turns(systems, "measure", rounds)
    rates = {name: [rate for rate, _ in pairs] for name, pairs in measured.items()}
    peaks = {name: pairs[-1][1] for name, pairs in measured.items()}
    # PyTorch's weights are others, so that its predictions cannot be compared.
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
    """Write the base model with random weights in the form of a run's model."""
    from experiments.clips.model import keep_model
    from experiments.epic_kitchens.arguments import EpicKitchensArguments
    from experiments.epic_kitchens.models import build_model

    arguments = EpicKitchensArguments(shards=folder, recipe="original")
    recipe = arguments.made_recipe()
    folder.mkdir()
    names = tuple(f"class {number}" for number in range(_CLASSES))
    # The recipe leaves the size to the videos, of which there are none here.
    settings = FrameSettings(_STORED_SIZE, recipe.stride)
    crops = CropChoice(recipe.crop_size)
    input_spec = ClipInputSpec(
        names, settings, FrameChoice(recipe.num_frames, "segments"), crops, 64
    )
    keep_model(folder, build_model(arguments, recipe, _CLASSES), input_spec)
    return folder


def _torch_size(run: Path) -> dict[str, Any]:
    """Configuration of the run's TimeSformer for `transformers`."""
    from experiments.clips.model import read_model

    model, input_spec = read_model(run)
    inner = model.get_layer("timesformer")
    blocks = [layer for layer in inner.layers if layer.name.startswith("blocks_")]
    embed = inner.get_layer("embed")
    return {
        "image_size": input_spec.crops.size[0],
        "patch_size": embed.patch_size,
        "num_frames": input_spec.choice.num_frames,
        "hidden_size": embed.features,
        "num_hidden_layers": len(blocks),
        "num_attention_heads": blocks[0].heads,
        "intermediate_size": blocks[0].hidden,
        "num_labels": len(input_spec.class_names),
        "attention_type": {"divided": "divided_space_time", "joint": "joint_space_time"}.get(
            embed.attention, "space_only"
        ),
    }


# Measured systems. Each lives in a process of its own.


# Batches of one timing.
_NUM_BATCHES = 3
# Layers that get the policy mixed_bfloat16; all others stay in float32.
_IN_BFLOAT16 = ("SpaceTimeBlock", "SpaceTimeEmbedding")


class Clips:
    """A model that predicts views of clips in memory.

    Args:
        file: .npy file with the views, uint8 (N, T, H, W, 3).
        batch: number of views in a batch.
    """

    def __init__(self, file: Path, batch: int) -> None:
        self._views = list(np.load(file, allow_pickle=False))
        # Views are repeated if there are fewer than the batch takes.
        self._batch = [self._views[i % len(self._views)] for i in range(batch)]
        # The first call compiles.
        self.probabilities(self._batch)

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Predicted probabilities of views, shape (len(views), classes)."""
        raise NotImplementedError

    def answers(self) -> NDArray[np.float32]:
        """Predicted probabilities of all views."""
        # One by one, so that every view is predicted in a batch of the same size.
        return np.concatenate([self.probabilities([view]) for view in self._views])

    def measure(self) -> tuple[float, int]:
        """Measure frames per second, and the peak memory of the process in bytes."""
        started = time.perf_counter()
        for _ in range(_NUM_BATCHES):
            self.probabilities(self._batch)
        seconds = time.perf_counter() - started
        frames = _NUM_BATCHES * sum(len(view) for view in self._batch)
        return frames / seconds, environment.peak_rss_bytes()


class KerasClips(Clips):
    """A run's model in Keras, with its blocks in bfloat16 on request."""

    def __init__(self, file: Path, batch: int, run: Path, bfloat16: bool = False) -> None:
        from experiments.clips.model import ClipModel, read_model

        model, input_spec = read_model(run)
        self._model: ViewedModel = ClipModel(_in_bfloat16(model) if bfloat16 else model, input_spec)
        super().__init__(file, batch)

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Predicted probabilities of views, shape (len(views), classes)."""
        return self._model.probabilities(views)


class OnnxClips(Clips):
    """An exported file in ONNX Runtime."""

    def __init__(self, file: Path, batch: int, model: Path) -> None:
        from experiments.clips.prediction.onnx_model import OnnxClipModel

        self._model: ViewedModel = OnnxClipModel(model)
        super().__init__(file, batch)

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Predicted probabilities of views, shape (len(views), classes)."""
        return self._model.probabilities(views)


class TorchClips(Clips):
    """A TimeSformer of the same size in PyTorch, from `transformers`.

    Args:
        file: .npy file with the views.
        batch: number of views in a batch.
        size: arguments of `transformers.TimesformerConfig`.
    """

    def __init__(self, file: Path, batch: int, size: dict[str, Any]) -> None:
        import torch
        from transformers import TimesformerConfig, TimesformerForVideoClassification

        torch.manual_seed(0)
        self._torch = torch
        self._net = TimesformerForVideoClassification(TimesformerConfig(**size)).eval()
        super().__init__(file, batch)

    def probabilities(self, views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Predicted probabilities of views, shape (len(views), classes)."""
        pixels = self._torch.from_numpy(np.stack(views)).movedim(-1, -3)  # (B, T, 3, H, W)
        with self._torch.inference_mode():
            logits = self._net((pixels.float() / 255 - 0.45) / 0.225).logits
            return logits.softmax(dim=1).numpy()


def _in_bfloat16(model: Any) -> Any:
    """Rebuild a model with the same weights, whose blocks compute in bfloat16."""
    import keras

    config = json.loads(model.to_json())
    _set_policy(config, keras.dtype_policies.serialize(keras.DTypePolicy("mixed_bfloat16")))
    rebuilt = keras.models.model_from_json(json.dumps(config))
    # The weights themselves stay in float32 under the policy mixed_bfloat16.
    rebuilt.set_weights(model.get_weights())
    return rebuilt


def _set_policy(value: Any, policy: Any) -> None:
    if isinstance(value, dict):
        if value.get("class_name") in _IN_BFLOAT16:
            value["config"]["dtype"] = policy
        for part in value.values():
            _set_policy(part, policy)
    elif isinstance(value, list):
        for part in value:
            _set_policy(part, policy)


def main() -> int:
    """Run the command, and return the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.bench_timesformer")
    return carry_out(lambda: run(arguments))


# Guarded, because spawned processes import this module, too.
if __name__ == "__main__":
    sys.exit(main())
