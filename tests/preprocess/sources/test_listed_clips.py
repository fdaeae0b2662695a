"""Lists of stretches: what rows mean, and that exactly these frames reach the shards."""

from __future__ import annotations

import csv
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InputError
from preprocess import FrameSettings, open_shards
from preprocess.errors import DecodeError, PreprocessError
from preprocess.extraction.extract import ExtractionSummary, extract
from preprocess.sources.clip_sets import read_subsets
from preprocess.sources.listed_clips import ListedClip, read_list
from preprocess.sources.splits import split_by_subsets
from preprocess.video.decode import FrameReader
from preprocess.video.frame_reader import open_stretch
from preprocess.video.time_ranges import ClipRange, FrameNumbers, Seconds
from preprocess.video.transforms import FrameFit
from tests.preprocess.conftest import Run, read_plainly, write_video
from tests.preprocess.video.test_frame_folders import blues, names_of, read_all, write_frames

SIZE = (16, 12)
SMALL = FrameSettings(size=SIZE)
FPS = 25  # of `write_video`


def write_list(folder: Path, *lines: str, name: str = "list.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    return path


def only(file: Path) -> ListedClip:
    (clip,) = read_list(file)
    return clip


@pytest.mark.parametrize(
    ("row", "source", "stretch"),
    [
        ("a.mp4,12.5,15,,", "a.mp4 [12.50-15.00]", Seconds(12.5, 15.0)),
        ("a.mp4,00:01:02.125,1:03,,", "a.mp4 [62.125-63.00]", Seconds(62.125, 63.0)),
        ("a.mp4,,2,,", "a.mp4 [0.00-2.00]", Seconds(0.0, 2.0)),
        ("a.mp4,2,,,", "a.mp4 [2.00-end]", Seconds(2.0, math.inf)),
        (" ./a.mp4 , , ,,", "a.mp4", None),
        ("a.mp4,0,,,", "a.mp4", None),
        ("x/../a.mp4,,,30,31", "a.mp4 [frames 30-31]", FrameNumbers(30, 31)),
        ("a.mp4,,,30.0,30", "a.mp4 [frames 30-30]", FrameNumbers(30, 30)),
        ("a.mp4,,,,7", "a.mp4 [frames start-7]", FrameNumbers(None, 7)),
        ("a.mp4,,,7,", "a.mp4 [frames 7-end]", FrameNumbers(7, None)),
        ('"a, b.mp4",1,2,,', "a, b.mp4 [1.00-2.00]", Seconds(1.0, 2.0)),
    ],
)
def test_what_a_row_means(tmp_path: Path, row: str, source: str, stretch: ClipRange | None) -> None:
    clip = only(write_list(tmp_path, "video,start,stop,start_frame,stop_frame,label", f"{row}, x "))
    assert (clip.source, clip.stretch, clip.class_name) == (source, stretch, "x")
    assert clip.path.parent.resolve() == tmp_path
    assert clip.group == source.split(" [")[0]
    assert clip.subset is None


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_what_programs_make_of_a_list(
    tmp_path: Path, mark: str, delimiter: str, ending: str
) -> None:
    lines = [["Label", " VIDEO", "group", "part"], ["ä b", "a.mp4", "g", "Test"], ["", "", "", ""]]
    text = mark + ending.join(delimiter.join(line) for line in lines)
    (tmp_path / "l.csv").write_bytes(text.encode())
    clip = only(tmp_path / "l.csv")
    assert (clip.class_name, clip.source, clip.group, clip.subset) == ("ä b", "a.mp4", "g", "test")


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (
            "video,label",
            "a.mp4,x,y",
            r"line 3: A row must have the header's 2 columns\. Received 3",
        ),
        ("video,label", "a.mp4, ", r"line 3: A row must have a label"),
        ("video,label", ",x", r"line 3: A row must name a video"),
        ("video,label", "./a.mp4,y", r"line 3: .* once.*a\.mp4 again, which is on line 2"),
        ("video,label", '"a.mp4,x', r"line 3: A row must be parted into cells"),
        ("video,label,start,stop", "b.mp4,x,2,2", r"line 3: .*stop after its start.*2 to 2 sec"),
        ("video,label,start,stop", "b.mp4,x,-1,2", r"line 3: A time must not be negative"),
        ("video,label,start,stop", "b.mp4,x,nan,2", r"line 3: A time must be seconds"),
        ("video,label,start,stop", "b.mp4,x,1:75,", r"line 3: .*end at 59"),
        ("video,label,start,stop", "folder,x,1,2", r"line 3: A folder of frames has no times"),
        ("video,label,start_frame,stop_frame", "b.mp4,x,9,8", r"line 3: .*Received 9 to 8"),
        ("video,label,start_frame,stop_frame", "b.mp4,x,1.5,8", r"line 3: start_frame must be"),
        ("video,label,start_frame,stop_frame", "b.mp4,x,-1,8", r"line 3: start_frame must be"),
        ("video,label,start,stop_frame", "b.mp4,x,1,8", r"line 3: A stretch is told by start"),
        ("video,label,part", "b.mp4,x,val", r"line 3: part must be .* Received 'val'"),
        ("video,label,part", "b.mp4,x,", r"line 3: part must be .* Received ''"),
        ("video,label,strat", "b.mp4,x,1", r"line 1: .* has besides 'strat'"),
        ("video,label,label", "b.mp4,x,1", r"line 1: .* has twice 'label'"),
        ("video,start", "b.mp4,1", r"line 1: .* lacks 'label'"),
        ("a.mp4,0", "b.mp4,1", r"line 1: .* lacks 'video'"),
    ],
)
def test_rows_that_cannot_be(tmp_path: Path, header: str, row: str, message: str) -> None:
    write_frames(tmp_path / "folder", "frame1.png")
    columns = header.split(",")
    first = {"video": "a.mp4", "label": "x", "part": "train"}
    file = write_list(tmp_path, header, ",".join(first.get(name, "") for name in columns), row)
    with pytest.raises(InputError, match=message) as caught:
        read_list(file)
    assert str(caught.value).startswith(str(file))


