"""Known data sets: layouts, groups, labels, official splits, and wrong lists."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError
from preprocess import PreprocessError
from preprocess.sources.catalog import HMDB51, UCF50, UCF101, recognize
from preprocess.sources.clip_sets import ClipSet, choose_clip_set, read_subsets
from preprocess.sources.official_lists import num_official_splits, official_split

# As they are distributed: a class in the name of the video, too, and marks that paths seldom have.
HMDB51_CLIPS = {
    "brush_hair": [
        "April_09_brush_hair_u_nm_np1_ba_goo_0",
        "April_09_brush_hair_u_nm_np1_ba_goo_1",
        "atempting_to_brush_my_hair_brush_hair_u_nm_np2_le_goo_0",
    ],
    "smile": ["YouTube_smiles!_smile_h_cm_np1_fr_med_26", "A.B_smile_h_nm_np1_fr_bad_0"],
    "shake_hands": [
        "A_Beautiful_Mind_1_shake_hands_u_nm_np2_le_med_1",
        "#20_Rhythm_shake_hands_f_cm_np2_ri_bad_2",
        "April_09_shake_hands_u_nm_np2_fr_med_4",
    ],
}
LISTS = {
    "brush_hair": [1, 1, 2],
    "smile": [1, 2],
    "shake_hands": [2, 0, 1],
}


def touch(root: Path, names: list[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.fixture
def hmdb51(tmp_path: Path) -> ClipSet:
    names = [f"{label}/{name}.avi" for label, names in HMDB51_CLIPS.items() for name in names]
    return choose_clip_set(touch(tmp_path / "videos", names))


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Lists of split 2, with the blank behind each number that the official ones have."""
    folder = tmp_path / "lists"
    folder.mkdir()
    for label in HMDB51.class_names:
        names = HMDB51_CLIPS.get(label, [])
        pairs = zip(names, LISTS.get(label, []), strict=True)
        text = "".join(f"{name}.avi {part} \n" for name, part in pairs)
        (folder / f"{label}_test_split2.txt").write_text(text)
    return folder


def split_of(clips: ClipSet, lists: Path | None = None, number: int = 2):
    return official_split(clips, number=number, lists=lists, seed=0)


def test_hmdb51_is_known_by_its_names(hmdb51: ClipSet) -> None:
    """Red when a few classes get labels of their own, or clips of one video different groups."""
    assert (hmdb51.dataset, len(hmdb51.class_names)) == ("hmdb51", 51)
    assert {clip.class_name for clip in hmdb51.clips} == set(HMDB51_CLIPS)
    groups = dict(
        zip((source.split("/")[1] for source in hmdb51.sources), hmdb51.groups, strict=True)
    )
    same = [group for name, group in groups.items() if name.startswith("April_09")]
    assert len(same) == 3
    assert set(same) == {"April_09"}
    assert len(set(hmdb51.groups)) == 6


def test_hmdb51_split_is_that_of_the_lists(hmdb51: ClipSet, lists: Path) -> None:
    """Red when 0, 1 and 2 are confused, or the blank behind them is taken for a part of a name."""
    joined = split_of(hmdb51, lists)
    found = {
        part: {Path(hmdb51.sources[i]).name.removesuffix(".avi") for i in getattr(joined, part)}
        for part in ("train", "test")
    }
    pairs = [
        (name, part)
        for label, names in HMDB51_CLIPS.items()
        for name, part in zip(names, LISTS[label], strict=True)
    ]
    assert found["train"] == {name for name, part in pairs if part == 1}
    assert found["test"] == {name for name, part in pairs if part == 2}
    assert [source.split("/")[1] for source in joined.unlisted] == [
        "#20_Rhythm_shake_hands_f_cm_np2_ri_bad_2.avi"
    ]
    assert joined.missing == ()


