"""Commands that read videos: extraction, classification, and scoring of highlights."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.experiments.highlights import run_with_stand_in
from tests.fuzzing.videos import FOLDER, Results, VideoTarget, died, reasons
from tests.preprocess.conftest import read_plainly

SIZE = (40, 30)


class Extraction(VideoTarget):
    """Extraction, whose frames are compared with those of a plain OpenCV loop."""

    name = "extraction"

    def _alone(self) -> list[Any]:
        files = self.folder / "alone"
        names = self._write([], files)
        return [read_plainly(files / name, SIZE).tobytes() for name in names]

    def command(self, files: Path, out: Path) -> list[str]:
        args = ["--size", f"{SIZE[0]}x{SIZE[1]}", "--jobs", "2"]
        return [sys.executable, "-m", "preprocess", "folder", str(files.parent), str(out), *args]

    def results(self, files: Path, out: Path, output: str) -> Results:
        from preprocess import open_shards

        with open_shards(out) as shards:
            read = {Path(clip.source).name: clip.frames.tobytes() for clip in shards}
        usual = {"dataset.json", "failures.csv", "statistics.json", "lengths.png", ".lock"}
        remains = [
            path.name
            for path in out.iterdir()
            if path.name not in usual and not path.match("shard-*.h5")
        ]
        return Results(read, reasons(out / "failures.csv", "source"), remains)


class Classification(VideoTarget):
    """Classification by a model of the mean colour; its tables are compared."""

    name = "classification"

    def _prepare(self) -> None:
        from experiments.process import runtime

        runtime.hush()
        import keras

        inputs = keras.Input((32, 32, 3))
        mean = keras.layers.GlobalAveragePooling2D()(inputs)
        keras.Model(inputs, keras.layers.Softmax()(mean)).save(self.folder / "model.keras")
        (self.folder / "labels.txt").write_text("red\ngreen\nblue\n", encoding="utf-8")

    def command(self, files: Path, out: Path) -> list[str]:
        model = ["--model", self.folder / "model.keras", "--labels", self.folder / "labels.txt"]
        args = ["--scaling", "unit", "--top", "2", "--no-timeline", "--jobs", "2"]
        args += ["--threads", "1,1", "-d", str(files), "--out", str(out)]
        return [sys.executable, "-m", "experiments.classify", *map(str, model), *args]

    def results(self, files: Path, out: Path, output: str) -> Results:
        tables = {path.stem: path.read_bytes() for path in out.glob("part*.csv")}
        read = {file.name: tables[file.stem] for file in files.iterdir() if file.stem in tables}
        named = reasons(out / "failures.csv", "video")
        stems = {file.stem for file in files.iterdir()}
        crashed = {Path(name).stem for name, why in named.items() if died(why)}
        usual = {f"{stem}{suffix}" for stem in stems for suffix in (".csv", ".json")}
        usual |= {f"{stem}{suffix}.part" for stem in crashed for suffix in (".csv", ".json")}
        there = {path.name for path in out.iterdir()}
        return Results(read, named, sorted(there - usual - {"failures.csv"}))


class Highlights(VideoTarget):
    """Scoring of a recording in chunks by its brightness, without rendering."""

    name = "highlights"
    codes = (0, 2)  # 2: nothing is left of the recording

    def command(self, files: Path, out: Path) -> list[str]:
        out.mkdir(exist_ok=True)
        model = self.folder / "model"
        model.mkdir(exist_ok=True)
        for name in ("scorer.json", "best.keras"):  # hashed, and never read: a stand-in scores
            (model / name).write_text(name)
        args = ["--model", str(model), "-o", str(out / "reel.mp4"), "--allow-failures"]
        args += ["--threshold", "1", "--no-snap", "--bin-size", "0.5", "--dry-run"]
        program = [sys.executable, run_with_stand_in.__file__, "0"]
        return [*program, "run", str(files), *args]

    def results(self, files: Path, out: Path, output: str) -> Results:
        from experiments.media.recording import read_recording

        lines = [line for line in output.splitlines() if str(files) in line]
        there = list(files.iterdir())
        named = {file.name: line for file in there for line in lines if _names(line, file)}
        early = {name for name, line in named.items() if line.startswith("Left out, as if")}
        paths = sorted(there, key=lambda file: int(file.stem.removeprefix("part")))
        chunks = read_recording([path for path in paths if path.name not in early])
        with (out / "reel.scores.csv").open(encoding="utf-8", newline="") as file:
            rows = np.array([[float(cell) for cell in row] for row in list(csv.reader(file))[1:]])
        edges = np.searchsorted(rows[:, 0], [chunk.offset - 1e-6 for chunk in chunks[1:]])
        scores = np.split(rows[:, 1], edges)
        read = {
            chunk.path.name: scored.tolist()
            for chunk, scored in zip(chunks, scores, strict=True)
            if len(scored)
        }
        usual = {"reel.scores.csv", "reel.scores.json"}
        return Results(read, named, sorted({path.name for path in out.iterdir()} - usual))


def _names(line: str, file: Path) -> bool:
    """Return whether a line is about a file, and not about part10.mp4 for part1.mp4."""
    return re.search(rf"{FOLDER}/{re.escape(file.name)}\b", line) is not None


TARGETS: tuple[type[VideoTarget], ...] = (Extraction, Classification, Highlights)