def test_lists_that_are_none(tmp_path: Path) -> None:
    for content, message in [
        (b"", "line 1: The first line must name the columns"),
        (b"video,label\n\n", "line 1: A list must have a row"),
        (
            b"video,label\na.mp4,\xff\n",
            "line 2: A list must be text in UTF-8. Received the byte 0x",
        ),
    ]:
        (tmp_path / "l.csv").write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_list(tmp_path / "l.csv")
    with pytest.raises(InputError, match=r"Cannot read the list .*none\.csv: No such file"):
        extract(tmp_path / "none.csv", tmp_path / "shards")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A video of 60 frames, and what a plain loop reads of it."""
    video = write_video(tmp_path_factory.mktemp("sample") / "sample.mp4", 60, seed=3)
    return video, read_plainly(video, SIZE)


def frames_of(
    path: Path, stretch: ClipRange, *, stride: int = 1, max_frames: int | None = None
) -> tuple[np.ndarray, FrameReader]:
    fit = FrameFit(SIZE)
    reader = open_stretch(path, stretch, fit=fit, stride=stride, max_frames=max_frames)
    return np.array(read_all(reader, SIZE)).reshape(-1, *fit.frame_shape), reader


def test_damage_within_a_stretch_is_told(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 60, seed=4)
    content = bytearray(video.read_bytes())
    first, last = len(content) // 2, len(content) * 6 // 10
    content[first:last] = bytes(last - first)
    video.write_bytes(content)
    frames, reader = frames_of(video, Seconds(0.2, 2.2))
    assert 0 < len(frames) < 50
    assert reader.complaint.startswith("frames after 1.")
    assert not frames_of(video, Seconds(0.2, 0.6))[1].complaint


STRIDE, MAX_FRAMES = st.integers(1, 5), st.none() | st.integers(1, 9)


@given(
    edges=st.tuples(st.integers(0, 59), st.integers(1, 60)).filter(lambda edge: edge[0] < edge[1]),
    shift=st.sampled_from([-0.01, 0.0, 0.01]),
    stride=STRIDE,
    max_frames=MAX_FRAMES,
)
@settings(max_examples=40, deadline=None)
def test_frames_of_a_stretch_of_time(
    sample: tuple[Path, np.ndarray],
    edges: tuple[int, int],
    shift: float,
    stride: int,
    max_frames: int | None,
) -> None:
    video, whole = sample
    start, stop = (max(edge / FPS + shift, 0.0) for edge in edges)
    shown = np.arange(len(whole)) / FPS
    expected = whole[(shown >= start - 1e-6) & (shown < stop - 1e-6)][::stride][:max_frames]
    if len(expected):
        frames, _ = frames_of(video, Seconds(start, stop), stride=stride, max_frames=max_frames)
        np.testing.assert_array_equal(frames, expected)


@given(
    numbers=st.tuples(st.none() | st.integers(1, 60), st.none() | st.integers(1, 60)).filter(
        lambda both: (both[0] or 1) <= (both[1] or 60)
    ),
    stride=STRIDE,
    max_frames=MAX_FRAMES,
)
@settings(max_examples=40, deadline=None)
def test_frames_of_a_video_by_their_numbers(
    sample: tuple[Path, np.ndarray],
    numbers: tuple[int | None, int | None],
    stride: int,
    max_frames: int | None,
) -> None:
    video, whole = sample
    first, last = numbers
    expected = whole[(first or 1) - 1 : last][::stride][:max_frames]
    frames, reader = frames_of(video, FrameNumbers(*numbers), stride=stride, max_frames=max_frames)
    np.testing.assert_array_equal(frames, expected)
    assert reader.num_given == len(expected)
    assert not reader.complaint


def test_adjacent_stretches_have_each_frame_once(sample: tuple[Path, np.ndarray]) -> None:
    video, whole = sample
    edges = [0.0, 0.4, 0.8001, 1.1999, 1.7, math.inf]
    pieces = [frames_of(video, Seconds(*edge))[0] for edge in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_a_late_stretch_is_sought(tmp_path: Path) -> None:
    """Its frames are those of reading on, and what lies before is not decoded for the most part."""
    video = write_video(tmp_path / "long.mp4", 800)
    whole = read_plainly(video, SIZE)
    frames, reader = frames_of(video, Seconds(30.0, 30.4))
    np.testing.assert_array_equal(frames, whole[750:760])
    assert reader._video._num_decoded < 300  # type: ignore[attr-defined]


def test_stretches_that_a_video_does_not_have(sample: tuple[Path, np.ndarray]) -> None:
    video, whole = sample
    for stretch, message in [
        (Seconds(3.0, 4.0), r"no frame is shown in 3\.00-4\.00 s; the last .* at 2\.36 s"),
        (Seconds(0.01, 0.03), r"no frame is shown in 0\.01-0\.03 s$"),
        (FrameNumbers(61, 70), "no frames 61-70; the video has 60 frames"),
        (FrameNumbers(0, 5), "counted from 1; received start_frame 0"),
    ]:
        with pytest.raises(DecodeError, match=message):
            frames_of(video, stretch)
    frames, reader = frames_of(video, Seconds(2.0, 9.0))
    np.testing.assert_array_equal(frames, whole[50:])
    assert reader.complaint == "the last frame is shown at 2.36 s, before the stretch stops"
    frames, reader = frames_of(video, FrameNumbers(51, 61))
    np.testing.assert_array_equal(frames, whole[50:])
    assert reader.complaint == "the video has 60 frames, and the stretch stops at 61"
    assert not frames_of(video, Seconds(2.0, 2.6))[1].complaint  # rounded, as people do


@given(
    there=st.sets(st.integers(0, 40), min_size=1),
    edges=st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted),
    stride=STRIDE,
    max_frames=MAX_FRAMES,
)
@settings(max_examples=40, deadline=None)
def test_frames_of_a_folder_by_their_numbers(
    tmp_path_factory: pytest.TempPathFactory,
    there: set[int],
    edges: list[int],
    stride: int,
    max_frames: int | None,
) -> None:
    folder = tmp_path_factory.mktemp("frames")
    write_frames(folder, *(f"frame_{number}.png" for number in there))
    numbers = range(edges[0], edges[1] + 1)
    wanted = [number for number in numbers if number in there]
    make = {"fit": FrameFit((4, 2)), "stride": stride, "max_frames": max_frames}
    if not wanted:
        with pytest.raises(DecodeError, match=f"no frames {edges[0]}-{edges[1]}"):
            open_stretch(folder, FrameNumbers(*edges), **make)  # type: ignore[arg-type]
        return
    reader = open_stretch(folder, FrameNumbers(*edges), **make)  # type: ignore[arg-type]
    assert blues(reader) == wanted[::stride][:max_frames]
    if max_frames is None:
        assert bool(reader.complaint) == (len(wanted) < len(numbers))


def test_missing_frames_of_a_stretch_are_named(tmp_path: Path) -> None:
    write_frames(tmp_path / "clip", *(f"frame_{n:04d}.png" for n in (1, 2, 5, 6, 9, 11)))
    file = write_list(
        tmp_path, "video,start_frame,stop_frame,label", "clip,4,10,x", "clip,5,6,y", "clip,9,,y"
    )
    summary = extract(file, tmp_path / "shards", SMALL, jobs=1)
    assert summary.notices == {
        "clip [frames 4-10]": "no frames of number 4, 7 to 8, 10",
        "clip [frames 9-end]": "no frames of number 10",
    }


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of three stretches of one video, one of another and a folder of frames."""
    for name in ("a", "b"):
        write_video(tmp_path / "in" / f"{name}.mp4", 30, seed=ord(name))
    write_frames(tmp_path / "in" / "c", *names_of(9))
    return write_list(
        tmp_path / "in",
        "video,start,stop,start_frame,stop_frame,label,part",
        "a.mp4,0,0.4,,,x,train",
        "a.mp4,0.4,0.8,,,y,validation",
        "a.mp4,0.8,,,,x,test",
        "b.mp4,,,3,12,y,train",
        "c,,,2,5,x,train",
    )


