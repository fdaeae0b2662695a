"""The official lists: what is read of them, and which clips at hand they mean."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess import PreprocessError, find_clips
from preprocess.sources.catalog import UCF101, ClipName, parse_clip_name
from preprocess.sources.official_lists import join_clips, read_official_split
from preprocess.sources.splits import num_with_sibling, split_as_listed

CLASSES = ("Archery", "Bowling", "HandstandPushups")


def listed(name: str, *, numbered: bool = False) -> str:
    """A line of a list, as the official ones spell it."""
    class_name = name.removeprefix("v_").rsplit("_", 2)[0]
    file = name.replace("HandstandPushups", "HandStandPushups")
    number = f" {CLASSES.index(class_name) + 1}" if numbered else ""
    return f"{class_name}/{file}.avi{number}"


def write_lists(
    folder: Path, train: list[str], test: list[str], *, number: int = 1, end: str = "\n"
) -> Path:
    classes = [f"{label} {name}" for label, name in enumerate(CLASSES, 1)]
    lists = {
        "classInd.txt": classes,
        f"trainlist{number:02d}.txt": [listed(name, numbered=True) for name in train],
        f"testlist{number:02d}.txt": [listed(name) for name in test],
    }
    for name, lines in lists.items():
        (folder / name).write_text("".join(line + end for line in lines), newline="")
    return folder


NAMES = [f"v_{name}_g{g:02d}_c{c:02d}" for name in CLASSES for g in range(1, 6) for c in (1, 2, 3)]
PARTS = st.lists(st.sampled_from(["train", "test", ""]), min_size=len(NAMES), max_size=len(NAMES))


@given(parts=PARTS, end=st.sampled_from(["\n", "\r\n", "\n\n", " \r\n\r\n"]), seed=st.integers())
@settings(max_examples=30, deadline=None)
def test_what_was_written_is_read(parts: list[str], end: str, seed: int) -> None:
    order = list(zip(NAMES, parts, strict=True))
    random.Random(seed).shuffle(order)
    train, test = ([name for name, part in order if part == which] for which in ("train", "test"))
    with tempfile.TemporaryDirectory() as folder:
        split = read_official_split(write_lists(Path(folder), train, test, number=3, end=end), 3)
    assert [str(clip) for clip in split.train] == train
    assert [str(clip) for clip in split.test] == test
    assert split.number == 3


@given(
    parts=PARTS,
    here=st.lists(st.booleans(), min_size=len(NAMES), max_size=len(NAMES)),
    others=st.lists(st.sampled_from(["Archery/x.avi", "v_Archery_g99_c01.mp4"]), unique=True),
    form=st.sampled_from(["{c}/{n}.mp4", "{n}.avi", "{n}", "{c}/{n}"]),
    seed=st.integers(),
)
@settings(max_examples=60, deadline=None)
def test_join_is_what_sets_of_names_say(
    parts: list[str], here: list[bool], others: list[str], form: str, seed: int
) -> None:
    """Every part, and what is missing or left over, by plain comparison of texts."""
    by_part = {
        which: [name for name, part in zip(NAMES, parts, strict=True) if part == which]
        for which in ("train", "test")
    }
    at_hand = [name for name, present in zip(NAMES, here, strict=True) if present]
    sources = [form.format(c=name[2:-8], n=name) for name in at_hand] + others
    random.Random(seed).shuffle(sources)
    with tempfile.TemporaryDirectory() as folder:
        split = read_official_split(write_lists(Path(folder), **by_part), 1)
    if not all(set(names) & set(at_hand) for names in by_part.values()):
        with pytest.raises(PreprocessError, match="None of the"):
            join_clips(split, sources)
        return
    joined = join_clips(split, sources)
    for which in ("train", "test"):
        positions = getattr(joined, which)
        assert positions.dtype == np.int64
        assert sorted(positions) == list(positions)
        meant = {form.format(c=name[2:-8], n=name) for name in by_part[which] if name in at_hand}
        assert {sources[position] for position in positions} == meant
    in_lists = {*by_part["train"], *by_part["test"]}
    assert set(joined.missing) == in_lists - set(at_hand)
    meant = {form.format(c=name[2:-8], n=name) for name in at_hand if name not in in_lists}
    assert set(joined.unlisted) == meant | set(others)


def test_the_class_that_file_names_spell_in_another_way(tmp_path: Path) -> None:
    """In the release, v_HandStandPushups lies in HandstandPushups; jpegs_256 spells it small."""
    train, test = "v_HandstandPushups_g08_c01", "v_HandstandPushups_g01_c01"
    split = read_official_split(write_lists(tmp_path, [train], [test]), 1)
    assert "HandStandPushups_g08" in (tmp_path / "trainlist01.txt").read_text()
    assert split.train == (ClipName("HandstandPushups", "08", "01"),)
    for spelled in ("HandstandPushups", "HandStandPushups"):
        sources = [f"v_{spelled}_g01_c01", f"HandstandPushups/v_{spelled}_g08_c01.avi"]
        joined = join_clips(split, sources)
        assert (joined.train.tolist(), joined.test.tolist()) == ([1], [0])
        assert not joined.missing + joined.unlisted


def test_only_some_classes_are_looked_for(tmp_path: Path) -> None:
    split = read_official_split(write_lists(tmp_path, NAMES[1:], NAMES[:1]), 1)
    archery = split.of_classes(["Archery"])
    joined = join_clips(archery, [name for name in NAMES if "Archery" in name])
    assert (len(joined.train), len(joined.test), joined.missing) == (14, 1, ())
    assert len(split.train) == 44


def test_a_report_names_what_does_not_fit(tmp_path: Path) -> None:
    split = read_official_split(write_lists(tmp_path, NAMES[:9], NAMES[9:12]), 1)
    text = str(join_clips(split, [NAMES[0], NAMES[9], "extra"]))
    assert "1 clips to train on, 1 to test" in text
    assert f"10 listed clips are not here ({NAMES[1]}, {NAMES[2]}" in text
    assert ", ...)" in text
    assert "1 clips here are not listed (extra)" in text


ODD_NAMES = (
    "Play Dead",
    "two  spaces",
    "Class 3",
    "3",
    "-dash",
    "--overwrite",
    "Rock'n'Roll",
    '"quoted"',
    "St. John",
    "a_g01_c02",
    "v_x",
    "Caf\u00e9",
    "\u5c04\u7bad",
    "#hash, comma",
)


@pytest.mark.parametrize("form", ["{c}/v_{c}_g{g:02d}_c01.avi", "{c}/v_{c}_g{g:02d}_c01"])
def test_odd_class_names_are_read_and_found(tmp_path: Path, form: str) -> None:
    """Red when a name is cut at a space or a dot, or a number in it is taken for the label."""
    index = [f"{label} {name}" for label, name in enumerate(ODD_NAMES, 1)]
    train = [form.format(c=name, g=1) for name in ODD_NAMES]
    test = [form.format(c=name, g=2) for name in ODD_NAMES]
    numbered = [f"{line} {label}" for label, line in enumerate(train, 1)]
    for file, lines in (
        ("classInd.txt", index),
        ("trainlist01.txt", numbered),
        ("testlist01.txt", test),
        ("trainlist02.txt", numbered),
        ("testlist02.txt", [f"{line}\t{label} " for label, line in enumerate(test, 1)]),
    ):
        (tmp_path / file).write_text("\n".join(lines), encoding="utf-8")
    for number in (1, 2):
        split = read_official_split(tmp_path, number)
        assert [clip.class_name for clip in split.train] == list(ODD_NAMES)
        assert [clip.group for clip in split.test] == ["02"] * len(ODD_NAMES)
        here = [*test, *train]
        listed = join_clips(split, here)
        assert [here[i] for i in listed.train] == train
        assert [here[i] for i in listed.test] == test
        assert not listed.missing + listed.unlisted


def test_odd_class_names_in_folders_are_the_lists(tmp_path: Path) -> None:
    """A file system may spell an accent as two code points; a folder of frames has no suffix."""
    for source in ("Cafe\u0301/v_Cafe\u0301_g01_c01.avi", "St. John/v_St. John_g01_c02/frame1.jpg"):
        (tmp_path / source).parent.mkdir(parents=True)
        (tmp_path / source).touch()
    clips = find_clips(tmp_path)
    assert {(clip.class_name, clip.group) for clip in clips} == {
        ("Caf\u00e9", "Caf\u00e9/g01"),
        ("St. John", "St. John/g01"),
    }
    names = [ClipName("Caf\u00e9", "01", "01"), ClipName("St. John", "01", "02")]
    assert [parse_clip_name(Path(clip.source).name) for clip in clips] == names


def test_a_list_without_clips_of_the_classes(tmp_path: Path) -> None:
    split = read_official_split(write_lists(tmp_path, NAMES[:9], NAMES[15:20]), 1)
    with pytest.raises(PreprocessError, match="official test list has no clip of the classes"):
        join_clips(split.of_classes(["Archery"]), NAMES)


CLIP = "Archery/v_Archery_g01_c01.avi"


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("classInd.txt", "Swing", r"classInd.txt, line 5: expected a number and a class"),
        ("classInd.txt", "4", r"line 5: expected a number and a class"),
        ("classInd.txt", "1 Swing", r"line 5: 1 or Swing stands in a line before"),
        ("classInd.txt", "4 Archery", r"line 5: 4 or Archery stands in a line before"),
        ("trainlist01.txt", CLIP, "line 3: expected .* and the number of the class"),
        ("trainlist01.txt", f"{CLIP} 2", "Archery has the number 1 in classInd.txt. Received 2"),
        ("trainlist01.txt", f"{CLIP} 1 2", "line 3: expected Class/v_Class_gNN_cNN.avi. Rec"),
        ("trainlist01.txt", "Archery/x.avi 1", "line 3: expected Class/v_Class_gNN_cNN.avi. Rec"),
        ("trainlist01.txt", "Swing/v_Swing_g01_c01.avi 4", "class 'Swing' is not in classInd.txt"),
        ("trainlist01.txt", "v_Archery_g01_c01.avi 1", "the class '' is not in classInd.txt"),
        ("trainlist01.txt", "Bowling/v_Archery_g01_c01.avi 2", "no clip of its folder's class"),
        ("trainlist01.txt", listed(NAMES[1], numbered=True), "listed already in .*01.txt, line 1"),
        ("testlist01.txt", f"{CLIP} 3", "Archery has the number 1 in classInd.txt. Received 3"),
        (
            "testlist01.txt",
            listed(NAMES[1]),
            "testlist01.txt, line 3: .* in .*trainlist01.txt, line 1",
        ),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, file: str, line: str, message: str) -> None:
    write_lists(tmp_path, [NAMES[1]], [NAMES[2]], end="\r\n")
    with (tmp_path / file).open("a", newline="") as text:
        text.write(f"\r\n{line}\r\n")
    with pytest.raises(PreprocessError, match=message) as caught:
        read_official_split(tmp_path, 1)
    assert str(tmp_path / file) in str(caught.value)


def test_a_numbered_test_list_and_a_mark_of_utf8_are_understood(tmp_path: Path) -> None:
    write_lists(tmp_path, [NAMES[1]], [])
    (tmp_path / "testlist01.txt").write_text(f"\ufeff{CLIP} 1\n", encoding="utf-8")
    assert [str(clip) for clip in read_official_split(tmp_path, 1).test] == [NAMES[0]]


@pytest.mark.parametrize(
    ("number", "message"),
    [(0, "1, 2 and 3. Received 0"), (4, "Received 4"), (2, "trainlist02.txt: No such file")],
)
def test_a_list_that_is_not_there(tmp_path: Path, number: int, message: str) -> None:
    with pytest.raises(PreprocessError, match=message):
        read_official_split(write_lists(tmp_path, [NAMES[1]], [NAMES[2]]), number)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    write_lists(tmp_path, [NAMES[1]], [NAMES[2]])
    (tmp_path / "classInd.txt").write_bytes(b"\xff\xfe1 Archery")
    with pytest.raises(PreprocessError, match="it is not text"):
        read_official_split(tmp_path, 1)


def test_a_clip_that_is_here_twice_is_refused(tmp_path: Path) -> None:
    split = read_official_split(write_lists(tmp_path, [NAMES[0]], [NAMES[1]]), 1)
    with pytest.raises(PreprocessError, match=r"is here twice: .*\.avi and .*\.mp4"):
        join_clips(split, [f"{NAMES[0]}.avi", NAMES[1], f"Archery/{NAMES[0]}.mp4"])


@given(
    class_name=st.from_regex(r"[A-Za-z_]{1,12}", fullmatch=True),
    group=st.integers(0, 99),
    number=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_a_clips_name_is_taken_apart_at_its_end(class_name: str, group: int, number: int) -> None:
    parts = parse_clip_name(f"v_{class_name}_g{group:02d}_c{number:02d}")
    assert parts == (class_name, f"{group:02d}", f"{number:02d}")
    assert parse_clip_name(f"{class_name}_g{group:02d}_c{number:02d}.avi") is None


def test_real_clips_are_parted_to_the_clip(real_clips: Path, tmp_path: Path) -> None:
    """Official split 1 tests groups 1 to 7; one clip is taken from the lists, one added."""
    clips = find_clips(real_clips / "ucf101")
    (tmp_path / "classInd.txt").write_text(
        "".join(f"{label} {name}\r\n" for label, name in enumerate(UCF101.class_names, 1))
    )
    train, test = [], []
    for clip in clips[1:]:
        name = clip.path.stem
        label = UCF101.class_names.index(clip.class_name) + 1
        line = f"{clip.class_name}/{name}.avi"
        if int(name[-6:-4]) <= 7:
            test.append(line)
        else:
            train.append(f"{line} {label}")
    train.append("YoYo/v_YoYo_g09_c01.avi 101")
    (tmp_path / "trainlist01.txt").write_text("\r\n".join(train))
    (tmp_path / "testlist01.txt").write_text("\n".join(test))
    joined = join_clips(read_official_split(tmp_path, 1), [clip.source for clip in clips])
    assert joined.missing == ("v_YoYo_g09_c01",)
    assert joined.unlisted == (clips[0].source,)
    labels = [UCF101.class_names.index(clip.class_name) for clip in clips]
    groups = [clip.group for clip in clips]
    split = split_as_listed(labels, groups, train=joined.train, test=joined.test)
    tested = {clips[position].path.stem for position in split.test}
    assert tested == {Path(line).stem for line in test}
    assert len(split.train) + len(split.validation) == len(train) - 1
    assert num_with_sibling(split, groups) == 0
