"""Jobs of the full-disk tests: every command that writes, as small as possible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Args = list[object]


@dataclass(frozen=True)
class Job:
    """Command with the files that it must leave.

    Args:
        args: function of the folders of inputs and of results that returns python's arguments.
        results: patterns of files, each of which must match in the end.
        same: patterns of files that must have the same bytes as those of an undisturbed run.
        resume: arguments that are added to continue.
        slow: whether it takes long.
        needs: inputs that it needs; see `inputs`.
    """

    args: Callable[[Path, Path], Args]
    results: tuple[str, ...]
    same: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()
    slow: bool = False
    needs: tuple[str, ...] = ()


_RECORDING = "recording/recording.mp4"
_COLOUR_MODEL, _COLOUR_NAMES = "colours/colours.keras", "colours/labels.txt"
_LABELS, _SCORES, _ARRAYS = "labels/labels.csv", "scores/scores.csv", "arrays/arrays.npz"
_STRETCHES = "stretches/list.csv"
_SMALLEST = ("--clips-per-group", 1, "--groups-per-class", 1)
_UCF11 = ("-m", "tests.killing.train_with_all_checkpoints", "--tt", "--maxlen", 20, "--stride", 4)
_UCF101 = (
    *("--model", "crnn", "--epochs", 1, "--batch-size", 8, "--set"),
    *("frame_size=[48,40]", "crop_size=[40,40]", "num_frames=9", "stride=1", "views=1x1"),
)
_EPIC = (
    *("--size", "small", "--epochs", 1, "--batch-size", 8, "--views", "1x1", "--set"),
    *("frame_size=[24,16]", "crop_size=[16,16]", "num_frames=4", "num_operations=1"),
)
_SCORER = ("--no-snap", "--bin-size", 1)
_COLOURS = ("--scaling", "unit", "--top", 2, "--batch-size", 8)
_HIGHLIGHTS = ("-m", "experiments.highlights")

JOBS: dict[str, Job] = {
    "demo": Job(
        lambda given, out: ["-m", "preprocess", "demo", out / "videos", *_SMALLEST],
        ("videos/*/*/*.mpg", "videos/synthetic.json"),
        ("videos/*/*/*.mpg",),
    ),
    "extraction": Job(
        lambda given, out: [
            *("-m", "preprocess", "folder", given / "videos", out / "shards"),
            *("--size", "64x48", "--jobs", 2),
        ],
        ("shards/shard-*.h5", "shards/statistics.json", "shards/dataset.json"),
        needs=("videos",),
    ),
    "windows": Job(
        lambda given, out: ["-m", "preprocess", "windows", given / "videos", out / "list.csv"],
        ("list.csv",),
        needs=("videos",),
    ),
    "ucf11": Job(
        lambda given, out: [
            *(*_UCF11, "--epochs", 2, "--shards", given / "shards", "--out", out / "run"),
        ],
        ("run/result.json", "run/report.html", "run/model.json"),
        ("run/predictions.csv",),
        ("--resume",),
        needs=("shards",),
    ),
    "ucf101": Job(
        lambda given, out: [
            *("-m", "experiments.ucf101", "--shards", given / "large", "--out", out / "run"),
            *_UCF101,
        ],
        ("run/result.json", "run/report.html", "run/model.json"),
        ("run/predictions.csv",),
        ("--resume",),
        slow=True,
        needs=("large",),
    ),
    "epic train": Job(
        lambda given, out: [
            *(
                "-m",
                "experiments.epic_kitchens",
                "train",
                "--videos",
                given / _STRETCHES,
            ),
            *("--shards", out / "shards", "--out", out / "run", *_EPIC),
        ],
        ("run/result.json", "run/report.html", "run/model.json"),
        ("run/predictions.csv",),
        ("--resume",),
        slow=True,
        needs=("stretches",),
    ),
    "predict": Job(
        lambda given, out: [
            *("-m", "experiments.epic_kitchens", "predict", given / _RECORDING),
            *("--run", given / "run", "--out", out / "out"),
        ],
        ("out/recording.json", "out/recording.csv", "out/predictions.csv", "out/*.mp4"),
        ("out/recording.csv",),
        needs=("recording", "run"),
        slow=True,
    ),
    "export": Job(
        lambda given, out: ["-m", "experiments.export", given / "run", out / "x.onnx"],
        ("x.onnx",),
        needs=("run",),
        slow=True,
    ),
    "classify": Job(
        lambda given, out: [
            *("-m", "experiments.classify", "-d", given / "recording", "--out", out / "save"),
            *(
                "--model",
                given / _COLOUR_MODEL,
                "--labels",
                given / _COLOUR_NAMES,
                *_COLOURS,
            ),
        ],
        ("save/recording.csv", "save/recording.json", "save/recording.png"),
        ("save/*.csv", "save/*.json"),
        needs=("recording", "colours"),
    ),
    "classify --annotate": Job(
        lambda given, out: [*JOBS["classify"].args(given, out), "--annotate"],
        ("save/recording.csv", "save/recording.annotated.mp4"),
        ("save/*.csv", "save/*.json"),
        needs=("recording", "colours"),
        slow=True,
    ),
    "highlights extract": Job(
        lambda given, out: [
            *_HIGHLIGHTS,
            "extract",
            given / _LABELS,
            out / "pictures",
        ],
        ("pictures/shard-*.h5", "pictures/dataset.json"),
        needs=("labels",),
        slow=True,
    ),
    "highlights train": Job(
        lambda given, out: [
            *(*_HIGHLIGHTS, "train", given / _LABELS, given / "pictures"),
            *("--out", out / "scorer", "--epochs", 1),
        ],
        ("scorer/result.json", "scorer/scorer.json", "scorer/best.keras", "scorer/report.html"),
        ("scorer/predictions.csv",),
        ("--resume",),
        slow=True,
        needs=("labels", "pictures"),
    ),
    "highlights run": Job(
        lambda given, out: [
            *("-m", "tests.experiments.highlights.run_with_stand_in", 0, "run"),
            *(given / _RECORDING, "--model", given / "model", *_SCORER),
            *("-o", out / "reel.mp4"),
        ],
        ("reel.mp4", "reel.csv", "reel.scores.csv", "reel.scores.json"),
        ("reel.*",),
        ("--overwrite",),
        needs=("recording", "model"),
        slow=True,
    ),
    "highlights reel": Job(
        lambda given, out: [
            *(
                *_HIGHLIGHTS,
                "reel",
                given / _SCORES,
                given / _RECORDING,
                *_SCORER,
            ),
            *("-o", out / "reel.mp4"),
        ],
        ("reel.mp4", "reel.csv"),
        ("reel.*",),
        ("--overwrite",),
        needs=("recording", "scores"),
    ),
    "highlights labels": Job(
        lambda given, out: [
            *_HIGHLIGHTS,
            "labels",
            given / _LABELS,
            out / "labels.csv",
        ],
        ("labels.csv",),
        ("labels.csv",),
        needs=("labels",),
    ),
    "results": Job(
        lambda given, out: [
            *("-m", "experiments.results", "--page", out / "results.md"),
            *("--readme", out / "README.md"),
        ],
        ("results.md",),
        ("results.md",),
    ),
    "weights convert": Job(
        lambda given, out: [
            *(
                "-m",
                "weights",
                "convert",
                given / _ARRAYS,
                out / "arrays.safetensors",
            ),
        ],
        ("arrays.safetensors",),
        ("arrays.safetensors",),
        needs=("arrays",),
    ),
}