def run(file: Path) -> ExtractionSummary:
    return extract(file, file.parents[2] / "shards", SMALL, jobs=1)


def test_a_list_to_shards(listed: Path) -> None:
    summary = run(listed)
    assert (summary.dataset, summary.num_extracted, summary.failures) == ("list", 5, {})
    shards = open_shards(listed.parents[2] / "shards")
    assert list(shards.class_names) == ["x", "y"]
    found = {clip.source: (clip.class_name, clip.group, clip.num_frames) for clip in shards}
    assert found == {
        "a.mp4 [0.00-0.40]": ("x", "a.mp4", 10),
        "a.mp4 [0.40-0.80]": ("y", "a.mp4", 10),
        "a.mp4 [0.80-end]": ("x", "a.mp4", 10),
        "b.mp4 [frames 3-12]": ("y", "b.mp4", 10),
        "c [frames 2-5]": ("x", "c", 4),
    }
    whole = read_plainly(listed.with_name("b.mp4"), SIZE)
    (clip,) = (clip for clip in shards if clip.source.startswith("b"))
    np.testing.assert_array_equal(clip.frames, whole[2:12])
    assert summary.notices == {}


def test_only_edited_rows_are_extracted_anew(listed: Path) -> None:
    run(listed)
    assert (run(listed).num_kept, run(listed).num_extracted) == (5, 0)
    text = listed.read_text()
    for old, new, count in [
        ("b.mp4,,,3,12,y", "b.mp4,,,3,13,y", 1),  # another stretch
        ("0.4,0.8,,,y", "0.4,0.8,,,x", 1),  # another label
        ("0.8,,,,x,test", "0.8,,,,x,train", 0),  # another part: the frames are the same
        ("a.mp4,0,0.4,,", "a.mp4,0,0.4000001,,", 1),  # of the same name
    ]:
        assert old in text
        text = text.replace(old, new)
        listed.write_text(text)
        summary = run(listed)
        assert (summary.num_extracted, summary.num_kept) == (count, 5 - count), new


