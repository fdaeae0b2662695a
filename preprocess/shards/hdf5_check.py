"""What an HDF5 file of somebody else may not hold: what leads out of it, and what it only claims.

HDF5 takes values from other files: through links, as virtual datasets, as external storage. Who
reads a stranger's file would read files of his own without knowing. It also lets a file of a few
bytes claim petabytes. Nothing of a dataset is read before it is checked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import BinaryIO

import h5py
from h5py import h5d, h5g, h5l, h5o

from preprocess.errors import PreprocessError

Expansion = Mapping[int, int]
"""Filters that a dataset may have, by their numbers, with how many bytes one can become."""
DEFLATE, SHUFFLE, CHECKSUM, LZ4, ZSTANDARD = 1, 2, 3, 32004, 32015
HDF5_S_OWN: Expansion = {DEFLATE: 1032, SHUFFLE: 1, CHECKSUM: 1}
SHARDS_OWN: Expansion = {LZ4: 255, ZSTANDARD: 2**15, CHECKSUM: 1}
_MOST_OBJECTS = 100_000
_DEEPEST = 64


class UnsafeFileError(PreprocessError):
    """A file that is refused; the message is the reason alone."""


def open_dataset(file: h5py.File, path: str, filters: Expansion) -> h5py.Dataset:
    """A dataset that is in the file itself.

    Args:
        file: open for reading.
        path: names of groups and of the dataset, with `/` between them.
        filters: that it may have.

    Raises:
        UnsafeFileError: if it is elsewhere, in whole or in part, or claims more than is stored.
        KeyError: if there is none.
    """
    found = file.id
    for name in path.split("/"):
        found = _open(found, name.encode())
    if not isinstance(found, h5d.DatasetID):
        raise KeyError(f"{path} is no dataset")
    _check_dataset(found, filters)
    return h5py.Dataset(found)


def check_file(file: h5py.File, filters: Expansion) -> None:
    """All that a file holds.

    Args:
        file: open for reading.
        filters: that its datasets may have.

    Raises:
        UnsafeFileError: as of `open_dataset`, or if it is a maze of groups.
    """
    waiting: list[tuple[h5g.GroupID, int]] = [(h5g.open(file.id, b"/"), 1)]
    num_objects = 0
    while waiting:
        group, depth = waiting.pop()
        for name in group:
            found = _open(group, name)
            num_objects += 1
            if depth > _DEEPEST or num_objects > _MOST_OBJECTS:
                raise UnsafeFileError(
                    f"it has groups deeper than {_DEEPEST}, or more than {_MOST_OBJECTS:,} parts"
                )
            if isinstance(found, h5g.GroupID):
                waiting.append((found, depth + 1))
            elif isinstance(found, h5d.DatasetID):
                _check_dataset(found, filters)


def check_stream(stream: BinaryIO, filters: Expansion) -> None:
    """All that an HDF5 file holds which is inside another file, or open already.

    Raises:
        UnsafeFileError: as of `check_file`.
        OSError: if it is no HDF5 file.
    """
    with h5py.File(stream, "r") as file:
        try:
            check_file(file, filters)
        except (RuntimeError, KeyError, ValueError) as error:  # HDF5's, of what is damaged
            raise OSError(f"it is damaged: {error}") from error


def check_scalar(file: h5py.File, attribute: str) -> None:
    """An attribute of the file must be one value, before memory is taken for more.

    Raises:
        UnsafeFileError: if it is not.
        KeyError: if there is none.
    """
    if file.attrs.get_id(attribute).shape != ():
        raise UnsafeFileError(f"its attribute {attribute} is not one value")


def _open(group: h5g.GroupID, name: bytes) -> h5g.GroupID | h5d.DatasetID:
    if not isinstance(group, h5g.GroupID):
        raise KeyError(f"{name!r} is looked for in what is no group")
    if name not in group:
        raise KeyError(f"there is no {name!r}")
    if group.links.get_info(name).type != h5l.TYPE_HARD:
        raise UnsafeFileError(f"its part {name.decode(errors='replace')!a} is a link")
    return h5o.open(group, name)


def _check_dataset(dataset: h5d.DatasetID, filters: Expansion) -> None:
    made = dataset.get_create_plist()
    layout = made.get_layout()
    if layout == h5d.VIRTUAL:
        raise UnsafeFileError("it has a virtual dataset, which is made of other ones")
    if layout == h5d.CONTIGUOUS and made.get_external_count():
        raise UnsafeFileError("it has a dataset whose values are in another file")
    used = [made.get_filter(number)[0] for number in range(made.get_nfilters())]
    if foreign := [number for number in used if number not in filters]:
        raise UnsafeFileError(f"it has a dataset with the filter {foreign[0]}, which is not known")
    num_values = math.prod(dataset.shape or (0,))
    if num_values and layout == h5d.CHUNKED:
        num_values = max(num_values, math.prod(made.get_chunk()))  # which is read as a whole
    claimed = num_values * dataset.get_type().get_size()
    stored = dataset.get_storage_size()
    if claimed > stored * math.prod(filters[number] for number in used):
        raise UnsafeFileError(f"it has {stored:,} bytes of a dataset that claims {claimed:,}")
