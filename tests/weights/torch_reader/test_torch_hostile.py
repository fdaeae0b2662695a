"""PyTorch's files made by somebody with bad intent: refused, and nothing in them is ever run."""

import io
import os
import pickle
import shlex
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.weights import pickles
from tests.weights.pickles import call, named, stacked, string, text
from tests.weights.torch_pickles import (
    FILES,
    FUNCTION_SCOPED,
    MAKERS,
    STORED,
    TENSOR,
    WEIGHT,
    assert_same,
    legacy_file,
    numpy_scalar,
    ordered,
    parameter,
    state_dict,
    storage,
    tensor,
    value,
    zip_file,
    zip_members,
    zipped,
)
from weights import WeightsError, read_torch_file
from weights.torch_reader.torch_values import Values

MEGABYTE = 2**20


def deep(depth):
    return b"]" * depth + b"a" * (depth - 1)


def weight(offset=0, shape=(2, 3), strides=(3, 1), stored=STORED, **options):
    return {"w": tensor(stored, offset, shape, strides, **options)}


def persistent(*parts):
    return value(parts) + b"Q"


FLOATS = named("torch.FloatStorage")
SIZE = named("torch.Size")
ORDERED = named("collections.OrderedDict")
HOSTILE = {  # the pickled value, given a shell command: what the message must say
    "os.system": (lambda c: call(named("os.system"), text(c)), "asks for os.system"),
    "posix.system by STACK_GLOBAL": (
        lambda c: call(stacked("posix", "system"), text(c)),
        "asks for posix.system",
    ),
    "eval": (
        lambda c: call(named("builtins.eval"), text(f"__import__('os').system({c!r})")),
        "asks for builtins.eval",
    ),
    "eval of Python 2": (
        lambda c: call(named("__builtin__.eval"), text(f"__import__('os').system({c!r})")),
        "asks for __builtin__.eval",
    ),
    "in an optimizer that nobody reads": (
        lambda c: {"model": weight(), "optimizer": call(named("os.system"), text(c))},
        "asks for os.system",
    ),
    "as a tensor's storage": (
        lambda c: weight(stored=call(named("os.system"), text(c))),
        "asks for os.system",
    ),
    "in a persistent id": (
        lambda c: persistent("storage", call(named("os.system"), text(c)), "0", "cpu", 6),
        "asks for os.system",
    ),
    "as a state": (
        lambda c: ordered({}, call(named("os.system"), text(c))),
        "asks for os.system",
    ),
    "a pickle in the pickle, for torch": (
        lambda c: call(named("torch.storage._load_from_bytes"), string(b"\x80\x02N.")),
        "asks for torch.storage._load_from_bytes",
    ),
    "torch.load": (lambda c: call(named("torch.load"), text("b.pth")), "asks for torch.load"),
    "torch.hub": (lambda c: call(named("torch.hub.load"), text("a/b")), "asks for torch.hub.load"),
    "numpy.load": (lambda c: call(named("numpy.load"), text("b.npy")), "asks for numpy.load"),
    "a name in an admitted one": (
        lambda c: stacked("torch", "FloatStorage.from_file"),
        "asks for torch.FloatStorage.from_file",
    ),
    "an attribute of torch's own": (
        lambda c: stacked("torch._utils", "sys.modules"),
        r"asks for torch\._utils\.sys\.modules",
    ),
    "the arguments of a training": (
        lambda c: {"model": weight(), "args": call(named("argparse.Namespace"))},
        r"asks for argparse\.Namespace\. .*save the state dict alone",
    ),
    "a whole model": (
        lambda c: persistent("module", named("torch.nn.modules.linear.Linear"), "a.py", c),
        "asks for torch.nn.modules.linear.Linear",
    ),
    "calls in calls": (
        lambda c: call(call(named("builtins.getattr"), named("os.path"), text("system")), text(c)),
        "asks for builtins.getattr",
    ),
    "a call of a call": (lambda c: call(call(ORDERED), text(c)), "calls a call"),
    "a call of a storage": (lambda c: call(STORED, text(c)), "calls a storage"),
    "a call of a text": (lambda c: call(text("os.system"), text(c)), "calls a str"),
    "a memo that is exchanged": (
        lambda c: [ORDERED + b"q\x00", text("os.system") + b"q\x00", call(b"h\x00", text(c))],
        "calls a str",
    ),
    "a memo of gigabytes": (lambda c: b"]r\xff\xff\xff\xff", "memo goes up to 4,294,967,295"),
    "an admitted name itself": (lambda c: SIZE, "torch.Size in place of an array"),
    "an admitted name, called otherwise": (
        lambda c: call(FLOATS, value(2**40)),
        "calls torch.FloatStorage otherwise",
    ),
    "an OrderedDict of a call": (
        lambda c: call(ORDERED, call(SIZE, value((1,)))),
        "other than a dict's items",
    ),
    "an OrderedDict of numbers": (
        lambda c: call(ORDERED, value([1, 2])),
        "other than keys and values",
    ),
    "an OrderedDict of pairs of tuples": (
        lambda c: call(ORDERED, value([[(1,), 2]])),
        "other than keys and values",
    ),
    "a device of lists": (lambda c: call(named("torch.device"), b"]"), "otherwise than torch"),
    "a state for a name": (
        lambda c: SIZE + value({"__reduce__": c}) + b"b",
        "wants a call where there is a global",
    ),
    "a state for a dict": (lambda c: b"}}b", "wants a call where there is a dict"),
    "a state for a storage": (lambda c: STORED + b"}b", "wants a call where there is a storage"),
    "a state for a tensor": (
        lambda c: {"w": TENSOR + value((STORED, 0, (6,), (1,))) + b"b"},
        "gives a state to what torch._utils._rebuild_tensor_v2 makes",
    ),
    "a state with other data for a parameter": (
        lambda c: {"w": parameter(TENSOR, (STORED, 0, (6,), (1,)))},
        "parameter that is none",
    ),
    "a parameter of a text": (lambda c: {"w": parameter(text(c))}, "parameter that is none"),
    "a parameter of a shape": (
        lambda c: {"w": parameter(call(SIZE, value((1,))))},
        "parameter that is none",
    ),
    "items for a shape": (
        lambda c: call(SIZE, value((1,))) + text("a") + b"Ns",
        "wants a dict where there is a call",
    ),
    "items for a storage": (lambda c: STORED + text("a") + b"Ns", "wants a dict where there"),
    "a key that takes for ever to hash": (
        lambda c: ORDERED + b")R)" + b"q\x00h\x00\x86" * 60 + b"Ns",
        "tuple as a dict's key",
    ),
    "a list in itself": (lambda c: b"]q\x00h\x00a", "holds itself"),
    "a dict in itself": (
        lambda c: call(ORDERED) + b"q\x00" + text("a") + b"h\x00s",
        "holds itself",
    ),
    "lists in lists in lists": (lambda c: deep(5_000), "deeper than 32"),
    "a persistent name": (lambda c: b"Pcanary\n", "opcode PERSID"),
    "a persistent text": (lambda c: text("storage") + b"Q", "persistent id"),
    "a persistent word": (lambda c: persistent("storage"), "persistent id"),
    "a persistent thing": (lambda c: persistent("tensor", FLOATS, "0", "cpu", 6), "persistent id"),
    "a persistent view": (
        lambda c: persistent("storage", FLOATS, "0", "cpu", 6, ("1", 0, 6)),
        "persistent id",
    ),
    "a storage of a text's type": (
        lambda c: persistent("storage", "torch.FloatStorage", "0", "cpu", 6),
        "storage of type str",
    ),
    "a storage of an admitted type": (
        lambda c: persistent("storage", SIZE, "0", "cpu", 6),
        "storage of type torch.Size",
    ),
    "a storage of complex numbers": (
        lambda c: storage("ComplexFloat", "0", 6),
        "asks for torch.ComplexFloatStorage",
    ),
    "a storage on a path": (lambda c: storage("Float", "../data.pkl", 6), r"number: \.\./data"),
    "a storage on an absolute path": (lambda c: storage("Float", "/etc/passwd", 6), "no number"),
    "a storage without key": (lambda c: storage("Float", "", 6), "no number"),
    "a storage by another alphabet": (lambda c: storage("Float", "\u0660", 6), "no number"),
    "a storage by a number": (lambda c: storage("Float", 0, 6), "no number: int"),
    "a storage that is not there": (lambda c: storage("Float", "7", 6), "7 is missing|not those"),
    "a storage of terabytes": (lambda c: storage("Float", "0", 2**40), "is to have|asks for 1,099"),
    "a storage of too few": (lambda c: storage("Float", "0", 5), "is to have|asks for 5"),
    "a storage of exabytes": (lambda c: storage("Float", "0", 2**70), "impossible length"),
    "a storage of less than none": (lambda c: storage("Float", "0", -6), "impossible length"),
    "a storage of a truth": (lambda c: storage("Float", "0", True), "impossible length"),
    "a storage of two types": (lambda c: [STORED, storage("Long", "0", 3)], "0 in two ways"),
    "a tensor behind its storage": (lambda c: weight(1), "goes beyond"),
    "a tensor longer than its storage": (lambda c: weight(shape=(3, 3)), "goes beyond"),
    "a tensor that steps too far": (lambda c: weight(strides=(4, 1)), "goes beyond"),
    "a tensor that steps to the stars": (lambda c: weight(strides=(2**62, 2**62)), "goes beyond"),
    "an empty tensor far away": (lambda c: weight(7, shape=(0, 3)), "goes beyond"),
    "a tensor before its storage": (lambda c: weight(-1), "impossible shape"),
    "a tensor that starts at a text": (lambda c: weight("0"), "impossible shape"),
    "a tensor that steps back": (lambda c: weight(5, strides=(-3, -1)), "impossible shape"),
    "a tensor of less than none": (lambda c: weight(shape=(-2, -3)), "impossible shape"),
    "a tensor of truths": (lambda c: weight(shape=(True, 3)), "impossible shape"),
    "a tensor of a list": (lambda c: weight(shape=[2, 3]), "impossible shape"),
    "a tensor of too few strides": (lambda c: weight(strides=(3,)), "impossible shape"),
    "a tensor of 33 axes": (
        lambda c: weight(shape=(1,) * 33, strides=(1,) * 33),
        "impossible shape",
    ),
    "a tensor of one number, a trillion times": (
        lambda c: weight(shape=(2**20, 2**20), strides=(0, 0)),
        "more than 20 times its own size",
    ),
    "a thousand tensors of one storage": (
        lambda c: [tensor(STORED, 0, (6, 1000), (1, 0)) for _ in range(1000)],
        "more than 20 times its own size",
    ),
    "an empty tensor that is too large": (
        lambda c: weight(shape=(2**62, 2**62, 0), strides=(1, 1, 1)),
        "impossible shape",
    ),
    "a shape too long to print": (
        lambda c: weight(shape=(2**62,) * 32, strides=(1,) * 32),
        "more than 20 times",
    ),
    "a tensor without storage": (lambda c: weight(stored=value([1.5])), "without storage"),
    "a tensor without arguments": (
        lambda c: {"w": call(named("torch._utils._rebuild_tensor_v2"))},
        "other than torch's arguments",
    ),
    "a tensor whose signs are turned": (
        lambda c: weight(rest=[False, ordered({}), {"neg": True}]),
        "other than torch's arguments",
    ),
    "a tensor of another type than its storage": (
        lambda c: weight(version="_v3", rest=[False, ordered({}), named("torch.uint16")]),
        "tensor of type torch.uint16",
    ),
    "a tensor of small floats": (
        lambda c: weight(version="_v3", rest=[False, ordered({}), named("torch.float8_e5m2")]),
        "asks for torch.float8_e5m2",
    ),
    "a quantized tensor": (
        lambda c: {"w": call(named("torch._utils._rebuild_qtensor"), STORED)},
        "asks for torch._utils._rebuild_qtensor",
    ),
    "a number of objects": (lambda c: numpy_scalar(bytes(8), "O8"), "array of type O8"),
    "a number of too few bytes": (lambda c: numpy_scalar(bytes(7)), "with data of 7 bytes"),
    "a number without type": (
        lambda c: call(named("numpy.core.multiarray.scalar"), text("f8")),
        "otherwise than torch",
    ),
    "an array of more than the file": (
        lambda c: pickles.array(pickles.numbers([1000, 1000])),
        "impossible shape|hold more than the file's",
    ),
    "a text that is not there": (lambda c: b"X\xff\xff\xff\x7f", "breaks off"),
    "bytes that are not there": (lambda c: b"\x8e" + (2**62).to_bytes(8, "little"), "breaks off"),
    "an instance": (lambda c: b"(" + text(c) + b"ios\nsystem\n", "opcode INST"),
    "a new object": (lambda c: SIZE + b")\x81", "opcode NEWOBJ"),
    "an extension": (lambda c: b"\x82\x01", "opcode EXT1"),
    "a bytearray": (lambda c: b"\x96" + bytes(8), "opcode BYTEARRAY8"),
    "a value too few": (lambda c: b"a", "takes a value where there is none"),
    "a value too many": (lambda c: b"NN", "ends with 2 values"),
}