def test_what_cannot_be_read_is_a_failed_clip(listed: Path) -> None:
    with listed.open("a") as file:
        file.write("gone.mp4,1,2,,,x,test\na.mp4,7,8,,,x,test\n")
    summary = run(listed)
    assert summary.num_extracted == 5
    with (listed.parents[2] / "shards" / "failures.csv").open(newline="") as failures:
        reasons = {row["source"]: row["reason"] for row in csv.DictReader(failures)}
    assert reasons == {
        "gone.mp4 [1.00-2.00]": "No such file or directory",
        "a.mp4 [7.00-8.00]": "no frame is shown in 7.00-8.00 s; the last frame is shown at 1.16 s",
    }


def test_parts_of_a_list(listed: Path) -> None:
    run(listed)
    sources = open_shards(listed.parents[2] / "shards").sources
    split = split_by_subsets(read_subsets(listed), sources)
    named = [[sources[n] for n in part] for part in (split.train, split.validation, split.test)]
    assert named == [
        ["a.mp4 [0.00-0.40]", "b.mp4 [frames 3-12]", "c [frames 2-5]"],
        ["a.mp4 [0.40-0.80]"],
        ["a.mp4 [0.80-end]"],
    ]
    with pytest.raises(PreprocessError, match=r"lacks 1 of 6, strange\.mp4"):
        split_by_subsets(read_subsets(listed), [*sources, "strange.mp4"])
    with pytest.raises(PreprocessError, match="none of it"):
        split_by_subsets(read_subsets(listed), ["a.mp4 [0.80-end]"])
    with pytest.raises(PreprocessError, match="a list with a column part"):
        read_subsets(write_list(listed.parent, "video,label", "a.mp4,x", name="other.csv"))


