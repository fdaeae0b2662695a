"""Pickles put together opcode by opcode, as Python 2 or somebody with bad intent would."""

import struct

import numpy as np

HEADER = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
NDARRAY = b"cnumpy\nndarray\n"
DTYPE = b"cnumpy\ndtype\n"
EMPTY_TUPLE = b")"


def npy(pickled, header=HEADER):
    """Put a pickle behind NumPy's header."""
    header = header.ljust(117) + b"\n"  # 128 with what comes before
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pickled


def text(value):
    """Opcode BINUNICODE: a text."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def string(value):
    """Opcode SHORT_BINSTRING or BINSTRING: Python 2's str."""
    if len(value) < 256:
        return b"U" + bytes([len(value)]) + value
    return b"T" + struct.pack("<i", len(value)) + value


def number(value):
    """Opcode BININT: an integer of 4 bytes."""
    return b"J" + struct.pack("<i", value)


def numbers(values):
    """Opcodes of a tuple of integers."""
    return b"(" + b"".join(map(number, values)) + b"t"


def named(name):
    """Opcode GLOBAL: a function or class by its name."""
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def stacked(module, name):
    """Opcode STACK_GLOBAL: a function or class whose name is on the stack."""
    return text(module) + text(name) + b"\x93"


def call(function, *arguments):
    """Opcode REDUCE: a call."""
    return function + b"(" + b"".join(arguments) + b"tR"


def dtype(code="f4", order="<", parts=b"NNN", size=-1):
    flags = number(63 if code.startswith("O") else 0)  # of numpy's: such values are objects
    state = number(3) + string(order.encode()) + parts + number(size) + number(-1) + flags
    return call(DTYPE, string(code.encode()), number(0), number(1)) + b"(" + state + b"tb"


def array(shape=None, data=None, kind=None, *, version=1, made=None):
    """Opcodes of an array as in Python 2's NumPy; by default float32 zeros of shape (2, 3)."""
    made = made or call(RECONSTRUCT, NDARRAY, numbers([0]), string(b"b"))
    shape = numbers([2, 3]) if shape is None else shape
    data = string(bytes(24)) if data is None else data
    columns_first = b"\x89"  # NEWFALSE
    return made + b"(" + number(version) + shape + (kind or dtype()) + columns_first + data + b"tb"


def objects(content, kind=None, shape=EMPTY_TUPLE):
    """Opcodes of the 0-d object array around a file's content."""
    return array(shape, b"](" + content + b"e", kind or dtype("O8", "|"))


def file(content):
    """Make a whole file around the pickle of its content."""
    return npy(b"\x80\x02" + objects(content) + b".")


def python2(layers):
    """Make a file as Python 2's numpy.save wrote {layer: [kernel, bias]}."""
    pairs = b""
    for layer, arrays in layers.items():
        parts = (
            array(numbers(a.shape), string(a.tobytes()), dtype(a.dtype.str[1:], a.dtype.str[0]))
            for a in map(np.ascontiguousarray, arrays)
        )
        pairs += string(layer.encode()) + b"](" + b"".join(parts) + b"e"
    return file(b"}(" + pairs + b"u")