@pytest.mark.parametrize("file", MAKERS)
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_and_not_run(read, tmp_path, case, file):
    """Red when any of it is run, imported, or given memory that the file itself does not take."""
    canary = tmp_path / "canary"
    make, message = HOSTILE[case]
    pickled = value(make(f"touch {shlex.quote(str(canary))}"))
    storages = {"0": WEIGHT} if b"tQ" in pickled else {}
    with pytest.raises(WeightsError, match=message) as caught:
        read(MAKERS[file](pickled, storages))
    assert "a.pth is refused: " in str(caught.value)
    assert "torch.save(model.state_dict(), FILE)" in str(caught.value)
    assert str(caught.value).isprintable()
    assert not canary.exists()
    assert not os.path.exists("canary")


def run(command):
    """An object whose unpickling runs a shell command."""

    class Run:
        def __reduce__(self):
            return os.system, (command,)

    return Run()


@pytest.mark.parametrize("protocol", range(6))
def test_python_own_hostile_pickles(read, tmp_path, protocol):
    """The canary is alive: pickle itself, let loose on the member, does run it."""
    canary = tmp_path / "canary"
    member = pickle.dumps({"model": run(f"touch {shlex.quote(str(canary))}")}, protocol)
    with pytest.raises(WeightsError):
        read(zipped([("archive/data.pkl", member)]))
    assert not canary.exists()
    pickle.loads(member)
    assert canary.exists()


