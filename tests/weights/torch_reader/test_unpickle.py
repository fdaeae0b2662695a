"""Object arrays: read as numpy reads them, and nothing in a file is ever run."""

import io
import os
import pickle
import shlex

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from tests.weights import pickles
from tests.weights.pickles import (
    array,
    call,
    dtype,
    file,
    named,
    npy,
    number,
    numbers,
    string,
    text,
)
from tests.weights.torch_pickles import FUNCTION_SCOPED, measured
from weights import WeightsError, read_object_npy
from weights.torch_reader.pickle_machine import Call, read_pickle

LAYERS = {
    "conv1": [np.arange(24, dtype="float32").reshape(2, 3, 4), np.ones(4, "float32")],
    "fc8": [np.linspace(0, 1, 6).reshape(2, 3), np.arange(3, dtype=">i8")],
}


@pytest.fixture
def read(tmp_path):
    """Read bytes as a file; what is read must not need much more memory than it has."""

    def read_bytes(content):
        path = tmp_path / "weights.npy"
        path.write_bytes(content)
        return measured(read_object_npy, path)

    return read_bytes


def saved(value, protocol=None):
    """What numpy.save writes; with a protocol, what other versions of it wrote."""
    stream = io.BytesIO()
    np.save(stream, np.array(value, dtype=object))
    if protocol is None:
        return stream.getvalue()
    return npy(pickle.dumps(np.array(value, dtype=object), protocol=protocol))


def assert_same(found, expected):
    assert type(found) is type(expected) or isinstance(found, np.ndarray)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize("protocol", [None, 2, 3, 4])
def test_what_numpy_saves_is_read(read, protocol):
    assert_same(read(saved(LAYERS, protocol)), LAYERS)


def test_protocol_5(read):
    """As numpy pickles arrays that do not lie in one piece; others come as BYTEARRAY8: refused."""
    value = {"conv1": [np.arange(24.0).reshape(2, 12)[:, ::2], "text", 1]}
    assert_same(read(saved(value, 5)), value)


def test_what_python_2_saved_is_read(read, tmp_path):
    """The hand-made file must also be what numpy itself understands: red if it is no pickle."""
    content = pickles.python2(LAYERS)
    assert_same(read(content), LAYERS)
    own = np.load(tmp_path / "weights.npy", allow_pickle=True, encoding="latin1").item()
    for layer, parts in LAYERS.items():
        for one, other in zip(own[layer], parts, strict=True):
            np.testing.assert_array_equal(one, other)


def test_long_strings_of_python_2_are_read(read):
    """BINSTRING, not SHORT_BINSTRING, and every value of a byte: red if decoded as UTF-8."""
    layers = {"conv1": [np.arange(1024, dtype="uint8").reshape(32, 32)]}
    assert_same(read(pickles.python2(layers)), layers)


def test_other_values_and_shared_ones(read):
    shared = np.arange(3.0)
    value = [None, True, -(2**40), 1.5, "é", b"\xff", (1, [2]), {}, [], shared, [shared]]
    found = read(saved({"values": value}))["values"]
    assert_same(found, value)
    assert found[-1][0] is found[-2]


