"""Clips of other tools become the list that describes them.

tests/golden/make_exchange.py wrote the sources with the tools' own libraries. FiftyOne needs a
database to run; its folders are written here as its documentation describes them, in "Loading
datasets from disk", FiftyOneTemporalDetectionDataset (docs.voxel51.com, read 2026-11-28).
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


def tar_of(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


SAMPLES = (("a.mp4", b"a" * 600), ("a.cls", b"1"), ("b.mp4", b"b" * 600), ("b.cls", b"2"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda whole: whole[:2560], "no whole tar"),  # before the second sample
        (lambda whole: whole[:1100], "no whole tar"),  # within the first video
        (lambda whole: whole[:2560] + b"x" * 100 + whole[2660:], "no whole tar"),  # b's header
    ],
)
def test_a_damaged_tar_leaves_nothing(damage, message, tmp_path) -> None:
    """Red if samples behind the damage are left out silently, or those before it are kept."""
    tar = tar_of(tmp_path / "train-0.tar", *SAMPLES)
    whole = tar.read_bytes()
    assert import_clips(tar, tmp_path / "whole").num_clips == 2
    tar.write_bytes(damage(whole))
    with pytest.raises(InputError, match=message):
        import_clips(tar, tmp_path / "new" / "out")
    assert not (tmp_path / "new" / "out").exists()
    # What was there before stays as it was, with --overwrite as well.
    kept = {path: path.read_bytes() for path in (tmp_path / "whole").rglob("*.*")}
    with pytest.raises(InputError, match=message):
        import_clips(tar, tmp_path / "whole", overwrite=True)
    assert {path: path.read_bytes() for path in (tmp_path / "whole").rglob("*.*")} == kept


def test_a_tar_with_links_and_names_twice(tmp_path) -> None:
    """Red if a link is followed, or a second video takes the place of the first."""
    twice = tar_of(tmp_path / "twice.tar", *SAMPLES, SAMPLES[0], ("a.cls", b"3"))
    with pytest.raises(InputError, match=r"twice\.tar.*once.*a\.mp4"):
        import_clips(twice, tmp_path / "out")
    tar_of(tmp_path / "links.tar", *SAMPLES[:2])
    with tarfile.open(tmp_path / "links.tar", "a") as tar:
        link = tarfile.TarInfo("c.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, str(twice)
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("c.txt"))
    result = import_clips(tmp_path / "links.tar", tmp_path / "out")
    assert (result.num_clips, result.left_out) == (1, {"c": "it has no video"})
    assert not list((tmp_path / "out").rglob("c.*"))


@pytest.mark.parametrize(
    ("detection", "message"),
    [
        ({"label": -1, "support": [1, 2]}, "class -1 of 2"),
        ({"label": True, "support": [1, 2]}, "a label is a text or a number, not True"),
        ({"label": ["x"], "support": [1, 2]}, "a label is a text"),
        ({"label": 0, "support": [1, 2, 3]}, "not written as FiftyOne"),
        ({"label": 0}, "not written as FiftyOne"),
        ({"label": 0, "support": [9, 2]}, "a list that cannot be"),
        ({"label": 0, "timestamps": [float("nan"), 2]}, "a list that cannot be"),
        ({"label": 0, "timestamps": [0, 10**400]}, "a list that cannot be"),
        ({"label": "\ud800", "support": [1, 2]}, "no Unicode"),
        ({"label": "", "support": [1, 2]}, "a list that cannot be"),
    ],
)
def test_a_value_that_cannot_be_is_one_line(detection, message, tmp_path) -> None:
    """Red if a list is written that the next command refuses, or a traceback is shown."""
    (tmp_path / "a.mp4").touch()
    exported = {"classes": ["walking", "diving"], "labels": {"a.mp4": [detection]}}
    (tmp_path / "labels.json").write_text(json.dumps(exported))
    with pytest.raises(InputError, match=message) as caught:
        import_clips(tmp_path, tmp_path / "out")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_paths_that_leave_the_folder_are_left_out(tmp_path) -> None:
    """Red if a relative path may name any file of the system; absolute ones are a user's own."""
    (tmp_path / "secret.mp4").touch()
    source = tmp_path / "source"
    source.mkdir()
    names = ("../secret.mp4", "x\0.mp4", "y" * 5000, "", str(tmp_path / "secret.mp4"))
    labels = {name: [{"label": 0, "support": [1, 2]}] for name in names}
    (source / "labels.json").write_text(json.dumps({"classes": ["a"], "labels": labels}))
    result = import_clips(source, tmp_path / "out")
    assert result.num_clips == 1
    assert result.left_out["../secret.mp4"].startswith("it lies outside of")
    assert len(result.left_out) == 4
    (source / "labels.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"labels.json cannot be read as JSON"):
        import_clips(source, tmp_path / "other")


def test_label_studio(tmp_path, media) -> None:
    """Red if a file is not found by its address, or frames are counted otherwise."""
    result, clips = imported(GOLDEN / "label_studio.json", tmp_path / "out", media)
    assert clips == [
        ("b c.mp4", "walking", "", ""),
        ("clips/a.mp4", "diving", "frames 30-31", ""),
        ("clips/a.mp4", "diving", "frames 5-20", ""),
    ]
    assert set(result.left_out) == {"missing.mp4", "task 4"}


def write_fifty_one(source: Path, labels: dict, **others) -> None:
    source.mkdir(exist_ok=True)
    (source / "labels.json").write_text(json.dumps({**others, "labels": labels}))


def test_fifty_one(tmp_path, media) -> None:
    """Red if classes are not looked up, frames and seconds are mixed up, or a UUID is not found.

    A target is an index of `classes`; `support` holds the first and the last frame, `timestamps`
    seconds. UUIDs are paths below data/ without a suffix. Unlabelled videos have null, or no key.
    """
    source = tmp_path / "source"
    shutil.copytree(media, source / "data")
    more = {"confidence": 0.9, "attributes": {"weather": "sunny"}}
    labels = {
        "a": [{"label": 1, "support": [5, 20], **more}, {"label": 0, "support": [21, 30]}],
        "b c": [{"label": 0, "timestamps": [0.5, 2.25], **more}],
        "clips/a": [{"label": 1, "support": [1, 2], "timestamps": [0.0, 9.5]}],
        "unlabelled": None,
    }
    write_fifty_one(source, labels, classes=["walking", "diving"])
    result, clips = imported(source, tmp_path / "out")
    assert clips == [
        ("a.mp4", "diving", "frames 5-20", ""),
        ("a.mp4", "walking", "frames 21-30", ""),
        ("b c.mp4", "walking", "seconds 0.5 to 2.25", ""),
        # FiftyOne's own importer asks for frames first.
        ("clips/a.mp4", "diving", "frames 1-2", ""),
    ]
    assert list(result.left_out) == ["unlabelled"]


@pytest.mark.parametrize("classes", [{}, {"classes": None}])
def test_fifty_one_without_classes_and_with_a_manifest(classes, tmp_path, media) -> None:
    """Red if targets must be indices, or a manifest's paths are not those beside it.

    Without `classes`, absent or null, targets are the labels. data.json names the videos, by
    absolute paths or by such from its folder; a UUID may be an absolute path itself.
    """
    source = tmp_path / "source"
    absolute = str(media / "b c.mp4")
    labels = {name: [{"label": name[-1:], "support": [1, 9]}] for name in ("x", "y", absolute)}
    write_fifty_one(source, labels, **classes)
    (source / "inside.mp4").write_bytes(b"beside the manifest")
    manifest = {"x": str(media / "a.mp4"), "y": "inside.mp4"}
    (source / "data.json").write_text(json.dumps(manifest))
    _, clips = imported(source, tmp_path / "out")
    assert clips == [
        ("a.mp4", "x", "frames 1-9", ""),
        ("b c.mp4", "4", "frames 1-9", ""),
        ("beside the manifest", "y", "frames 1-9", ""),
    ]


@pytest.mark.parametrize("name", ["samples.json", "manifest.json"])
def test_another_format_of_fifty_one_is_told(name, tmp_path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InputError, match="FiftyOneTemporalDetectionDataset"):
        import_clips(tmp_path, tmp_path / "out")


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