def test_millions_of_opcodes_are_refused(read, monkeypatch):
    monkeypatch.setattr("weights.torch_reader.torch_values.MAX_OPCODES", 1000)
    assert len(read(zip_file(b"](" + b"}" * 900 + b"e"))) == 900
    with pytest.raises(WeightsError, match="more than 1,000 opcodes"):
        read(zip_file(b"](" + b"}" * 1000 + b"e"))


def test_shared_lists_are_read_once(read):
    """Red, after hours, if a list is read each time it occurs: 2^30 times."""
    laughs = b"]q\x00" + b"".join(b"h%c\x86q%c" % (i, i + 1) for i in range(30))
    found = read(zip_file(laughs))
    for _ in range(30):
        assert found[0] is found[1]
        found = found[0]


def changed(content, name, offset, new, signature=b"PK\x01\x02"):
    """A zip file with other bytes in a member's entry of the directory, or in its own header."""
    content = bytearray(content)
    length = {b"PK\x01\x02": 46, b"PK\x03\x04": 30}[signature]
    start = -1
    while start < 0 or content[start + length : start + length + len(name)] != name:
        start = content.index(signature, start + 1)
    content[start + offset : start + offset + len(new)] = new
    return bytes(content)


def four(number):
    return number.to_bytes(4, "little")