def test_a_listed_clip_that_is_missing_is_named(hmdb51: ClipSet, lists: Path) -> None:
    clips = replace(hmdb51, clips=hmdb51.clips[1:])
    assert "April_09_brush_hair_u_nm_np1_ba_goo_0" in str(split_of(clips, lists))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("smile_test_split2.txt", None, r"smile_test_split2\.txt: No such file.*CLASS_test_split1"),
        ("smile_test_split2.txt", "a.avi 3", r"line 1: expected the file name .*'a\.avi 3'"),
        ("smile_test_split2.txt", "\na.avi", r"line 2: expected the file name .*'a\.avi'"),
        ("smile_test_split2.txt", "a.avi 1\na.avi 2", r"line 2: a is listed already in .*line 1"),
        ("walk_test_split2.txt", "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1", "listed already"),
        ("smiles_test_split2.txt", "", r"51 classes\. Received 'smiles'\. .*smile"),
        (
            "smile_test_split2.txt",
            "A_Beautiful_Mind_1_shake_hands_u_nm_np2_le_med_1.avi 1",
            "listed already in",
        ),
    ],
)
def test_wrong_lists_of_hmdb51(
    hmdb51: ClipSet, lists: Path, file: str, text: str | None, message: str
) -> None:
    """Red when a wrong list makes a wrong split."""
    if text is None:
        (lists / file).unlink()
    else:
        (lists / file).write_text(text)
    with pytest.raises(PreprocessError, match=message) as error:
        split_of(hmdb51, lists)
    assert "\n" not in str(error.value)


def test_a_clip_in_another_classes_list(hmdb51: ClipSet, lists: Path) -> None:
    name = HMDB51_CLIPS["smile"][0]
    (lists / "smile_test_split2.txt").write_text("")
    (lists / "walk_test_split2.txt").write_text(f"{name}.avi 1\n")
    with pytest.raises(PreprocessError, match="clip of smile by its folder, and of walk by the"):
        split_of(hmdb51, lists)


@pytest.fixture
def ucf50(tmp_path: Path) -> ClipSet:
    names = [
        f"{label}/v_{label.replace('Billiards', 'Billards')}_g{group:02}_c{number:02}.avi"
        for label in ("Billiards", "YoYo")
        for group in (1, 2, 25)
        for number in (1, 2)
    ]
    return choose_clip_set(touch(tmp_path / "UCF50", names))


def test_ucf50_tests_one_group_of_each_class(ucf50: ClipSet) -> None:
    """Red when its own spelling of a class, or a group of the other class, is left out."""
    assert (ucf50.dataset, len(ucf50.class_names)) == ("ucf50", 50)
    assert num_official_splits("ucf50") == 25
    joined = split_of(ucf50, number=25)
    assert {ucf50.groups[i] for i in joined.test} == {"Billiards/g25", "YoYo/g25"}
    assert sorted([*joined.train, *joined.test]) == list(range(12))
    with pytest.raises(PreprocessError, match=r"tests the clips of group g07.*1, 2, 25"):
        split_of(ucf50, number=7)
    with pytest.raises(PreprocessError, match=r"are 1 to 25\. Received 26"):
        split_of(ucf50, number=26)


def test_ucf50_has_classes_of_ucf101() -> None:
    assert len(set(UCF50.class_names)) == 50
    assert set(UCF50.class_names) < set(UCF101.class_names)
    source = "YoYo/v_YoYo_g01_c01.avi"
    assert recognize({"YoYo"}, [source], "UCF-101") is None
    assert recognize({"YoYo"}, [source], "ucf50") == "ucf50"


@pytest.fixture
def celebrities(tmp_path: Path) -> ClipSet:
    """Three people with three sessions of fifteen clips, in one folder, numbered throughout."""
    numbers = itertools.count(1)
    names = [
        f"{next(numbers):04}_{session:02}_{number:03}_{person}.avi"
        for person in ("al_gore", "jacques_chirac", "sarah_jessica_parker")
        for session in (1, 2, 3)
        for number in range(1, 16)
    ]
    return choose_clip_set(touch(tmp_path / "ytcelebrity", names))


