"""Readers of lists and tables that users write, or that runs leave."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from common.errors import UserError
from tests.fuzzing.readers import Reader


class RefusedError(Exception):
    """Refusal of a command by exit code 2; the message is its standard error."""


def carried_out(main: Callable[[list[str]], int], *args: object) -> None:
    """Call a command's `main`.

    Raises:
        RefusedError: if its exit code is 2.
    """
    errors = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(errors):
        code = main([str(word) for word in args])
    if code == 2:
        raise RefusedError(errors.getvalue())
    assert code == 0, (code, errors.getvalue())


def _texts(files: dict[str, str]) -> Callable[[Path], None]:
    """Return a function that writes these files."""

    def make(folder: Path) -> None:
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")

    return make


_OURS = """path,x1,y1,x2,y2,start,end,label,group
a.mp4,0.78,0.13,0.97,0.37,2.5,9.0,highlight,monday
a.mp4,0.78,0.13,0.97,0.37,00:00:12,00:00:15.5,none,monday
b.mp4,0.78,0.13,0.97,0.37,,,none,monday
c.mp4,0.78,0.13,0.97,0.37,7.5,9.0,highlight,tuesday
c.mp4,0.78,0.13,0.97,0.37,,,unknown,tuesday
"""
_ORIGINALS = """clips/a.mp4 "[0.78, 0.13, 0.97, 0.37]" "(2.5, 9.0)" "(24.2, 31.8)"
clips/b.mp4 "[0.78, 0.13, 0.97, 0.37]"
"""
_STRETCHES = """video,label,start,stop,start_frame,stop_frame,group,part
a.mp4,run,2.5,9,,,one,train
a.mp4,walk,00:00:12,00:00:15.5,,,one,train
b,run,,,7,234.0,two,test
c.mp4,walk,,,,,three,validation
"""
_ACTIONS = "participant_id,video_id,start_frame,stop_frame,action_class\n"
_KITCHENS = {
    "train_action_classes.csv": f"{_ACTIONS}P01,P01_09,8,12,open bag\nP02,P02_01,98,104,take bag\n",
    "val_action_classes.csv": f"{_ACTIONS}P01,P01_11,36,45,open bag\n",
    "class_names.json": json.dumps({"take bag": 0, "open bag": 1, "wash bag": 2}),
}
_OFFICIAL = {
    "classInd.txt": "1 Archery\n2 Basketball\n",
    "trainlist01.txt": "Archery/v_Archery_g02_c01.avi 1\nBasketball/v_Basketball_g02_c01.avi 2\n",
    "testlist01.txt": "Archery/v_Archery_g01_c01.avi\nBasketball/v_Basketball_g01_c01.avi\n",
}
_HMDB51 = {
    "smile_test_split1.txt": "A_smile_h_cm_np1_fr_med_26.avi 1 \nB_smile_h_cm_np1_fr_med_1.avi 2\n",
    "wave_test_split1.txt": "A_wave_h_cm_np1_fr_med_26.avi 2 \nB_wave_h_cm_np1_fr_med_1.avi 0\n",
}
_HOLLYWOOD2 = {
    f"{label}_{subset}.txt": f"actionclip{subset}00001  1\nactionclip{subset}00002  {second}\n"
    for label, second in (("Run", "-1"), ("SitUp", "1"))
    for subset in ("train", "test")
}
_SCORES = "time_seconds,probability\n0.5,0.25\n1.0,0.75\n1.5,1\n"
_REVIEW = {
    **{"version": 1, "duration": 20.0, "threshold": 0.5, "started_from": 0.4},
    "decisions": [
        {"number": 0, "start": 1.0, "end": 3.0, "kept": True, "origin": [1.0, 2.5]},
        {"number": 1, "start": 5.0, "end": 6.0, "kept": False, "origin": None},
    ],
}


def _labels(folder: Path) -> Any:
    from experiments.highlights.labels import read_labels

    return read_labels(folder / "labels.csv")


def _scores(folder: Path) -> Any:
    from experiments.highlights.selection.scores import ScoreTrack, read_scores

    times, probabilities = read_scores(folder / "scores.csv", duration=20.0)
    ScoreTrack(times, probabilities, 20.0, reach=0.5)
    return times, probabilities


def _review(folder: Path) -> Any:
    from experiments.highlights.review.decisions import parse_saved

    path = folder / "scores.review.json"
    saved = parse_saved(path.read_bytes(), path, 20.0)
    return saved.duration, saved.threshold, saved.started_from, list(saved.decisions)


def _stretches(folder: Path) -> Any:
    from preprocess.sources.clip_sets import read_subsets
    from preprocess.sources.listed_clips import read_list

    return read_list(folder / "list.csv"), read_subsets(folder / "list.csv")


def _kitchens(folder: Path) -> Any:
    from preprocess.sources.clip_sets import find_clip_set

    found = find_clip_set(folder)
    return found.clips, found.class_names


def _official(folder: Path) -> Any:
    from preprocess.sources.official_lists import read_official_split

    return read_official_split(folder, 1)


def _hmdb51(folder: Path) -> Any:
    from preprocess.sources.official_lists import read_hmdb51_split

    return read_hmdb51_split(folder, 1, ("smile", "wave"))


def _hollywood2(folder: Path) -> Any:
    from preprocess.sources.hollywood2 import read_hollywood2

    tree = folder / "tree"
    shutil.copytree(folder, tree / "ClipSets")
    (tree / "AVIClips").mkdir()
    for subset in ("train", "test"):
        for number in (1, 2):
            (tree / "AVIClips" / f"actionclip{subset}{number:05}.avi").touch()
    return read_hollywood2(tree)


def _run_directory(folder: Path) -> None:
    from tests.experiments.runs.report_runs import make_run

    made = make_run(folder / "run")
    for path in (made if isinstance(made, Path) else folder / "run").iterdir():
        shutil.move(path, folder / path.name)
    (folder / "run").rmdir()
    (folder / "predictions.parquet").unlink()


def _report(folder: Path) -> Any:
    """Make a report's pages without curves, whose drawing takes a second, and read them."""
    from experiments.report import main
    from experiments.runs import plots

    def nothing(*_: object, **__: object) -> bytes:
        return b"PNG"

    with patch.object(plots, "curves_png", nothing), patch.object(plots, "confusion_png", nothing):
        carried_out(main, folder)
    return [page.read_text() for page in sorted(folder.glob("*.html"))]


