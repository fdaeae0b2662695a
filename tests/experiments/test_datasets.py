"""Which clips a run takes: what was asked for, what is in its usual place, else the demo."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments import datasets
from preprocess.catalog import DEMO, UCF11
from preprocess.errors import PreprocessError


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
    monkeypatch.setattr("preprocess.synthetic.render_dataset", lambda root, **options: None)
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
