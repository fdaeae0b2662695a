"""The jobs as Python functions. The commands run the same code.

    from experiments import train

    run = train("videos", epochs=20)
    run.predict("new.mp4").to_arrow()

Messages go to standard output, as those of the commands do. An error that a person can mend is a
`common.errors.UserError`. TensorFlow's thread pools are those of the first job of the process.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from common.errors import InputError, did_you_mean
from experiments import classify as classification
from experiments.clips import presets, ucf11_job
from experiments.clips.classification.results import ONE_TABLE
from experiments.clips.prediction.job import load_model
from experiments.clips.prediction.predict import VideoPrediction, predict_video
from experiments.clips.ucf11 import Ucf11Arguments
from experiments.clips.viewed_model import ViewedModel
from experiments.epic_kitchens import job as epic_kitchens
from experiments.epic_kitchens.recipes import EpicKitchensArguments
from experiments.highlights.commands import reel, run
from experiments.highlights.commands.arguments import Reel as ReelArguments
from experiments.highlights.commands.arguments import Run as RunArguments
from experiments.highlights.cut_lists.cut_lists import SUFFIXES
from experiments.highlights.selection.scores import read_scores
from experiments.process import runtime
from experiments.runs.directory import THRESHOLD
from experiments.runs.files import read_object
from experiments.runs.run import RESULT, require_model
from experiments.ucf101 import job as ucf101
from experiments.ucf101.recipes import Ucf101Arguments
from preprocess.batches.views import Views
from preprocess.shards.schema import SHARD_GLOB

if TYPE_CHECKING:
    import keras

PathLike = str | os.PathLike[str]
ModelName = Literal[
    "tt-gru",
    "tt-lstm",
    "tt-rnn",
    "gru",
    "lstm",
    "rnn",
    "conv3d",
    "crnn",
    "resnet-crnn",
    "timesformer",
]
"""Models that `train` builds: six of UCF11's job, three of UCF101's, and the TimeSformer."""
_UCF101 = ("conv3d", "crnn", "resnet-crnn")
# They end without a run, or with several.
_COMMANDS_ONLY = ("distribute", "find_rate", "folds")
Arguments = TypeVar("Arguments")


class ClipRun:
    """Finished run of a job on clips: its result, and its model for new videos.

    Args:
        run_dir: directory of the run.

    Raises:
        ClipModelError: if it holds no finished run.

    Example:
        >>> run = load_run("runs/NAME")
        >>> run.predict("new.mp4").to_arrow()
    """

    def __init__(self, run_dir: PathLike) -> None:
        self.run_dir = Path(run_dir)
        require_model(self.run_dir)

    def __repr__(self) -> str:
        return f"ClipRun({str(self.run_dir)!r})"

    @cached_property
    def result(self) -> dict[str, Any]:
        """Content of result.json: accuracy, sizes, machine, versions; empty without the file."""
        return read_object(self.run_dir / RESULT)

    @cached_property
    def model(self) -> keras.Model:
        """Keras model from {"frames", "num_frames"} to class probabilities."""
        return self._loaded.model

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return self._loaded.class_names

    @cached_property
    def _loaded(self) -> Any:
        return load_model(self.run_dir, Views(), runtime.choose_threads("auto"))

    def predict(
        self,
        video: PathLike,
        *,
        hop: int | None = None,
        rolling: int = 5,
        views: str = "1x1",
        threshold: float = THRESHOLD,
    ) -> VideoPrediction:
        """Predict a video, window by window, as `python -m experiments.predict` does.

        Args:
            video: a video file, or a folder of frame000001.jpg and so on.
            hop: frames, of those that the model sees, from one window to the next; by default half
                a window.
            rolling: number of windows in the rolling mean.
            views: how often each window is looked at: places in time x crops, such as 1x3.
            threshold: least probability of a class that is named, where a clip may be of several.

        Returns:
            The prediction; `to_arrow()` and `to_pandas()` give it as a table, a row a window.

        Raises:
            DecodeError: if the video cannot be read.
        """
        model: ViewedModel = self._loaded
        if Views.parse(views) != Views():
            model = load_model(self.run_dir, Views.parse(views), runtime.choose_threads("auto"))
        return predict_video(
            model,
            Path(video),
            hop=hop,
            rolling=rolling,
            threshold=threshold if model.several_labels else None,
        )

    def save_to_preset(self, folder: PathLike) -> Path:
        """Write model, settings, labels and a model card to a new folder; returns it.

        Raises:
            InputError: if the folder holds anything already.
        """
        return presets.save_to_preset(self.run_dir, Path(folder))

    def push_to_hub(self, name: str, *, private: bool = True) -> str:
        """Upload the preset of this run to the Hugging Face hub; returns its address.

        Args:
            name: OWNER/NAME on the hub. Its library finds the token of the user.
            private: whether only its owner may see it, if it is new.

        Raises:
            InputError: if the hub does not take it.
            MissingExtraError: if the hub's library is not installed.
        """
        with tempfile.TemporaryDirectory() as folder:
            preset = presets.save_to_preset(self.run_dir, Path(folder) / "preset")
            return presets.push_to_hub(preset, name, private=private)


@dataclass(frozen=True)
class Classification:
    """Classes of every frame of some videos.

    Args:
        frames: table with a row a frame: video, frame, seconds, label_1, ..., prob_1, ...
        failures: reason of each video that could not be read whole, by its name.
        out: folder of the files that the command writes.
    """

    frames: pa.Table
    failures: dict[str, str]
    out: Path


@dataclass(frozen=True)
class Scores:
    """Scores of a recording, of N pictures.

    Args:
        path: CSV file with the columns time_seconds and probability.
        times: time of each picture, in seconds of the recording, (N,).
        probabilities: probability of a highlight at each, (N,).
    """

    path: Path
    times: NDArray[np.float64]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class Reel:
    """Reel of a recording's highlights.

    Args:
        path: the reel; None if no moment reached the threshold.
        cuts: table of the cut list, a row a highlight.
    """

    path: Path | None
    cuts: pa.Table


def train(
    data: PathLike | None = None,
    *,
    model: ModelName = "tt-gru",
    epochs: int | None = None,
    out: PathLike | None = None,
    resume: bool = False,
    **flags: Any,
) -> ClipRun:
    """Train a model on a folder of videos or of shards, test it, and write the report.

    Args:
        data: folder of videos, or of the shards that `python -m preprocess` made; None for the
            built-in set.
        model: the model: tt-gru to rnn as `experiments.ucf11`, conv3d to resnet-crnn as
            `experiments.ucf101`, timesformer as `experiments.epic_kitchens`.
        epochs: passes over the training clips; by default the recipe's.
        out: the run's directory; by default runs/ and a name made of the settings.
        resume: continue a run that was stopped, to the same numbers.
        **flags: further flags of that command, such as recipe="paper" or set=("inputs=raw",).

    Raises:
        UserError: if clips, directory or a flag are not what they should be.

    Example:
        >>> run = train("videos", model="tt-lstm", epochs=20)
        >>> run.result["accuracy"]
    """
    known: dict[str, Any] = {"epochs": epochs, "resume": resume}
    known["out"] = None if out is None else Path(out)
    if data is not None:
        is_shards = any(Path(data).glob(SHARD_GLOB))
        known["shards" if is_shards else "videos"] = Path(data)
    command_only = [name for name in _COMMANDS_ONLY if name in flags]
    if command_only:
        raise InputError(
            f"train makes one run on this machine. Received {command_only[0]}; give that flag to "
            "the command."
        )
    if model in _UCF101:
        flags["model"] = model
        result = ucf101.run(_arguments(Ucf101Arguments, known, flags))
    elif model == "timesformer":
        result = epic_kitchens.run(_arguments(EpicKitchensArguments, known, flags))
    else:
        if model not in get_args(ModelName):
            raise InputError(
                f"model must be one of {', '.join(get_args(ModelName))}. Received {model!r}. "
                f"{did_you_mean(model, get_args(ModelName))}".strip()
            )
        known |= {"tt": model.startswith("tt-"), "cell": model.removeprefix("tt-")}
        result = ucf11_job.run(_arguments(Ucf11Arguments, known, flags))
    assert result is not None
    return ClipRun(result["run_dir"])


def load_run(run_dir: PathLike) -> ClipRun:
    """Open a finished run of UCF11's, UCF101's or the TimeSformer's job.

    Raises:
        ClipModelError: if the directory holds none.

    Example:
        >>> load_run("runs/NAME").predict("new.mp4").to_pandas()
    """
    return ClipRun(run_dir)


def from_preset(source: PathLike) -> ClipRun:
    """Open the preset of a trained model.

    Args:
        source: folder that `ClipRun.save_to_preset` wrote, or hf://OWNER/NAME of the Hugging Face
            hub, which is downloaded. Files of others are checked before Keras reads them.

    Raises:
        InputError: if the hub does not give it.
        ClipModelError: if the folder is no preset.
        MissingExtraError: if the hub's library is not installed.

    Example:
        >>> load_run("runs/NAME").save_to_preset("preset")
        >>> from_preset("preset").predict("new.mp4")
    """
    return ClipRun(presets.find_preset(os.fspath(source)))


def classify_videos(
    videos: PathLike | Sequence[PathLike], *, out: PathLike = "save", **flags: Any
) -> Classification:
    """Classify every frame of videos by an image model.

    A second call goes on where the first one was stopped.

    Args:
        videos: videos, folders of videos, and patterns such as "videos/*.mp4"; one or several.
        out: folder of results: tables, summaries and plots.
        **flags: further flags of `python -m experiments.classify`, such as model="mobilenet",
            top=3 or every=10.

    Raises:
        UserError: if folder, model, weights or a flag are not what they should be.

    Example:
        >>> classify_videos("videos").frames.to_pandas()
    """
    paths = _paths(videos)
    known = {"paths": paths, "out": Path(out), "one_csv": True}
    classification.run(_arguments(classification.Arguments, known, flags))
    failed = Path(out) / "failures.csv"
    reasons = arrow_csv.read_csv(failed).to_pylist() if failed.exists() else []
    return Classification(
        _table(Path(out) / ONE_TABLE),
        {row["video"]: row["reason"] for row in reasons},
        Path(out),
    )


def score(
    recording: PathLike | Sequence[PathLike],
    model: PathLike,
    *,
    out: PathLike = "reel.mp4",
    **flags: Any,
) -> Scores:
    """Score a recording: how likely each moment is a highlight.

    The scores are kept beside the reel that `cut` makes, so that nothing is predicted twice.

    Args:
        recording: a video, or several in order, or a folder of chunks.
        model: directory of a run of `python -m experiments.highlights train`.
        out: the reel.
        **flags: further flags of `python -m experiments.highlights run`, such as box or fps.

    Raises:
        UserError: if recording, model or a flag are not what they should be.

    Example:
        >>> scores = score("vod.mp4", "runs/scorer")
        >>> cut("vod.mp4", scores, threshold=0.7).path
    """
    known = {"recording": _paths(recording), "model": Path(model), "out": Path(out)}
    run.run(_arguments(RunArguments, known | {"dry_run": True}, flags))
    path = Path(out).with_suffix(".scores.csv")
    return Scores(path, *read_scores(path))


def cut(
    recording: PathLike | Sequence[PathLike],
    scores: Scores | PathLike,
    *,
    out: PathLike = "reel.mp4",
    **flags: Any,
) -> Reel:
    """Choose the highlights of a scored recording, and render them as one video.

    Args:
        recording: that of `score`.
        scores: its scores, or a CSV file with the columns time_seconds and probability.
        out: the reel; its cut list lies beside it.
        **flags: further flags of `python -m experiments.highlights reel`, such as threshold=0.7 or
            top=5.

    Raises:
        UserError: if recording, scores or a flag are not what they should be.
    """
    file = scores.path if isinstance(scores, Scores) else Path(scores)
    known = {"recording": _paths(recording), "scores": file, "out": Path(out)}
    arguments = _arguments(ReelArguments, known | {"cut_lists": ("csv",)}, flags)
    path = Path(out).with_suffix(SUFFIXES["csv"])
    before = path.stat().st_mtime_ns if path.exists() else None
    reel.run(arguments)
    # Without a highlight nothing is written, and what lies there is of another reel.
    is_written = path.exists() and path.stat().st_mtime_ns != before
    return Reel(Path(out) if is_written else None, _table(path) if is_written else pa.table({}))


def _paths(paths: PathLike | Sequence[PathLike]) -> tuple[Path, ...]:
    """Paths of one or several that were given."""
    if isinstance(paths, str | os.PathLike):
        return (Path(paths),)
    return tuple(map(Path, paths))


def _table(path: Path) -> pa.Table:
    """Read a CSV that a command wrote; no columns if it wrote none."""
    return arrow_csv.read_csv(path) if path.exists() and path.stat().st_size else pa.table({})


def _arguments(
    kind: type[Arguments], known: Mapping[str, Any], flags: Mapping[str, Any]
) -> Arguments:
    """Make a command's arguments of those that a function has by name, and of further flags.

    Raises:
        InputError: for a flag that the command does not have.
    """
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for name in flags:
        if name not in names or name in known:
            raise InputError(
                f"The flags must be among {', '.join(sorted({*names} - {*known}))}. Received "
                f"{name!r}. {did_you_mean(name, names)}".strip()
            )
    # Flags that are paths may be given as text.
    typed = {
        name: Path(value) if isinstance(value, str) and _is_path(kind, name) else value
        for name, value in flags.items()
    }
    return kind(**known, **typed)


def _is_path(kind: type, name: str) -> bool:
    return "Path" in str(next(f.type for f in dataclasses.fields(kind) if f.name == name))