def far(name):
    """A member whose place, where 32 bits do not hold it, is at 2^63 or after."""
    info = zipfile.ZipInfo(name)
    info.extra = struct.pack("<HHQ", 1, 8, 2**63)
    return info, b""


MEMBERS = zip_members({"w": TENSOR}, {"0": WEIGHT})
ZIP = zipped(MEMBERS)
DATA = b"archive/data/0"
ZIPS = {
    "cut": (ZIP[:-30], "directory is broken"),
    "compressed": (zipped(MEMBERS, zipfile.ZIP_DEFLATED), "is compressed"),
    "a bomb": (
        zipped([("archive/data.pkl", bytes(40 * MEGABYTE))], zipfile.ZIP_DEFLATED),
        "is compressed",
    ),
    "compressed by another way": (changed(ZIP, DATA, 10, b"\x63\x00"), "is compressed"),
    "encrypted": (changed(ZIP, DATA, 8, b"\x01"), "is encrypted"),
    "two of a name": (zipped([*MEMBERS, MEMBERS[0]]), "are named archive/data.pkl"),
    "two of a storage's name": (zipped([*MEMBERS, MEMBERS[2]]), "are named archive/data/0"),
    "two pickles": (zipped([*MEMBERS, ("b/data.pkl", MEMBERS[0][1])]), "2 members data.pkl"),
    "no pickle": (zipped(MEMBERS[1:]), "0 members data.pkl"),
    "a file of torch in a zip file": (zipped([("a.pth", ZIP)]), "0 members data.pkl"),
    "a program": (zipped([*MEMBERS, ("archive/constants.pkl", b"")]), "TorchScript"),
    "a path up": (zipped([*MEMBERS, ("archive/../../a", b"")]), r"the name archive/\.\./"),
    "an absolute path": (zipped([*MEMBERS, ("/etc/passwd", b"")]), "the name /etc/passwd"),
    "a path of Windows": (zipped([*MEMBERS, ("..\\a", b"")]), "the name"),
    "a name for a terminal": (zipped([*MEMBERS, ("\x1b[2J", b"")]), r"the name '\\x1b"),
    "big-endian": (zip_file({"w": TENSOR}, {"0": WEIGHT}, byteorder=b"big"), "not little-endian"),
    "of another order": (zip_file({"w": TENSOR}, {"0": WEIGHT}, byteorder=b"\x1b"), "not little"),
    "too short a storage": (zip_file({"w": TENSOR}, {"0": WEIGHT[1:]}), "24 bytes, but has 20"),
    "too long a storage": (zip_file({"w": TENSOR}, {"0": np.arange(7.0)}), "24 bytes, but has 56"),
    "a damaged storage": (ZIP.replace(WEIGHT.tobytes(), bytes(24)), "checksum"),
    "a damaged pickle": (ZIP.replace(b"cpu", b"gpu"), "checksum"),
    "a storage in another one's place": (changed(ZIP, DATA, 42, four(0)), "in another one's place"),
    "a storage outside": (changed(ZIP, DATA, 42, four(2**31)), "in another one's place"),
    "a storage in the middle": (changed(ZIP, DATA, 42, four(5)), "in another one's place"),
    "a storage between the others": (changed(ZIP, DATA, 42, four(ZIP.index(DATA))), "is not where"),
    "a storage beyond all numbers": (
        changed(zipped([far("a"), *MEMBERS]), b"a", 42, b"\xff" * 4),
        "a is in another one's place",
    ),
    "a directory that starts before the file": (
        ZIP[:-10] + four(2**20) + ZIP[-6:],
        "directory is broken",
    ),
    "a storage that starts before the file": (
        ZIP[:-6] + four(2**20) + ZIP[-2:],
        "in another one's place|directory is broken",
    ),
    "a name that is no text": (
        changed(changed(ZIP, DATA, 9, b"\x08"), DATA, 46, b"\xff"),
        "directory is broken",
    ),
    "of another name in its place": (
        changed(ZIP, DATA, 30, b"archive/data/1", b"PK\x03\x04"),
        "another name in its place",
    ),
    "a member over the others": (
        changed(changed(ZIP, DATA, 20, four(200)), DATA, 24, four(200)),
        "in another one's place",
    ),
    "a member over the directory": (
        changed(changed(ZIP, b"archive/version", 20, four(60)), b"archive/version", 24, four(60)),
        "beyond its place",
    ),
    "a storage of gigabytes": (
        changed(changed(ZIP, DATA, 20, four(2**31)), DATA, 24, four(2**31)),
        "in another one's place",
    ),
    "of two lengths": (changed(ZIP, DATA, 24, four(2**31)), "is compressed"),
    "of a version to come": (changed(ZIP, DATA, 6, b"\xff"), "directory is broken"),
}