def test_people_and_sessions_are_in_the_names(celebrities: ClipSet) -> None:
    assert celebrities.dataset == "youtube_celebrities"
    assert celebrities.class_names == ("al_gore", "jacques_chirac", "sarah_jessica_parker")
    assert np.bincount(celebrities.labels).tolist() == [45, 45, 45]
    assert len(set(celebrities.groups)) == 9


def test_folds_of_youtube_celebrities(celebrities: ClipSet) -> None:
    """Red when a fold has other numbers than the protocol, or folds share clips without need."""
    seen: list[int] = []
    for number in range(1, 6):
        fold = split_of(celebrities, number=number)
        assert np.bincount(celebrities.labels[fold.train]).tolist() == [3, 3, 3]
        assert np.bincount(celebrities.labels[fold.test]).tolist() == [6, 6, 6]
        assert len({celebrities.groups[i] for i in fold.train}) == 9
        seen += [*fold.train, *fold.test]
    assert len(set(seen)) == len(seen) == 135
    first = split_of(celebrities, number=1)
    other = official_split(celebrities, number=1, lists=None, seed=1)
    assert not np.array_equal(first.test, other.test)


def test_other_clips_are_not_called_celebrities(tmp_path: Path) -> None:
    touch(tmp_path / "mine", ["a/x.avi", "b/y.avi"])
    assert choose_clip_set(tmp_path / "mine", dataset="youtube_celebrities").dataset == "mine"


def test_a_stranger_among_celebrities_is_named(tmp_path: Path) -> None:
    """One file of such a name is a chance, and many are the data set."""
    names = ["0001_01_001_al_gore.avi", "0002_01_002_al_gore.avi", "readme.avi"]
    with pytest.raises(PreprocessError, match=r"1 of 3 clips .* readme\.avi"):
        choose_clip_set(touch(tmp_path / "many", names))
    one = choose_clip_set(touch(tmp_path / "one", ["2020_01_001_birthday.avi", "x.avi", "y.avi"]))
    assert one.class_names == ("one",)


def test_lists_may_name_several_classes_of_a_clip(tmp_path: Path) -> None:
    """Red when a clip of a list keeps its `label` only."""
    rows = ["a.mp4,Run,Run|DriveCar", "b.mp4,Sit, Sit ", "c.mp4,Sit,DriveCar|Sit|Run"]
    file = tmp_path / "mine.csv"
    file.write_text("\n".join(["video,label,labels", *rows]))
    clips = choose_clip_set(file)
    assert (clips.dataset, clips.class_names) == ("mine", ("DriveCar", "Run", "Sit"))
    assert clips.label_matrix is not None
    assert clips.label_matrix.tolist() == [[1, 1, 0], [0, 0, 1], [1, 1, 1]]
    for cell in ("", "DriveCar"):
        file.write_text(f"video,label,labels\na.mp4,Run,{cell}\n")
        with pytest.raises(InputError, match=r"line 2: labels must hold .* Run\|DriveCar"):
            choose_clip_set(file)


HOLLYWOOD2_LABELS = {
    "actioncliptrain00001": ["Run"],
    "actioncliptrain00002": ["DriveCar", "Run"],
    "actioncliptrain00003": ["SitUp"],
    "actioncliptest00001": ["DriveCar"],
    "actioncliptest00002": ["Run", "SitUp"],
}


def write_hollywood2(root: Path, labels: dict[str, list[str]] = HOLLYWOOD2_LABELS) -> Path:
    """A tree as Hollywood2 is distributed, with lists of three classes and others beside them."""
    touch(root, [f"AVIClips/{name}.avi" for name in labels])
    touch(root, ["AVIClips/actionclipautoautotrain00001.avi", "ShotBounds/x.sht"])
    lists = root / "ClipSets"
    lists.mkdir()
    for subset in ("train", "test"):
        names = [name for name in labels if f"clip{subset}" in name]
        for label in ("DriveCar", "Run", "SitUp"):
            lines = [f"{name}  {1 if label in labels[name] else -1}\n" for name in names]
            (lists / f"{label}_{subset}.txt").write_text("".join(lines))
        (lists / f"actions_{subset}.txt").write_text("".join(f"{name}  1\n" for name in names))
    (lists / "Run_autotrain.txt").write_text("actionclipautoautotrain00001  1\n")
    return root


