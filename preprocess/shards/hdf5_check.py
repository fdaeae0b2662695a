"""Checks of untrusted HDF5 files: no data outside of the file, and no false claims of size.

HDF5 can take values from other files: through links, as virtual datasets, as external storage. A
reader of a stranger's file would read files of its own machine unknowingly. A file of a few bytes
can also claim petabytes. Nothing of a dataset is read before it is checked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import BinaryIO

import h5py
from h5py import h5d, h5g, h5l, h5o

from preprocess.errors import PreprocessError

Expansion = Mapping[int, int]
"""Allowed filters by their numbers, with the largest ratio by which each can expand its bytes."""
# Numbers of the HDF5 registry of filters.
DEFLATE, SHUFFLE, CHECKSUM, LZ4, ZSTANDARD = 1, 2, 3, 32004, 32015
HDF5_S_OWN: Expansion = {DEFLATE: 1032, SHUFFLE: 1, CHECKSUM: 1}
SHARDS_OWN: Expansion = {LZ4: 255, ZSTANDARD: 2**15, CHECKSUM: 1}
# Bounds on the time of a check: groups may contain each other in any number.
_MAX_OBJECTS = 100_000
_DEEPEST = 64


class UnsafeFileError(PreprocessError):
    """Error of a file that is refused; the message is the reason without the path."""


def open_dataset(file: h5py.File, path: str, filters: Expansion) -> h5py.Dataset:
    """Open a dataset that is stored in the file itself.

    Args:
        file: file that is open for reading.
        path: names of groups and of the dataset, separated by `/`.
        filters: filters that it may have.

    Raises:
        UnsafeFileError: if it is elsewhere, in whole or in part, or claims more than is stored.
        KeyError: if there is none.
    """
    # Step by step: h5py's own look-up would follow links before anything could be checked.
    found = file.id
    for name in path.split("/"):
        found = _open(found, name.encode())
    if not isinstance(found, h5d.DatasetID):
        raise KeyError(f"{path} is no dataset")
    _check_dataset(found, filters)
    return h5py.Dataset(found)


def check_file(file: h5py.File, filters: Expansion) -> None:
    """Check all groups and datasets of a file.

    Args:
        file: file that is open for reading.
        filters: filters that its datasets may have.

    Raises:
        UnsafeFileError: for a reason of `open_dataset`, or for too many or too deep groups.
    """
    waiting: list[tuple[h5g.GroupID, int]] = [(h5g.open(file.id, b"/"), 1)]
    num_objects = 0
    while waiting:
        group, depth = waiting.pop()
        for name in group:
            found = _open(group, name)
            num_objects += 1
            if depth > _DEEPEST or num_objects > _MAX_OBJECTS:
                raise UnsafeFileError(
                    f"it has groups deeper than {_DEEPEST}, or more than {_MAX_OBJECTS:,} parts"
                )
            if isinstance(found, h5g.GroupID):
                waiting.append((found, depth + 1))
            elif isinstance(found, h5d.DatasetID):
                _check_dataset(found, filters)


def check_stream(stream: BinaryIO, filters: Expansion) -> None:
    """Check an HDF5 file that is inside another file, or open already.

    Raises:
        UnsafeFileError: for a reason of `check_file`.
        OSError: if it is no HDF5 file.
    """
    with h5py.File(stream, "r") as file:
        try:
            check_file(file, filters)
        except (RuntimeError, KeyError, ValueError) as error:  # h5py's errors for damaged files
            raise OSError(f"it is damaged: {error}") from error


def check_scalar(file: h5py.File, attribute: str) -> None:
    """Check that an attribute of the file is one value, before memory is taken for more.

    Raises:
        UnsafeFileError: if it is not.
        KeyError: if there is none.
    """
    if file.attrs.get_id(attribute).shape != ():
        raise UnsafeFileError(f"its attribute {attribute} is not one value")


def _open(group: h5g.GroupID, name: bytes) -> h5g.GroupID | h5d.DatasetID:
    """Open a member of a group, unless it is a soft or external link."""
    if not isinstance(group, h5g.GroupID):
        raise KeyError(f"{name!r} is looked for in what is no group")
    if name not in group:
        raise KeyError(f"there is no {name!r}")
    if group.links.get_info(name).type != h5l.TYPE_HARD:
        raise UnsafeFileError(f"its part {name.decode(errors='replace')!a} is a link")
    return h5o.open(group, name)


def _check_dataset(dataset: h5d.DatasetID, filters: Expansion) -> None:
    """Refuse foreign storage, unknown filters, and sizes that the stored bytes cannot expand to."""
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
        num_values = max(num_values, math.prod(made.get_chunk()))  # a chunk is read as a whole
    claimed = num_values * dataset.get_type().get_size()
    stored = dataset.get_storage_size()
    if claimed > stored * math.prod(filters[number] for number in used):
        raise UnsafeFileError(f"it has {stored:,} bytes of a dataset that claims {claimed:,}")