def test_columns_first(read):
    """Red if Fortran's order is forgotten: the numbers are there, in the wrong places."""
    value = {"kernel": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    found = read(saved(value, 3))
    assert_same(found, value)
    content = read(file(array(numbers([2, 3]), string(bytes(range(6))), dtype("u1", "|"))))
    assert content.tolist() == [[0, 1, 2], [3, 4, 5]]


@settings(max_examples=60, deadline=None, suppress_health_check=FUNCTION_SCOPED)
@given(
    st.dictionaries(
        st.text(max_size=5),
        st.lists(
            arrays_of.arrays(
                st.one_of(
                    arrays_of.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
                    arrays_of.integer_dtypes(endianness="?"),
                    arrays_of.unsigned_integer_dtypes(endianness="?"),
                ),
                arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
            ),
            max_size=3,
        ),
        max_size=3,
    ),
    st.sampled_from([3, 4]),
)
def test_any_arrays_are_read(read, value, protocol):
    assert_same(read(saved(value, protocol)), value)


def run(command):
    """An object whose unpickling runs a shell command."""

    class Run:
        def __reduce__(self):
            return os.system, (command,)

    return Run()


def nested(depth, opener=b"]", closer=b"a"):
    return opener * depth + closer * (depth - 1)


LAUGHS = b"]q\x00" + b"".join(b"h%c\x86q%c" % (i, i + 1) for i in range(30))
HUGE = number(2**31 - 1)
LONG_TEXT = text("x" * 10_000) + b"q\x07"
HOSTILE = {  # content of the file, given a shell command: what the message must say
    "os.system": (lambda c: file(call(named("os.system"), text(c))), "asks for os.system"),
    "posix.system by STACK_GLOBAL": (
        lambda c: file(call(pickles.stacked("posix", "system"), text(c))),
        "asks for posix.system",
    ),
    "in place of the file's array": (
        lambda c: npy(b"\x80\x02" + call(named("os.system"), text(c)) + b"."),
        "asks for os.system",
    ),
    "as an array's data": (
        lambda c: file(array(data=call(named("os.system"), text(c)))),
        "asks for os.system",
    ),
    "as an array's shape": (
        lambda c: file(array(shape=call(named("subprocess.getoutput"), text(c)))),
        "asks for subprocess.getoutput",
    ),
    "calls in calls": (
        lambda c: file(
            call(call(named("builtins.getattr"), named("os.path"), text("system")), text(c))
        ),
        "asks for builtins.getattr",
    ),
    "eval": (
        lambda c: file(call(named("builtins.eval"), text(f"__import__('os').system({c!r})"))),
        "asks for builtins.eval",
    ),
    "eval of Python 2": (
        lambda c: file(call(named("__builtin__.eval"), text(f"__import__('os').system({c!r})"))),
        "asks for __builtin__.eval",
    ),
    "another function of numpy": (
        lambda c: file(call(named("numpy.memmap"), text("canary"), text("f4"), text("w+"))),
        "asks for numpy.memmap",
    ),
    "an attribute of an admitted name": (
        lambda c: file(pickles.stacked("numpy", "ndarray.tofile")),
        "asks for numpy.ndarray.tofile",
    ),
    "a name for a terminal": (
        lambda c: file(pickles.stacked("os", "\x1b[2Jsystem")),
        r"asks for 'os\.\\x1b\[2Jsystem'",
    ),
    "another codec": (
        lambda c: file(
            array(data=call(named("_codecs.encode"), text("x" * 24), text("unicode_escape")))
        ),
        "with data of Call",
    ),
    "an admitted name, called otherwise": (
        lambda c: file(call(pickles.NDARRAY, numbers([2**30]))),
        "numpy.ndarray in place of an array",
    ),
    "an admitted name itself": (lambda c: file(pickles.NDARRAY), "numpy.ndarray in place"),
    "an array of a foreign kind": (
        lambda c: file(array(made=call(pickles.RECONSTRUCT, pickles.DTYPE, numbers([0]), b"N"))),
        "foreign kind",
    ),
    "a memo of gigabytes": (lambda c: file(b"]r\xff\xff\xff\xff"), "memo goes up to 4,294,967,295"),
    "a memo that is empty": (lambda c: file(b"h\x63"), "nothing is at 99 of its memo"),
    "a memo that is exchanged": (
        lambda c: file(
            pickles.NDARRAY
            + b"q\x00"
            + text("ndarray")
            + b"q\x00"
            + array(made=call(pickles.RECONSTRUCT, b"h\x00", numbers([0]), string(b"b")))
        ),
        "broken|foreign kind|place of one",
    ),
    "bytes that are not there": (
        lambda c: file(b"\x8e" + (2**62).to_bytes(8, "little")),
        "breaks off",
    ),
    "a bytearray that is not there": (
        lambda c: file(b"\x96" + (2**62).to_bytes(8, "little")),
        "breaks off",
    ),
    "a text that is not there": (lambda c: file(b"X\xff\xff\xff\xff"), "breaks off"),
    "a string that is not there": (lambda c: file(b"T\xff\xff\xff\x7f"), "breaks off"),
    "an integer that is not there": (lambda c: file(b"\x8b\xff\xff\xff\x7f"), "breaks off"),
    "a bytearray": (
        lambda c: file(b"\x96" + (4).to_bytes(8, "little") + b"abcd"),
        "opcode BYTEARRAY8",
    ),
    "a large array without numbers": (
        lambda c: file(
            array(made=call(pickles.RECONSTRUCT, pickles.NDARRAY, HUGE + b"\x85", string(b"b")))
        ),
        "other than numpy's arguments",
    ),
    "a shape without numbers": (lambda c: file(array(HUGE + HUGE + b"\x86")), "impossible shape"),
    "a shape that is too large to count": (
        lambda c: file(array(numbers([100] * 31 + [0]), string(b""))),
        "impossible shape",
    ),
    "a shape of negatives": (lambda c: file(array(numbers([-2, -3]))), "impossible shape"),
    "a shape of truths": (lambda c: file(array(b"\x88" + number(6) + b"\x86")), "impossible shape"),
    "a shape that is a list": (lambda c: file(array(b"]" + number(6) + b"a")), "impossible shape"),
    "too few numbers": (lambda c: file(array(numbers([2, 4]))), "32 bytes with data of 24 bytes"),
    "too many numbers": (lambda c: file(array(numbers([2, 2]))), "16 bytes with data of 24 bytes"),
    "an array of objects": (
        lambda c: file(array(data=b"](K\x01e", shape=numbers([1]), kind=dtype("O8", "|"))),
        "array of type O8",
    ),
    "an array of memory": (lambda c: file(array(kind=dtype("V4", "|"))), "array of type V4"),
    "an array of texts": (lambda c: file(array(kind=dtype("U1"))), "array of type U1"),
    "an array of dates": (lambda c: file(array(kind=dtype("M8"))), "array of type M8"),
    "a type in parts": (
        lambda c: file(array(kind=dtype(parts=b"N" + text("a") + b"\x85}"))),
        "type with parts",
    ),
    "a type of another size": (lambda c: file(array(kind=dtype(size=8))), "type with parts"),
    "a type without byte order": (
        lambda c: file(array(kind=call(pickles.DTYPE, string(b"f4"), number(0), number(1)))),
        "no byte order",
    ),
    "data that is text": (lambda c: file(array(data=text("é€" * 12))), "data is text"),
    "an unknown version": (lambda c: file(array(version=2)), "unknown version"),
    "an array without state": (
        lambda c: file(call(pickles.RECONSTRUCT, pickles.NDARRAY, numbers([0]), string(b"b"))),
        "without shape, type and data",
    ),
    "one text, encoded ten thousand times": (
        lambda c: file(
            b"]("
            + LONG_TEXT
            + b"".join(
                array(
                    numbers([10_000]),
                    call(named("_codecs.encode"), b"h\x07", text("latin1")),
                    dtype("u1", "|"),
                )
                for _ in range(200)
            )
            + b"e"
        ),
        "hold more than the file's",
    ),
    "a state for a function": (
        lambda c: file(pickles.RECONSTRUCT + b"}" + text("__name__") + text("x") + b"sb"),
        "wants a call where there is a global",
    ),
    "a state for a class": (
        lambda c: file(pickles.NDARRAY + b"N}" + text("shape") + b"Ns\x86b"),
        "wants a call where there is a global",
    ),
    "a state for a dict": (lambda c: file(b"}}b"), "wants a call where there is a dict"),
    "a call of a call": (
        lambda c: file(call(call(pickles.NDARRAY, number(0)), text(c))),
        "calls a call",
    ),
    "a call of a text": (lambda c: file(call(text("os.system"), text(c))), "calls a str"),
    "a persistent name": (lambda c: file(b"Pcanary\n"), "opcode PERSID"),
    "a persistent value": (lambda c: file(text("canary") + b"Q"), "opcode BINPERSID"),
    "an instance": (lambda c: file(b"(" + text(c) + b"ios\nsystem\n"), "opcode INST"),
    "an object": (lambda c: file(b"(" + named("os.system") + text(c) + b"o"), "asks for os.system"),
    "an admitted object": (lambda c: file(b"(" + pickles.NDARRAY + b"o"), "opcode OBJ"),
    "a new object": (lambda c: file(pickles.NDARRAY + b")\x81"), "opcode NEWOBJ"),
    "a new object with names": (lambda c: file(pickles.NDARRAY + b")}\x92"), "opcode NEWOBJ_EX"),
    "an extension": (lambda c: file(b"\x82\x01"), "opcode EXT1"),
    "a buffer from elsewhere": (lambda c: file(b"\x97"), "opcode NEXT_BUFFER"),
    "a text opcode": (lambda c: file(b"I1\n"), "opcode INT"),
    "a list in itself": (lambda c: file(b"]q\x00h\x00a"), "holds itself"),
    "lists in lists in lists": (lambda c: file(nested(5_000)), "deeper than 32"),
    "a key that takes for ever to hash": (
        lambda c: file(b"}" + b")" + b"q\x00h\x00\x86" * 60 + b"Ns"),
        "tuple as a dict's key",
    ),
    "a value too many": (lambda c: npy(b"\x80\x02N" + pickles.objects(b"N") + b"."), "2 values"),
    "a value too few": (lambda c: npy(b"\x80\x02a."), "takes a value where there is none"),
    "a value from before the mark": (lambda c: file(b"N(\x85"), "takes a value where there"),
    "a mark that is not there": (lambda c: npy(b"\x80\x02t."), "mark where there is none"),
    "a protocol to come": (lambda c: npy(b"\x80\x06" + pickles.objects(b"N") + b"."), "protocol 6"),
    "an opcode to come": (lambda c: file(b"\xff"), "broken"),
    "two values in the file's array": (lambda c: file(b"NN"), "2 values in place of one"),
    "no array around it": (lambda c: npy(b"\x80\x02}."), "dict in place of an array"),
    "an array of numbers around it": (lambda c: npy(b"\x80\x02" + array() + b"."), "one object"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_and_not_run(read, tmp_path, case):
    """Red when any of it is run, imported, or given memory that the file itself does not take."""
    canary = tmp_path / "canary"
    make, message = HOSTILE[case]
    with pytest.raises(WeightsError, match=message) as caught:
        read(make(f"touch {shlex.quote(str(canary))}"))
    assert "weights.npy is refused: " in str(caught.value)
    assert str(caught.value).isprintable()
    assert not canary.exists()
    assert not os.path.exists("canary")


@pytest.mark.parametrize("protocol", range(6))
def test_python_own_hostile_pickles(read, tmp_path, protocol):
    """The canary is alive: numpy itself, let loose on the file, does run it."""
    canary = tmp_path / "canary"
    command = f"touch {shlex.quote(str(canary))}"
    value = {"conv1": [np.ones(3), run(command)]}
    with pytest.raises(WeightsError):
        read(saved(value, protocol))
    assert not canary.exists()
    np.load(tmp_path / "weights.npy", allow_pickle=True)
    assert canary.exists()


def test_millions_of_opcodes_are_refused(read, monkeypatch):
    """Red when a small file may keep the machine busy for hours."""
    defaults = read_pickle.__kwdefaults__
    assert defaults["max_opcodes"] == 250_000
    monkeypatch.setitem(defaults, "max_opcodes", 1000)
    with pytest.raises(WeightsError, match="more than 1,000 opcodes"):
        read(file(b"](" + b"}" * 1000 + b"e"))


def test_shared_lists_are_read_once(read):
    """Red, after hours, if a list is read each time it occurs: 2^30 times."""
    found = read(file(LAUGHS))
    for _ in range(30):
        assert found[0] is found[1]
        found = found[0]


def test_a_call_is_never_shown():
    """Red if a traceback or a log would print 2^30 values, for hours."""
    assert "secret" not in repr(Call("numpy.dtype", ("secret",)))


NO_FILES = {
    "empty": b"",
    "text": b"<html>404</html>",
    "a pickle alone": pickle.dumps({}),
    "numbers": b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<f4', 'shape': (3,)}".ljust(118),
    "another version": b"\x93NUMPY\x09\x00" + bytes(200),
    "a header without end": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b"{" * 5000,
    "a header that computes": npy(b"\x80\x02}.", b"{'descr': '|O', 'shape': (9**9**9,), }"),
    "an axis": npy(pickle.dumps(np.array([{}]), 2), pickles.HEADER.replace(b"()", b"(1,)")),
}


@pytest.mark.parametrize("case", NO_FILES)
def test_other_files_are_told(read, case):
    with pytest.raises(WeightsError, match=r"weights\.npy is refused"):
        read(NO_FILES[case])


def test_files_that_cannot_be_opened_are_told(tmp_path):
    with pytest.raises(WeightsError, match="No such file"):
        read_object_npy(tmp_path / "nothing.npy")
    with pytest.raises(WeightsError, match="directory"):
        read_object_npy(tmp_path)


@pytest.mark.parametrize("content", [saved(LAYERS), saved(LAYERS, 2), pickles.python2(LAYERS)])
def test_a_file_cut_anywhere_is_refused(read, content):
    for length in range(0, len(content), 7):
        with pytest.raises(WeightsError):
            read(content[:length])


@settings(max_examples=300, deadline=None, suppress_health_check=FUNCTION_SCOPED)
@given(
    st.sampled_from([saved(LAYERS), saved(LAYERS, 2), pickles.python2(LAYERS)]),
    st.lists(
        st.tuples(st.integers(0, 2**16), st.binary(max_size=9), st.integers(0, 9)), max_size=3
    ),
)
def test_a_damaged_file_is_read_or_refused(read, content, changes):
    """Never another exception, never anything but plain data; unchanged, it is what it was."""
    damaged = content
    for position, insert, cut in changes:
        position %= len(damaged) + 1
        damaged = damaged[:position] + insert + damaged[position + cut :]
    try:
        found = read(damaged)
    except WeightsError:
        assert damaged != content
        return
    if damaged == content:
        assert_same(found, LAYERS)
    assert_plain(found)


def assert_plain(value):
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            assert_plain(item)
    elif isinstance(value, np.ndarray):
        assert value.dtype.kind in "fiu"
    else:
        assert value is None or type(value) in (bool, int, float, str, bytes)
