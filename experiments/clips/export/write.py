"""Write ONNX files, in float32 and int8; a file appears only after a comparison with Keras."""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

from common.errors import InputError
from common.formatting import percent
from experiments.clips.export.subjects import Subject, load_subject
from experiments.clips.prediction.predict import sliding_windows
from experiments.models.onnx_export import ExportError, write_checked
from experiments.models.onnx_files import OnnxSession
from preprocess.errors import PreprocessError
from preprocess.shards.reader import ShardClip, Shards, open_shards
from preprocess.sources.clips import Clip
from preprocess.sources.synthetic import render_dataset
from preprocess.video.ffmpeg import silent

EXIT_DIFFERS = 1
_BATCHES = (1, 3)
# Number of rows that are compared one by one.
_SINGLE_ROWS = 8
# A protobuf message holds less than 2 GiB; the difference leaves room for the graph.
_LARGEST_BYTES = 2**31 - 2**22

Predict = Callable[[NDArray[Any]], NDArray[np.float32]]


def export_model(model: Path, out: Path, small: Path, *, int8: bool, video: Path | None) -> int:
    """Write a model as ONNX and print how well the file agrees; returns the exit code.

    Args:
        model: directory of a finished run, or a .keras file of a model of pictures.
        out: the file to write.
        small: the file to write in 8 bits.
        int8: write that file, too.
        video: video on which both are compared; None for the run's own clips.
    """
    subject = load_subject(model)
    for note in subject.notes:
        print(note)
    # The run's own clips are the best test: the model was made for their kind of video.
    sample = find_sample(subject, run_dir=model if model.is_dir() else model.parent, video=video)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        difference = write_onnx(subject, out, sample)
    except ExportError as error:
        # With an exit code of its own: the command was right, but the models differ.
        print(f"error: {error}", file=sys.stderr)
        return EXIT_DIFFERS
    print(
        f"{out}: {out.stat().st_size / 1e6:.2f} MB; Keras and ONNX Runtime differ by at most "
        f"{difference:.1e} on {sample.origin}"
    )
    if int8:
        print(f"{small}: {write_int8(out, small, sample)}")
    return 0


def write_onnx(subject: Subject, path: Path, sample: Sample) -> float:
    """Write a model with softmax and metadata inside, for batches of any size.

    Args:
        subject: the model.
        path: path of the file, which appears only once ONNX Runtime agrees with Keras.
        sample: rows that both are compared on, in batches of 1 and 3.

    Returns:
        The largest difference between a probability of Keras and of ONNX Runtime.

    Raises:
        ExportError: if it is above 1e-4, or no graph can be made of the model.
        InputError: if the model is too large for a file.
    """
    require_small(subject.model.count_params())
    return write_checked(
        _graph(subject),
        path,
        subject.about.to_metadata(),
        compare=lambda written: largest_difference(
            subject.predict, OnnxSession(written, num_threads=0), sample
        ),
        compared_on=sample.origin,
    )


def require_small(num_weights: int) -> None:
    """Raise InputError for more float32 weights than fit in a file."""
    if 4 * num_weights > _LARGEST_BYTES:
        raise InputError(
            f"An ONNX file holds at most 2 GiB. This model's weights are {num_weights:,}, which in "
            f"float32 is {4 * num_weights / 2**30:.2f} GiB; train a smaller one."
        )


def largest_difference(ours: Predict, theirs: Predict, sample: Sample) -> float:
    """Largest difference of the probabilities of two models, for single rows and batches."""
    batches = [sample.batch(size) for size in _BATCHES]
    batches += [row[None] for row in sample.rows[:_SINGLE_ROWS]]
    found = [np.abs(ours(batch) - theirs(batch)).max() for batch in batches]
    return float(np.max(found))


def _graph(subject: Subject) -> Any:
    with silent("tf2onnx"):
        try:
            return subject.graph()
        except Exception as error:
            # tf2onnx's errors have no common class.
            raise ExportError(f"tf2onnx makes no graph of this model: {error}") from error


_ROUNDS = 7
_BATCH = 4


