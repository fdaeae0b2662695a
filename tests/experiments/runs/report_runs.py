"""Files of a finished run, stand-ins for shards, and a parser of report pages."""

import csv
import json
from html.parser import HTMLParser

import numpy as np

from experiments.runs.directory import Predictions, write_predictions
from experiments.runs.records import write_result

HOSTILE = '<b>&"x'
NAMES = ["walking", HOSTILE, "swing"]
LABELS = np.array([0, 0, 1, 1, 2, 2])
PROBABILITIES = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.05, 0.9, 0.05],  # the most confident mistake
        [0.1, 0.7, 0.2],
        [0.1, 0.3, 0.6],  # the other mistake
        [0.0, 0.0, 1.0],
        [0.2, 0.2, 0.6],
    ]
)
CLIPS = [f"c{i}/<i>{i}.mpg" for i in range(6)]
RED, BLUE = (250, 10, 10), (10, 10, 250)


class FakeClip:
    """Clip that is red up to frame 20 and then blue, so that frames beyond maxlen 20 show."""

    def __init__(self, num_frames):
        self.stored = np.empty((num_frames, 60, 80, 3), np.uint8)
        self.stored[:20], self.stored[20:] = RED, BLUE

    def read(self, *, start=0, max_frames=None):
        stop = len(self.stored) if max_frames is None else start + max_frames
        return self.stored[start:stop]


class FakeShards:
    def __init__(self, sources=CLIPS, num_frames=40):
        self.sources = list(sources)
        self.num_frames = np.full(len(self.sources), num_frames)
        self.stride = 1
        self._clip = FakeClip(num_frames)

    def __len__(self):
        return len(self.sources)

    def __getitem__(self, index):
        return self._clip


class Page(HTMLParser):
    """Parsed page: its elements and its text. Tags must be closed in order."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self.open = [], "", []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "source", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        is_layout = data.startswith("\n") and data.isspace()  # of the template, between two tags
        if not is_layout and not {"style", "script"} & set(self.open):
            self.text += data.replace("\N{NO-BREAK SPACE}", " ")

    def images(self):
        return [attributes["src"] for tag, attributes in self.elements if tag == "img"]

    def strips(self):
        return [uri for uri in self.images() if uri.startswith("data:image/jpeg;base64,")]


def make_run(run_dir, **changes):
    """Write the files of a finished run of six test clips, four of them right."""
    run_dir.mkdir()
    predictions = Predictions(NAMES, CLIPS, ["01"] * 6, np.full(6, 40), LABELS, PROBABILITIES)
    write_predictions(run_dir / "predictions.csv", predictions)
    with (run_dir / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "train_loss", "train_accuracy", "validation_loss"])
        writer.writerows([[1, 1.1, 0.4, 1.2], [2, 0.9, 0.6, ""]])
    config = {"maxlen": 20, "stride": 1, "note": "<script>alert(1)</script>"}
    (run_dir / "config.json").write_text(json.dumps(config))
    result = {
        **{"dataset": "demo", "model": "tt-gru", "recipe": "tuned", "split": "group", "fold": 0},
        **{"num_clips": 30, "num_classes": 3, "chance": 1 / 3, "num_folds": 5},
        **{"num_test_clips": 6, "num_test_clips_with_sibling": 0, "params": 203_435},
        **{"tt_params": 3_232, "compression_kernel": 13687.1, "compression_layer": 220.5},
        **{"wall_seconds": 363, "frames_per_second": 4200.4, "peak_rss_bytes": 2_100_000_000},
        **{"command": "python -m experiments.ucf11 --out '<x>'", "status": "ok", **changes},
    }
    write_result(run_dir, result)
    return run_dir