@pytest.mark.parametrize("case", ZIPS)
def test_hostile_zip_files_are_refused(read, case):
    """Red when a member is looked for, or read, where the file says and not where it may be."""
    content, message = ZIPS[case]
    with pytest.raises(WeightsError, match=message) as caught:
        read(content)
    assert str(caught.value).isprintable()


def test_a_large_zip_directory_is_refused(read, monkeypatch):
    """zipfile would read it whole, and make half a kilobyte of each fifty bytes of it."""
    monkeypatch.setattr("weights.torch_reader.zip_members.MAX_DIRECTORY", 10_000)
    assert set(read(ZIP)) == {"w"}
    with pytest.raises(WeightsError, match="directory has more than 10,000 bytes"):
        read(zipped([*MEMBERS, *((f"{i}", b"") for i in range(300))]))


def legacy(**options):
    return legacy_file({"w": TENSOR}, {"0": WEIGHT}, **options)


LEGACY = {
    "cut": (legacy()[:-1], "but its storages end at"),
    "with more behind it": (legacy() + b"\x00", "but its storages end at"),
    "of another version": (legacy(version=1002), "unknown version"),
    "of a version that is a text": (legacy(version="1001"), "unknown version"),
    "big-endian": (legacy(system={"little_endian": False}), "not little-endian"),
    "of an unknown machine": (legacy(system=[]), "not little-endian"),
    "without list": (legacy(keys={"0": 1}), "no list of its storages"),
    "with a list of numbers": (legacy(keys=[0]), "no list of its storages"),
    "with a storage too few": (legacy(keys=[]), "not those"),
    "with a storage too many": (legacy(keys=["0", "1"]), "not those"),
    "with a storage twice": (legacy(keys=["0", "0"]), "not those"),
    "with a storage of less than none": (legacy(lengths={"0": -6}), "storage of -6 numbers"),
    "with a storage of exabytes": (legacy(lengths={"0": 2**62}), "where its pickle asks for 6"),
    "with a large storage that is not there": (
        legacy_file({"w": storage("Float", "0", 2**40)}, {"0": WEIGHT}, lengths={"0": 2**40}),
        "but its storages end at",
    ),
}


