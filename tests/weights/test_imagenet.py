"""The class table."""

import re

from weights import imagenet_classes

KNOWN = {  # index -> wnid and name, as keras.applications' decode_predictions and WordNet have it
    0: ("n01440764", "tench"),
    207: ("n02099601", "golden retriever"),
    281: ("n02123045", "tabby"),
    340: ("n02391049", "zebra"),
    920: ("n06874185", "traffic light"),
    999: ("n15075141", "toilet tissue"),
}


def test_known_classes_are_where_they_belong():
    """Red for a table that is off by one, as the published script's was for classes 0 to 8."""
    classes = imagenet_classes()
    for index, (wnid, name) in KNOWN.items():
        assert (classes[index].index, classes[index].wnid, classes[index].name) == (
            index,
            wnid,
            name,
        )


def test_the_table_is_whole():
    classes = imagenet_classes()
    assert [known.index for known in classes] == list(range(1000))
    wnids = [known.wnid for known in classes]
    assert wnids == sorted(set(wnids))
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnid in wnids)


def test_no_two_classes_have_one_name():
    """Red for two cranes, of which a CSV would not say which."""
    names = {known.name for known in imagenet_classes()}
    assert len(names) == 1000
    assert {"crane (bird)", "crane (machine)", "maillot", "maillot (tank suit)"} <= names
    assert all(name and name == name.strip() for name in names)


def test_the_table_is_read_once():
    assert imagenet_classes() is imagenet_classes()