@dataclass(frozen=True)
class Int8Report:
    """Comparison of the file in int8 with the one in float32; pairs are (float32, int8).

    Args:
        num_products: number of matrix products that compute in int8.
        num_bytes: sizes of the files.
        same_class: fraction of the rows whose best class is the same.
        mean_difference: mean absolute difference of the probabilities.
        accuracy: accuracies; None if no labels are known.
        rows_per_second: median speeds.
        num_rows: number of rows that were compared.
    """

    num_products: int
    num_bytes: tuple[int, int]
    same_class: float
    mean_difference: float
    accuracy: tuple[float, float] | None
    rows_per_second: tuple[float, float]
    num_rows: int

    def __str__(self) -> str:
        before, after = (size / 1e6 for size in self.num_bytes)
        slow, fast = self.rows_per_second
        lines = [
            f"{self.num_products} matrix products in int8; {after:.2f} MB, float32 {before:.2f} MB",
            f"  same class {percent(self.same_class)} of {self.num_rows}, probabilities differ by "
            f"{self.mean_difference:.2g} on average",
            f"  {fast:.3g} a second, float32 {slow:.3g}",
        ]
        if self.accuracy is not None:
            lines.append(f"  accuracy {self.accuracy[1]:.3f}, float32 {self.accuracy[0]:.3f}")
        return "\n".join(lines)


def write_int8(path: Path, out: Path, sample: Sample) -> Int8Report:
    """Quantize a file dynamically: weights once, their inputs at each call.

    Only products with constant matrices change: convolutions and the loops over time stay.

    Args:
        path: path of the float32 file.
        out: path of the int8 file, which appears once it is complete.
        sample: rows that both are tried on.

    Raises:
        InputError: if there is no such product.
    """
    # In the same folder, so that the finished file can be renamed into its place.
    with tempfile.TemporaryDirectory(prefix=".int8-", dir=out.parent) as folder:
        partial = Path(folder) / "model.onnx"
        num_products = _quantize(path, partial)
        if not num_products:
            raise InputError(
                "int8 is for products with constant matrices. This model has none; leave out "
                f"--int8. {path} is written."
            )
        report = _report(path, partial, sample, num_products)
        partial.replace(out)
    return report


def _quantize(path: Path, out: Path) -> int:
    """Quantize a file; returns the number of matrix products that were changed."""
    folded = _folded(path, out.with_name("folded.onnx"))
    options: Any = {"weight_type": QuantType.QInt8, "op_types_to_quantize": ["MatMul"]}
    with silent("root"):
        quantize_dynamic(folded, out, **options)
    return sum(node.op_type == "MatMulInteger" for node in onnx.load(out).graph.node)


def _folded(path: Path, out: Path) -> Path:
    """Write a file in which all that depends on weights alone is computed, such as TT kernels."""
    # A TT kernel is a product of cores, and no constant for the quantizer until it is folded.
    options = onnxruntime.SessionOptions()
    # Errors only.
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(out)
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return out


def _report(path: Path, quantized: Path, sample: Sample, num_products: int) -> Int8Report:
    runs = (OnnxSession(path, 0), OnnxSession(quantized, 0))
    # Row by row, because clips may differ in length.
    before, after = (np.concatenate([run(row[None]) for row in sample.rows]) for run in runs)
    accuracy = None
    if sample.labels is not None:
        found = [float((p.argmax(axis=1) == sample.labels).mean()) for p in (before, after)]
        accuracy = (found[0], found[1])
    return Int8Report(
        num_products,
        (path.stat().st_size, quantized.stat().st_size),
        same_class=float((before.argmax(axis=1) == after.argmax(axis=1)).mean()),
        mean_difference=float(np.abs(before - after).mean()),
        accuracy=accuracy,
        rows_per_second=_speeds(runs, sample.batch(_BATCH)),
        num_rows=len(sample.rows),
    )


def _speeds(runs: tuple[OnnxSession, OnnxSession], batch: NDArray) -> tuple[float, float]:
    """Median rows per second of two models that take turns; the first round warms up."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(1 + _ROUNDS):
        for run, taken in zip(runs, seconds, strict=True):
            begun = time.perf_counter()
            run(batch)
            taken.append(time.perf_counter() - begun)
    first, second = (len(batch) / median(taken[1:]) for taken in seconds)
    return first, second


# Real frames to try a model on: a video, the run's clips, or the built-in demo set.


# Most rows of a sample, and the memory that they take at most.
_MAX_ROWS, _MAX_BYTES = 64, 2**29
_WINDOWS_OF_A_VIDEO = 8
_DEMO_CLIPS = 3


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of a graph's input, with their labels and origin.

    Args:
        rows: views (T, H, W, 3) or images (H, W, 3), three or more.
        labels: their classes, (len(rows),); None if unknown.
        origin: description of where they come from.
    """

    rows: list[NDArray[Any]]
    labels: NDArray[np.int64] | None
    origin: str

    def batch(self, size: int) -> NDArray[Any]:
        """Stack the first rows to a batch, with clips cut to the shortest one."""
        rows = self.rows[:size]
        if rows[0].ndim == 3:
            return np.stack(rows)
        length = min(len(row) for row in rows)
        return np.stack([row[:length] for row in rows])