@pytest.mark.parametrize("case", LEGACY)
def test_hostile_legacy_files_are_refused(read, case):
    content, message = LEGACY[case]
    with pytest.raises(WeightsError, match=message):
        read(content)


NO_FILES = {
    "empty": b"",
    "text": b"<html>404</html>",
    "a pickle": pickle.dumps({"w": [1, 2]}, 2),
    "a hostile pickle": pickle.dumps(run("touch canary"), 2),
    "a number": pickle.dumps(3, 2),
    "numbers": b"\x93NUMPY\x01\x00" + bytes(200),
    "an archive of torch 0.1": b"sys_info".ljust(512, b"\x00"),
    "a compressed file": b"\x1f\x8b\x08\x00" + bytes(200),
}


@pytest.mark.parametrize("case", NO_FILES)
def test_other_files_are_told(read, case):
    with pytest.raises(WeightsError, match=r"a\.pth is refused: it is no file of torch\.save"):
        read(NO_FILES[case])
    assert not os.path.exists("canary")


def test_files_that_cannot_be_opened_are_told(tmp_path):
    """Red if a pipe is opened: it would wait for ever."""
    os.mkfifo(tmp_path / "pipe.pth")
    for path in (tmp_path / "a.pth", tmp_path, tmp_path / "pipe.pth"):
        with pytest.raises(WeightsError, match="there is no such file"):
            read_torch_file(path)