def _records(folder: Path) -> Any:
    from experiments.results import main

    page, readme = folder / "page.md", folder / "none.md"
    carried_out(main, "--records", folder / "results.csv", "--page", page, "--readme", readme)
    return page.read_text()


def _recorded(folder: Path) -> None:
    from experiments.runs.records import append_record

    result = {"experiment": "ucf11", "dataset": "demo", "accuracy": 0.5, "seed": 0, "status": "ok"}
    more = {"num_test_clips": 8, "date": "2026-01-01", "machine": {"cpu": "x", "cores": 2}}
    append_record({**result, **more}, folder / "results.csv")
    append_record({**result, "status": "failed", "wall_seconds": 1.5}, folder / "results.csv")


def _recommended(folder: Path) -> None:
    from experiments.process.recommendations import Recommendation, keep_recommendation
    from preprocess.system.machine import read_machine

    kept = Recommendation("resnet", {"intra_op": 2, "inter_op": 1}, 0.1, "2026-01-01", "runs/x")
    with patch.dict(os.environ, {"XDG_CACHE_HOME": str(folder)}):
        keep_recommendation(kept, read_machine())


def _threads(folder: Path) -> Any:
    from experiments.process import runtime

    errors = io.StringIO()
    with patch.dict(os.environ, {"XDG_CACHE_HOME": str(folder)}), redirect_stderr(errors):
        threads = runtime.choose_threads("auto", workload="resnet")
    return threads, errors.getvalue()


def _impossible_labels(clips: Any) -> str:
    """Find times that are not finite or not in order; comparisons with NaN are all false."""
    stretches = [one for clip in clips for one in (*clip.highlights, *clip.negatives)]
    return "" if all(0 <= one.start < one.end < math.inf for one in stretches) else f"{stretches}"


_REFUSALS = (UserError, OSError)  # that the commands turn into a line
TABLES = (
    Reader("labels", _texts({"labels.csv": _OURS}), _labels, _REFUSALS, wrong=_impossible_labels),
    Reader("original labels", _texts({"labels.csv": _ORIGINALS}), _labels, _REFUSALS),
    Reader("scores", _texts({"scores.csv": _SCORES}), _scores, _REFUSALS),
    Reader("review", _texts({"scores.review.json": json.dumps(_REVIEW)}), _review, _REFUSALS),
    Reader("stretches", _texts({"list.csv": _STRETCHES}), _stretches, (UserError,)),
    Reader("epic kitchens", _texts(_KITCHENS), _kitchens, (UserError,)),
    Reader("official lists", _texts(_OFFICIAL), _official, (UserError,)),
    Reader("hmdb51 lists", _texts(_HMDB51), _hmdb51, (UserError,)),
    Reader("hollywood2 lists", _texts(_HOLLYWOOD2), _hollywood2, (UserError,)),
    Reader("report", _run_directory, _report, (RefusedError,)),
    Reader("records", _recorded, _records, (RefusedError,)),
    Reader("threads", _recommended, _threads, ()),
)