def find_sample(subject: Subject, *, run_dir: Path | None, video: Path | None) -> Sample:
    """Find real frames on which a model is tried.

    Args:
        subject: the model.
        run_dir: run whose clips are taken, only its test clips if it has named them.
        video: video that is taken in place of them.

    Raises:
        PreprocessError, OSError: if the video cannot be read.
    """
    if video is not None:
        return _of_videos(subject, [video], str(video))
    if run_dir is not None and (found := _of_run(subject, run_dir)):
        return found
    # A last resort: any real motion tells more about two runtimes than noise does.
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        options: Any = {"groups_per_class": 1, "clips_per_group": 1, "progress": False}
        render_dataset(Path(folder), **options)
        videos = sorted(Path(folder).rglob("*.mpg"))[:_DEMO_CLIPS]
        return _of_videos(subject, videos, "the built-in demo set")


def _of_videos(subject: Subject, videos: Sequence[Path], name: str) -> Sample:
    rows = [row for video in videos for row in _video_rows(subject, video)]
    if not rows:
        raise PreprocessError(f"no frame of {name} could be decoded")
    return Sample(_at_least_three(rows), None, f"{len(rows)} windows of {name}")


def _video_rows(subject: Subject, video: Path) -> Iterator[NDArray[Any]]:
    settings, window = replace(subject.frame_settings, max_frames=None), subject.window
    clip = Clip(video, source=video.name, class_name="", group="")
    with settings.open(clip, threads=1) as reader:
        windows = sliding_windows(
            reader, settings.frame_shape, window=window, hop=max(window // 2, 1)
        )
        for found in islice(windows, _WINDOWS_OF_A_VIDEO):
            yield subject.model_input(found.frames, (reader.info.width, reader.info.height))


def _of_run(subject: Subject, run_dir: Path) -> Sample | None:
    """Take clips from the shards that a run has used; None if these are gone or have changed."""
    config = run_dir / "config.json"
    folder = json.loads(config.read_text()).get("shards") if config.is_file() else None
    if not folder:
        return None
    try:
        with open_shards(folder, subject.settings_type) as shards:
            return _of_clips(subject, shards, _tested(run_dir, shards))
    except PreprocessError as error:
        print(f"The run's own clips cannot be taken: {error}")
        return None


def _tested(run_dir: Path, shards: Shards) -> list[ShardClip]:
    """List the clips that the run was tested on; all clips if it does not name them."""
    clips, table = list(shards), run_dir / "predictions.csv"
    if not table.is_file():
        return clips
    with table.open(newline="", encoding="utf-8") as file:
        tested = {row.get("clip") for row in csv.DictReader(file)}
    return [clip for clip in clips if clip.source in tested] or clips


def _of_clips(subject: Subject, shards: Shards, clips: list[ShardClip]) -> Sample | None:
    """Make a sample of clips that are evenly spread over all."""
    names = subject.about.class_names
    is_labelled = subject.about.kind == "clips"
    if is_labelled:
        clips = [clip for clip in clips if clip.class_name in names]
    if not clips:
        return None
    # Its size tells how many rows fit into the memory.
    first = _row(subject, shards, clips[0])
    number = min(max(3, min(_MAX_ROWS, _MAX_BYTES // first.nbytes)), len(clips))
    chosen = [clips[i] for i in np.linspace(0, len(clips) - 1, number).astype(int)]
    rows = [first, *(_row(subject, shards, clip) for clip in chosen[1:])]
    labels = np.array([names.index(clip.class_name) for clip in chosen]) if is_labelled else None
    origin = f"{number} clips of {shards.folder}"
    return Sample(_at_least_three(rows), labels if number >= 3 else None, origin)


def _row(subject: Subject, shards: Shards, clip: ShardClip) -> NDArray[Any]:
    """Read a clip as the model sees it; for a model of images, its first frame."""
    settings = subject.frame_settings
    if shards.settings.frame_shape != settings.frame_shape:
        raise PreprocessError(
            f"frames of {settings.size} are needed. {shards.folder} has {shards.settings.size}."
        )
    if subject.about.kind != "clips":
        return subject.model_input(clip.read(max_frames=1), clip.original_size)
    # Both count in frames of the video, and the shards may have left some out already.
    stride = max(settings.stride // shards.stride, 1)
    frames = clip.read(stride=stride, max_frames=settings.max_frames)
    return subject.model_input(frames, clip.original_size)


def _at_least_three(rows: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Add the first row mirrored, and upside down, if there are fewer than three rows."""
    # A batch of three is compared in any case. Axes count from the end: (..., H, W, 3).
    more = [rows[0][..., ::-1, :], rows[0][..., ::-1, :, :]]
    return rows + [np.ascontiguousarray(row) for row in more] if len(rows) < 3 else rows
