"""Names and classes of data sets."""

from __future__ import annotations

from preprocess.sources.catalog import DATASETS, DEMO, UCF11, UCF101, official_spelling, resolve


def test_ucf11_record() -> None:
    assert len(UCF11.class_names) == 11
    assert list(UCF11.class_names) == sorted(UCF11.class_names)
    assert UCF11.num_clips == 1600


def test_ucf101_record() -> None:
    """The official list is sorted regardless of capitals; its numbers count from 1."""
    names = UCF101.class_names
    assert len(names) == len(set(names)) == 101
    assert list(names) == sorted(names, key=str.casefold)
    numbers = {1: "ApplyEyeMakeup", 36: "HammerThrow", 37: "HandstandPushups", 48: "JumpRope"}
    numbers |= {64: "PlayingPiano", 79: "Shotput", 82: "Skijet", 99: "WallPushups", 101: "YoYo"}
    assert {number: names[number - 1] for number in numbers} == numbers
    assert UCF101.num_clips == 13320


def test_other_spellings_are_of_classes() -> None:
    assert official_spelling("HandStandPushups") == "HandstandPushups"
    for record in DATASETS.values():
        assert {official for _, official in record.other_spellings} <= set(record.class_names)
        assert [official_spelling(name) for name in record.class_names] == [*record.class_names]


def test_demo_record_is_what_the_renderer_draws() -> None:
    from preprocess.sources import synthetic

    assert DEMO.class_names == synthetic.CLASS_NAMES


def test_part_of_a_known_set_keeps_all_its_labels() -> None:
    assert resolve("ucf11", {"walking"}, "clips") == ("ucf11", UCF11.class_names)


def test_other_classes_are_not_called_a_known_set() -> None:
    assert resolve("ucf11", {"walking", "archery"}, "clips") == ("clips", ("archery", "walking"))


def test_a_folder_with_exactly_a_records_classes_is_that_record() -> None:
    # Those without classes of their own are known by the names of their clips.
    for record in [record for record in DATASETS.values() if record.class_names]:
        assert resolve(None, record.class_names, "clips") == (record.name, record.class_names)
        assert resolve("ucf11", record.class_names, "clips") == (record.name, record.class_names)


def test_a_name_of_ones_own() -> None:
    assert resolve("mine", {"b", "a"}, "clips") == ("mine", ("a", "b"))
    assert resolve(None, {"b", "a"}, "clips") == ("clips", ("a", "b"))