def test_a_file_that_becomes_shorter_is_told(saved, monkeypatch):
    """Red if the numbers that are missing are whatever lay in the memory."""
    path = saved(legacy_file(*state_dict({"w": np.zeros(10**5)})))

    def cut(values, value):
        os.truncate(path, 10**5)
        return original(values, value)

    original = Values.read
    monkeypatch.setattr(Values, "read", cut)
    with pytest.raises(WeightsError, match="became shorter"):
        read_torch_file(path)


@pytest.mark.parametrize("file", FILES)
def test_a_file_cut_anywhere_is_refused(saved, file):
    for length in range(0, len(FILES[file]), 23):
        path = saved(FILES[file][:length])
        with pytest.raises(WeightsError):
            read_torch_file(path)


SMALL = ordered({"w": TENSOR, "v": parameter(TENSOR)}, {"_metadata": {}})


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_damaged_byte_of_a_zip_file_changes_no_value(saved, flip):
    """Each byte of a whole file: refused, or of no meaning. The checksums are not for nothing."""
    content = zip_file(SMALL, {"0": WEIGHT})
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= flip
        try:
            found = read_torch_file(saved(damaged))
        except WeightsError:
            continue
        weight = WEIGHT.reshape(2, 3)
        assert_same(found, {"w": weight, "v": weight})


def test_a_damaged_byte_of_a_legacy_file_is_refused_or_read_as_it_is(saved):
    """The format has no checksums: another name or number is read as such, but never run."""
    content = legacy_file(SMALL, {"0": WEIGHT})
    for position in range(len(content)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[position] ^= flip
            try:
                assert_plain(read_torch_file(saved(damaged)))
            except WeightsError:
                continue


def rezipped(content, pickled):
    """The zip file with another pickle in it, and a checksum that fits."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    return zipped([(n, pickled if n.endswith("data.pkl") else c) for n, c in members])


def assert_plain(value):
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            assert_plain(item)
    elif isinstance(value, np.ndarray):
        assert value.dtype.kind in "fiub"
    else:
        assert value is None or type(value) in (bool, int, float, str, bytes)


@settings(max_examples=300, deadline=None, suppress_health_check=FUNCTION_SCOPED)
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(
        st.tuples(st.integers(0, 2**16), st.binary(max_size=9), st.integers(0, 9)), max_size=3
    ),
)
def test_a_pickle_that_is_changed_by_intent_is_read_or_refused(read, file, changes):
    """Behind right checksums; never another exception, nor anything but plain data."""
    content = FILES[file]
    if file == "zip":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.read("torch_zip/data.pkl")
    else:
        damaged = content
    for position, insert, cut in changes:
        position %= len(damaged) + 1
        damaged = damaged[:position] + insert + damaged[position + cut :]
    try:
        found = read(rezipped(content, damaged) if file == "zip" else damaged)
    except WeightsError:
        assert changes
        return
    assert_plain(found)