def test_hollywood2_is_read_as_it_is_distributed(tmp_path: Path) -> None:
    """Red when a clip keeps one of its classes, or the lists of a program's labels are read."""
    clips = choose_clip_set(write_hollywood2(tmp_path))
    assert (clips.dataset, clips.class_names) == ("hollywood2", ("DriveCar", "Run", "SitUp"))
    found = {Path(clip.source).stem: [*clip.labels] for clip in clips.clips}
    assert found == HOLLYWOOD2_LABELS
    assert clips.label_matrix is not None
    assert clips.label_matrix.tolist() == [
        [label in HOLLYWOOD2_LABELS[Path(source).stem] for label in clips.class_names]
        for source in clips.sources
    ]
    assert "1 clips are in no list of the parts train and test, actionclipauto" in clips.notice
    joined = split_of(clips, number=1)
    assert {Path(clips.sources[i]).stem for i in joined.test} == {
        "actioncliptest00001",
        "actioncliptest00002",
    }
    assert len(joined.train) == 3
    subsets = read_subsets(tmp_path)
    assert [subsets[source] for source in clips.sources] == ["test"] * 2 + ["train"] * 3


def test_the_folder_of_hollywood2s_clips_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PreprocessError, match=f"name {tmp_path}"):
        choose_clip_set(write_hollywood2(tmp_path) / "AVIClips")


def test_some_classes_of_hollywood2(tmp_path: Path) -> None:
    clips = choose_clip_set(write_hollywood2(tmp_path), classes=["SitUp", "DriveCar"])
    assert clips.class_names == ("DriveCar", "SitUp")
    assert [clip.labels for clip in clips.clips] == [("DriveCar",), ("SitUp",)] * 2


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("Run_test.txt", None, r"Cannot read .*Run_test\.txt: No such file.*must hold CLASS_train"),
        ("Dance_train.txt", "", r"12 classes\. Received 'Dance'\."),
        ("Run_test.txt", "actioncliptest00001  2", r"line 1: expected the name of a clip, and 1 "),
        ("Run_test.txt", "actioncliptest00001", r"line 1: expected the name of a clip, and 1 if"),
        ("Run_test.txt", "a  1\na  -1", r"line 2: a stands in a line before"),
        ("Run_test.txt", "actioncliptest00001 1", r"DriveCar_test\.txt has actioncliptest00002, "),
        ("Run_train.txt", "a 1", r"Run_train\.txt has a, and DriveCar_train\.txt does not"),
        (
            "DriveCar_test.txt",
            "actioncliptrain00002  1",
            r"line 1: actioncliptrain00002 is in a list of the part train, too",
        ),
    ],
)
def test_wrong_lists_of_hollywood2(
    tmp_path: Path, file: str, text: str | None, message: str
) -> None:
    """Red when a wrong list makes wrong labels."""
    path = write_hollywood2(tmp_path) / "ClipSets" / file
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(PreprocessError, match=message) as error:
        choose_clip_set(tmp_path)
    assert "\n" not in str(error.value)


def test_missing_and_unlabelled_clips_of_hollywood2_are_told(tmp_path: Path) -> None:
    labels = HOLLYWOOD2_LABELS | {"actioncliptest00009": []}
    root = write_hollywood2(tmp_path, labels)
    (root / "AVIClips" / "actioncliptrain00003.avi").unlink()
    clips = choose_clip_set(root)
    assert len(clips.clips) == 4
    assert "1 listed clips are not there, actioncliptrain00003 for instance" in clips.notice
    assert "1 clips show none of the classes, actioncliptest00009" in clips.notice