def test_windows_of_videos_are_the_videos(videos: Path, tmp_path: Path, command: Run) -> None:
    """Put together again, the windows of a clip are all its frames."""
    file, shards = tmp_path / "lists" / "w.csv", tmp_path / "shards"
    done = command("windows", videos, file, "--parts", 4)
    assert done.returncode == 0, done.stderr
    assert "12 videos in 4 windows each" in done.stdout
    assert "says little about new ones" in done.stdout
    extract(file, shards, SMALL, jobs=1)
    subsets = read_subsets(file)
    clips = sorted(open_shards(shards), key=lambda clip: clip.source)
    for video in sorted(videos.rglob("*.mpg")):
        source = video.relative_to(videos).as_posix()
        windows = [clip for clip in clips if f"{source} [" in clip.source]
        windows.sort(key=lambda clip: float(clip.source.split("[")[1].split("-")[0]))
        whole = np.concatenate([clip.frames for clip in windows])
        np.testing.assert_array_equal(whole, read_plainly(video, SIZE))
        lengths = [clip.num_frames for clip in windows]
        assert max(lengths) - min(lengths) <= 1
        names = ["train", "train", "validation", "test"]
        assert [subsets[clip.source] for clip in windows] == names
        assert [clip.group for clip in windows] == [f"{source}/{name}" for name in names]
        assert {clip.class_name for clip in windows} == {source.split("/")[0]}


def test_windows_of_a_folder_without_classes(tmp_path: Path, command: Run) -> None:
    write_video(tmp_path / "in" / "again.mp4", 20)
    write_frames(tmp_path / "in" / "bird", *names_of(10, first=3))
    file = tmp_path / "in" / "w.csv"
    assert command("windows", tmp_path / "in", file, "--parts", 3).returncode == 0
    assert file.read_text().splitlines() == [
        "video,start,stop,start_frame,stop_frame,label,group,part",
        "again.mp4,0.000,0.267,,,again,again.mp4/train,train",
        "again.mp4,0.267,0.533,,,again,again.mp4/validation,validation",
        "again.mp4,0.533,,,,again,again.mp4/test,test",
        "bird,,,3,5,bird,bird/train,train",
        "bird,,,6,9,bird,bird/validation,validation",
        "bird,,,10,12,bird,bird/test,test",
    ]


def test_windows_overwrite_nothing_else(tmp_path: Path, command: Run) -> None:
    write_video(tmp_path / "in" / "again.mp4", 20)
    file = tmp_path / "w.csv"
    assert command("windows", tmp_path / "in", file).returncode == 0
    assert command("windows", tmp_path / "in", file).returncode == 0
    for args, message in [
        ([file, "--parts", 4], "pass --overwrite"),
        ([tmp_path / "new.csv", "--parts", 21], "Each window must hold a frame"),
        ([file, "--parts", 2], "parts must be at least 3"),
        ([tmp_path / "w.txt"], "must be called NAME.csv"),
    ]:
        before = file.read_bytes()
        done = command("windows", tmp_path / "in", *args)
        assert (done.returncode, file.read_bytes()) == (2, before)
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    assert command("windows", tmp_path / "in", file, "--parts", 4, "--overwrite").returncode == 0
    assert len(file.read_text().splitlines()) == 5
