"""`.npz` and `.safetensors`: read whole, checked before memory is given, written whole."""

import io
import json
import pickle
import stat
import struct
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest

from weights import WeightsError, read_arrays, write_safetensors

ARRAYS = {
    "conv1/kernel": np.arange(24, dtype="float32").reshape(2, 3, 4),
    "conv1/bias": np.zeros(4, "float16"),
    "bn/count": np.array(7, "int64"),
}


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape
        assert found[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    assert_same(read_arrays(tmp_path / "a.npz"), ARRAYS)


def test_safetensors(tmp_path):
    """Red for arrays whose bytes do not lie as numpy shows them: written as they lie."""
    arrays = ARRAYS | {
        "columns first": np.asfortranarray(ARRAYS["conv1/kernel"]),
        "transposed": ARRAYS["conv1/kernel"].T,
        "every second": np.arange(10.0)[::2],
        "big-endian": np.arange(3, dtype=">f4"),
        "empty": np.zeros((0, 3), "float32"),
    }
    path = tmp_path / "a.safetensors"
    write_safetensors(path, arrays)
    assert_same(read_arrays(path), arrays)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o044  # others may read it


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, ARRAYS)
    before = path.read_bytes()
    with pytest.raises(WeightsError, match="cannot be written"):
        write_safetensors(path, ARRAYS | {"objects": np.array([{}])})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    with pytest.raises(WeightsError, match="No such file"):
        write_safetensors(tmp_path / "nowhere" / "a.safetensors", ARRAYS)


def member(array, **header):
    """An .npy file, whose header may lie."""
    stream = io.BytesIO()
    np.save(stream, array)
    if not header:
        return stream.getvalue()
    fields = np.lib.format.header_data_from_array_1_0(array) | header
    lying = io.BytesIO()
    np.lib.format.write_array_header_1_0(lying, fields)
    return lying.getvalue() + array.tobytes()


def zipped(members, **options):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in members:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the same name twice
                archive.writestr(name, content)
    return stream.getvalue()


def encrypted(content):
    """Set the flag in both places where a zip file has it."""
    content = bytearray(zipped([("a.npy", content)]))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    return bytes(content)


def announcing(content, size):
    """A zip file that lies about how large its first member becomes."""
    content = bytearray(zipped([("a.npy", content)]))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = content.index(signature) + offset
        content[start : start + 4] = struct.pack("<I", size)
    return bytes(content)


def link(name):
    """A member that `unzip` would make a symbolic link."""
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def overlapping(content):
    """A second entry of the directory for the first member's bytes: of these are bombs made."""
    content = bytearray(zipped([("a.npy", content), ("b.npy", content)]))
    start = content.rindex(b"PK\x01\x02") + 42
    content[start : start + 4] = struct.pack("<I", 1)
    return bytes(content)


FLOATS = np.arange(6, dtype="float32")
ZEROS = np.zeros(40 * 2**20, "uint8")
NPZ = {
    "no zip": (b"<html>404</html>", "not a zip file"),
    "empty": (b"", "not a zip file"),
    "an npy": (member(FLOATS), "not a zip file"),
    "another file in it": (zipped([("a.txt", b"x")]), "a.txt is no array"),
    "two of a name": (zipped([("a.npy", member(FLOATS))] * 2), "are named a.npy"),
    "objects": (zipped([("a.npy", member(np.array([{}])))]), "of type object"),
    "texts": (zipped([("a.npy", member(np.array(["a"])))]), "of type <U1"),
    "a pickle": (zipped([("a.npy", pickle.dumps({}))]), "no sound"),
    "half a header": (
        zipped([("a.npy", member(FLOATS).replace(b"),", b" ,"))]),
        "no sound",
    ),
    "a shape too large": (
        zipped([("a.npy", member(FLOATS, shape=(2**40,)))]),
        "but has 152",
    ),
    "a shape too small": (zipped([("a.npy", member(FLOATS, shape=(5,)))]), "but has 152"),
    "a negative shape": (zipped([("a.npy", member(FLOATS, shape=(-2, -3)))]), "but has 152"),
    "a bomb": (zipped([("a.npy", member(ZEROS))]), "would become"),
    "many small bombs": (
        zipped([(f"{i}.npy", member(ZEROS[: 2**20])) for i in range(40)]),
        "become",
    ),
    "a path up": (zipped([("../a.npy", member(FLOATS))]), r"the name \.\./a\.npy"),
    "an absolute path": (zipped([("/etc/a.npy", member(FLOATS))]), "the name /etc/a.npy"),
    "a symbolic link": (zipped([(link("a.npy"), b"/etc/passwd")]), "a.npy is a link"),
    "two in one place": (overlapping(member(FLOATS)), "b.npy is in another one's place"),
    "too many members": (zipped([(f"{i}.npy", b"") for i in range(10_001)]), "members"),
    "encrypted": (encrypted(member(FLOATS)), "is encrypted"),
    "announced too long": (announcing(member(FLOATS), 10_000), "but has 10,000"),
    "announced too short": (announcing(member(FLOATS), 140), "CRC"),
    "cut": (zipped([("a.npy", member(FLOATS))])[:-30], "not a zip file"),
}


@pytest.mark.parametrize("case", NPZ)
def test_hostile_npz_files_are_refused(tmp_path, case):
    """Red when memory is given for what a header says and the file does not have."""
    content, message = NPZ[case]
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(WeightsError, match=message) as caught:
        read_arrays(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "a.npz" in str(caught.value)
    assert peak < 16 * 2**20


def test_damaged_numbers_are_told(tmp_path):
    """By the zip file's own checksum."""
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(1000.0))
    content = bytearray(path.read_bytes())
    content[4000] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="CRC"):
        read_arrays(path)


def tensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


SAFETENSORS = {
    "empty": b"",
    "text": b"<html>404</html>",
    "a header of exabytes": struct.pack("<Q", 2**60) + b"{}",
    "no json": tensors(b"{{{"),
    "offsets beyond the end": tensors(
        {"a": {"dtype": "F32", "shape": [2**30], "data_offsets": [0, 2**32]}}, bytes(8)
    ),
    "a shape that lies": tensors(
        {"a": {"dtype": "F32", "shape": [2**30], "data_offsets": [0, 8]}}, bytes(8)
    ),
    "an unknown type": tensors(
        {"a": {"dtype": "PICKLE", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)
    ),
    "truths": tensors({"a": {"dtype": "BOOL", "shape": [8], "data_offsets": [0, 8]}}, bytes(8)),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_hostile_safetensors_files_are_refused(tmp_path, case):
    path = tmp_path / "a.safetensors"
    path.write_bytes(SAFETENSORS[case])
    with pytest.raises(WeightsError, match=r"a\.safetensors"):
        read_arrays(path)


def test_other_files_are_told(tmp_path):
    with pytest.raises(WeightsError, match=r"from \.npz and \.safetensors"):
        read_arrays(tmp_path / "a.npy")
    with pytest.raises(WeightsError, match="no such file"):
        read_arrays(tmp_path / "a.npz")
