"""PyTorch's files put together by hand: what torch.save writes, and what it never would."""

import io
import pickle
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck

from tests.weights.pickles import call, dtype, named, text

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = {name: (GOLDEN / f"torch_{name}.pth").read_bytes() for name in ("zip", "legacy")}
FUNCTION_SCOPED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {
    "protocol_version": 1001,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}
KINDS = {
    **{"f2": "Half", "f4": "Float", "f8": "Double", "b1": "Bool", "u1": "Byte"},
    **{"i1": "Char", "i2": "Short", "i4": "Int", "i8": "Long"},
}
REBUILD = "torch._utils._rebuild_tensor"


def value(content):
    """Opcodes of plain data; bytes are opcodes already."""
    match content:
        case bytes():
            return content
        case None:
            return b"N"
        case bool():
            return b"\x88" if content else b"\x89"
        case int():
            encoded = pickle.encode_long(content)
            return b"\x8a" + bytes([len(encoded)]) + encoded
        case float():
            return b"G" + struct.pack(">d", content)
        case str():
            return text(content)
        case list():
            return b"](" + b"".join(map(value, content)) + b"e"
        case tuple():
            return b"(" + b"".join(map(value, content)) + b"t"
        case dict():
            return b"}(" + pairs(content) + b"u"


def pairs(items):
    return b"".join(value(key) + value(item) for key, item in items.items())


def ordered(items, state=None):
    """Opcodes of an OrderedDict, as torch's state dicts are."""
    made = call(named("collections.OrderedDict")) + b"(" + pairs(items) + b"u"
    return made if state is None else made + value(state) + b"b"


def storage(kind, key, num_items, *, name="storage", legacy=False):
    """Opcodes of a storage's persistent id; its type is Float, Long, ... or a whole name."""
    kind = named(kind if "." in kind else f"torch.{kind}Storage")
    parts = (name, kind, key, "cpu", num_items)
    return value((*parts, None) if legacy else parts) + b"Q"


def tensor(stored, offset, shape, strides, *, version="_v2", rest=None):
    """Opcodes that build a tensor; strides and the offset are in items."""
    if rest is None:
        rest = [False, ordered({})] if version else []
    parts = (stored, offset, shape, strides, *rest)
    return call(named(REBUILD + version), *map(value, parts))


def tensor_of(array, key, *, legacy=False, version="_v2"):
    """Opcodes that build the tensor of an array within its base, and the storage of the base."""
    base = array if array.base is None else array.base
    item = array.itemsize
    offset = (array.ctypes.data - base.ctypes.data) // item if array.size else 0
    stored = storage(KINDS[array.dtype.str[1:]], key, base.size, legacy=legacy)
    strides = tuple(step // item for step in array.strides)
    return tensor(stored, offset, array.shape, strides, version=version), base.ravel("K")


def state_dict(arrays, *, legacy=False, version="_v2"):
    """Opcodes of a state dict, and its storages by key."""
    items, storages = {}, {}
    for number, (name, array) in enumerate(arrays.items()):
        items[name], storages[str(number)] = tensor_of(
            array, str(number), legacy=legacy, version=version
        )
    return ordered(items), storages


def zip_members(pickled, storages, *, prefix="archive/", byteorder=b"little"):
    """Names and contents of the members of a torch file; storages are given as arrays."""
    members = [("data.pkl", b"\x80\x02" + value(pickled) + b"."), ("byteorder", byteorder)]
    members += [(f"data/{key}", np.asarray(array).tobytes()) for key, array in storages.items()]
    members += [("version", b"3\n")]
    return [(prefix + name, content) for name, content in members]


def zipped(members, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the same name twice
        for name, content in members:
            info = zipfile.ZipInfo(name) if isinstance(name, str) else name
            archive.writestr(info, content, compression)
    return stream.getvalue()


def zip_file(pickled, storages=None, **options):
    """Make a file as torch has written them since 1.6."""
    return zipped(zip_members(pickled, storages or {}, **options))


def legacy_file(pickled, storages=None, *, keys=None, lengths=None, system=SYSTEM, version=1001):
    """Make a file as torch wrote them before 1.6."""
    storages = {key: np.asarray(array) for key, array in (storages or {}).items()}
    keys = sorted(storages) if keys is None else keys
    head = (pickle.dumps(part, 2) for part in (MAGIC, version, system))
    content = b"".join(head) + b"\x80\x02" + value(pickled) + b"." + pickle.dumps(keys, 2)
    for key in sorted(storages):
        length = (lengths or {}).get(key, storages[key].size)
        content += struct.pack("<q", length) + storages[key].tobytes()
    return content


MAKERS = {"zip": zip_file, "legacy": legacy_file}
WEIGHT = np.arange(6, dtype="f4")
STORED = storage("Float", "0", 6)
TENSOR = tensor(STORED, 0, (2, 3), (3, 1))


def parameter(tensor, state=None):
    made = call(named("torch.nn.parameter.Parameter"), tensor)
    return made if state is None else made + value(state) + b"b"


def numpy_scalar(data, code="f8", *, module="numpy.core.multiarray"):
    data = call(named("_codecs.encode"), text(data.decode("latin-1")), text("latin1"))
    return call(named(f"{module}.scalar"), dtype(code), data)


def measured(reader, path):
    """Let a reader read a file, and check that it needs little more memory than the file has."""
    tracemalloc.start()
    try:
        return reader(path)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 32 * 2**20 + 8 * path.stat().st_size


def assert_same(found, expected):
    """Check that arrays have the same names, order, types and values."""
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name, strict=True)
