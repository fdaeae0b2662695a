"""Clips of other tools become the list that describes them.

tests/golden/make_exchange.py wrote the sources with the tools' own libraries; FiftyOne's is
written here, as its exporter of temporal detections does.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from common.errors import InputError
from preprocess.sources.exchange import Imported, import_clips
from preprocess.sources.listed_clips import ListedClip, read_list

GOLDEN = Path(__file__).parents[2] / "golden" / "exchange"


@pytest.fixture
def media(tmp_path) -> Path:
    """Folder with the videos that the sources only name."""
    folder = tmp_path / "media"
    (folder / "clips").mkdir(parents=True)
    for name in ("a.mp4", "b c.mp4", "clips/a.mp4"):
        (folder / name).write_bytes(name.encode())
    return folder


def imported(source: Path, out: Path, media: Path | None = None) -> tuple[Imported, list[tuple]]:
    """What was imported; of each clip of the list the content, class, stretch and subset."""
    result = import_clips(source, out, media=media)
    clips = read_list(out / "clips.csv")
    assert len(clips) == result.num_clips
    return result, sorted(map(described, clips))


def described(clip: ListedClip) -> tuple[str, str, str, str]:
    """Content of the file, class, exact stretch and subset."""
    return clip.path.read_text(), clip.class_name, clip.detail, clip.subset or ""


def test_a_hugging_face_data_set_of_paths(tmp_path, media) -> None:
    """Red if names of classes, times or splits are lost; a missing video is said."""
    result, clips = imported(GOLDEN / "splits", tmp_path / "out", media)
    assert clips == [
        ("a.mp4", "diving", "seconds 0.5 to 2.0", "train"),
        ("a.mp4", "walking", "seconds 2.0 to inf", "test"),
        ("b c.mp4", "walking", "", "train"),
    ]
    assert list(result.left_out) == ["missing.mp4"]


def test_a_hugging_face_data_set_with_videos_inside(tmp_path) -> None:
    _, clips = imported(GOLDEN / "inside", tmp_path / "out")
    assert clips == [("content of a video", "diving", "", "")]
    assert (tmp_path / "out" / "videos" / "data" / "000000.avi").exists()


def test_a_tar_of_webdataset(tmp_path) -> None:
    """Red if a label goes to the next sample, or the subset is not that of the tar's name."""
    result, clips = imported(GOLDEN / "train-000000.tar", tmp_path / "out")
    assert clips == [
        ("video 0", "1", "", "train"),
        ("video 1", "diving", "seconds 0.5 to 2.0", "train"),
    ]
    assert result.left_out == {"s/000002": "it has no label"}


def test_an_archive_writes_nothing_outside(tmp_path) -> None:
    """Red if a tar may name any file of the system."""
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../../evil.mp4"), io.BytesIO())
    with pytest.raises(InputError, match="must lie below it"):
        import_clips(tmp_path / "evil.tar", tmp_path / "out")
    assert not list(tmp_path.rglob("evil.mp4"))


def test_label_studio(tmp_path, media) -> None:
    """Red if a file is not found by its address, or frames are counted otherwise."""
    result, clips = imported(GOLDEN / "label_studio.json", tmp_path / "out", media)
    assert clips == [
        ("b c.mp4", "walking", "", ""),
        ("clips/a.mp4", "diving", "frames 30-31", ""),
        ("clips/a.mp4", "diving", "frames 5-20", ""),
    ]
    assert set(result.left_out) == {"missing.mp4", "task 4"}


@pytest.mark.parametrize("with_times", [False, True])
def test_fifty_one(tmp_path, media, with_times) -> None:
    source = tmp_path / "source"
    shutil.copytree(media, source / "data")
    where = {"timestamps": [0.5, 2.25]} if with_times else {"support": [5, 20]}
    labels = {"a": [{"label": 1, **where}], "b c": [{"label": 0, **where}], "clips": None}
    exported = {"classes": ["walking", "diving"], "labels": labels}
    (source / "labels.json").write_text(json.dumps(exported))
    _, clips = imported(source, tmp_path / "out")
    stretch = "seconds 0.5 to 2.25" if with_times else "frames 5-20"
    assert clips == [("a.mp4", "diving", stretch, ""), ("b c.mp4", "walking", stretch, "")]


def test_what_cannot_be_imported_is_one_line(tmp_path) -> None:
    with pytest.raises(InputError, match=r"The source must be a folder .* Received .*nothing"):
        import_clips(tmp_path / "nothing", tmp_path / "out")
    broken = tmp_path / "broken.json"
    for text in ('[{"id": 1}]', "{", "[1]", '{"a": 1}'):
        broken.write_text(text)
        with pytest.raises(InputError, match=r"broken.json"):
            import_clips(broken, tmp_path / "out")
    import_clips(GOLDEN / "inside", tmp_path / "out")
    with pytest.raises(InputError, match="--overwrite"):
        import_clips(GOLDEN / "inside", tmp_path / "out")
    import_clips(GOLDEN / "inside", tmp_path / "out", overwrite=True)
