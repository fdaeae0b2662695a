"""Which clips a run takes: what was asked for, what is in its usual place, else the demo."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.clips import datasets
from preprocess.errors import PreprocessError
from preprocess.shards.settings import FrameSettings
from preprocess.sources.catalog import DEMO, UCF11


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_shards_are_opened_as_they_are(small_shards):
    assert datasets.open_dataset(UCF11, videos=None, shards=small_shards).folder == small_shards


def test_videos_are_extracted_once(videos, capfd):
    """Red when a second run decodes again, or two folders of one name share a directory."""
    first = datasets.open_dataset(UCF11, videos=videos, shards=None, jobs=2)
    again = datasets.open_dataset(UCF11, videos=videos, shards=None, jobs=2)
    assert first.folder == again.folder
    assert first.folder.parent == Path("data/shards")
    assert "all of 55 clips were there already" in capfd.readouterr().out
    assert (first.folder / "statistics.json").exists()


def test_without_videos_the_demo_runs_and_says_so(monkeypatch, capfd, videos):
    """Red when the demo set passes for UCF11."""
    monkeypatch.setattr(datasets, "DEMO", replace(DEMO, default_videos_dir=str(videos)))
    monkeypatch.setattr(datasets, "render_dataset", lambda root, **options: None)
    shards = datasets.open_dataset(UCF11, videos=None, shards=None, jobs=2)
    assert shards.dataset == "demo"
    assert "built-in DEMO set" in capfd.readouterr().out


def test_a_clip_that_cannot_be_read_stops_the_run(videos, tmp_path):
    """Red when a broken clip is left out without a word."""
    folder = tmp_path / "mixed"
    for number, source in enumerate(sorted(videos.rglob("*.mpg"))[:3]):
        (folder / f"class{number % 2}").mkdir(parents=True, exist_ok=True)
        (folder / f"class{number % 2}" / source.name).write_bytes(source.read_bytes())
    (folder / "class0" / "broken.mpg").write_bytes(b"no video")
    with pytest.raises(PreprocessError, match=r"failures\.csv"):
        datasets.open_dataset(UCF11, videos=folder, shards=None, jobs=1)
    shards = datasets.open_dataset(UCF11, videos=folder, shards=None, jobs=1, allow_failures=True)
    assert len(shards) == 3


def test_a_cluster_is_asked_where_one_is_named(monkeypatch, tmp_path, small_shards):
    """Red when --scheduler gets lost on its way, and one machine does all the work."""
    from types import SimpleNamespace

    from experiments.clips.recipe import ClipArguments
    from experiments.clips.subsets import open_clips
    from experiments.highlights.commands import labels, main
    from preprocess.extraction.commands import Extract

    asked = []

    class Asked(Exception):
        pass

    def ask(extract):
        asked.append(extract.scheduler)
        raise Asked

    def ask_images(*arguments, **options):
        asked.append(options["scheduler"])
        raise Asked

    monkeypatch.setattr(Extract, "run", ask)
    monkeypatch.setattr(labels, "read_labels", lambda path: [])
    monkeypatch.setattr(labels, "extract_images", ask_images)
    arguments = ClipArguments(videos=tmp_path, shards=small_shards, scheduler="tcp://b:1")
    with pytest.raises(Asked):
        datasets.open_dataset(UCF11, videos=tmp_path, shards=None, scheduler="tcp://a:1")
    with pytest.raises(Asked):
        open_clips(UCF11, arguments, SimpleNamespace(settings=lambda: FrameSettings()))
    with pytest.raises(Asked):
        main(["extract", f"{tmp_path}/labels.csv", f"{tmp_path}", "--scheduler", "tcp://c:1"])
    assert asked == ["tcp://a:1", "tcp://b:1", "tcp://c:1"]
