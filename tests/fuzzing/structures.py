"""Damage to the meaning of a file: other values, names and members in a valid format."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np

from tests.fuzzing.mutations import OF_BYTES

_ODD_CELLS = (
    *("", " ", "nan", "inf", "-inf", "-1", "0", "1e999", "9" * 400, "1_000", "0x10", "\u0661"),
    *("\0", '"', "'", "a,b", "two\nlines", "\ufeff", "\u202e", "é" * 300, "=1+1", "../..", "true"),
    *("None", "-0.0", "1e-320", "00:61:00", "1:2:3:4", "2.5", "99999999999999999999"),
)
_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 0.5, 1e308, float("nan")),
    *(float("inf"), "", "x", "\0", "é", "../../x", [], {}, [1], {"a": 1}, [[]], ["x", None]),
)


def damaged(random: Random, name: str, content: bytes) -> tuple[str, bytes]:
    """Damage a file by its kind or among its bytes. Returns the mutation's name and the content."""
    kinds = _KINDS.get(Path(name).suffix, ())
    if zip_members in kinds and not zipfile.is_zipfile(io.BytesIO(content)):
        kinds = ()
    if kinds and random.random() < 0.7:
        kind = random.choice(kinds)
        return kind.__name__.strip("_"), kind(random, content)
    mutation = random.choice(OF_BYTES)
    return mutation.__name__, mutation(random, content, content[::-1])


def json_values(random: Random, content: bytes) -> bytes:
    """Replace, remove or add one value of a JSON file."""
    root = [json.loads(content)]
    holder: Any = root
    while (inner := _holders(holder)) and (random.random() < 0.7 or holder is root):
        holder = random.choice(inner)
    keys = list(holder) if isinstance(holder, dict) else range(len(holder))
    key = random.choice(keys) if keys else None
    action = random.choice(["replace", "replace", "replace", "remove", "add"])
    if action == "add" and isinstance(holder, dict):
        holder[random.choice(["", "x", "é", "__class__"])] = random.choice(_ODD_VALUES)
    elif action == "add":
        holder.append(random.choice(_ODD_VALUES))
    elif key is not None and action == "remove" and holder is not root:
        del holder[key]
    elif key is not None:
        holder[key] = random.choice(_ODD_VALUES)
    return json.dumps(root[0], indent=1).encode() if root else b""


def csv_cells(random: Random, content: bytes) -> bytes:
    """Write something odd into one cell of a table."""
    rows, dialect = _table(content)
    row = random.choice(rows)
    row[random.randrange(len(row))] = random.choice(_ODD_CELLS)
    return _text(rows, dialect)


def csv_rows(random: Random, content: bytes) -> bytes:
    """Remove or repeat a row, or make it longer or shorter."""
    rows, dialect = _table(content)
    place = random.randrange(len(rows))
    action = random.choice(["remove", "repeat", "longer", "shorter", "only"])
    if action == "remove":
        del rows[place]
    elif action == "repeat":
        rows.insert(random.randrange(len(rows) + 1), rows[place])
    elif action == "longer":
        rows[place].append(random.choice(_ODD_CELLS))
    elif action == "shorter":
        rows[place].pop()
    else:
        rows = rows[:1]
    return _text(rows, dialect)


def csv_columns(random: Random, content: bytes) -> bytes:
    """Swap two columns, and remove or repeat one."""
    rows, dialect = _table(content)
    first, second = (random.randrange(min(map(len, rows))) for _ in range(2))
    for row in rows:
        row[first], row[second] = row[second], row[first]
    if random.random() < 0.5:
        rows = [row[:first] + row[first + 1 :] for row in rows]
    elif random.random() < 0.5:
        rows = [[*row, row[first]] for row in rows]
    return _text(rows, dialect)


def encodings(random: Random, content: bytes) -> bytes:
    """Encode text in another way, or change the ends of its lines."""
    text = content.decode("utf-8", errors="replace")
    encode: Callable[[], bytes] = random.choice(
        [
            lambda: text.encode("utf-16"),
            lambda: text.encode("latin-1", errors="replace") + b"\xe9",
            lambda: text.encode("utf-8-sig"),
            lambda: text.replace("\n", "\r\n").encode(),
            lambda: text.replace("\n", "\r").encode(),
            lambda: text.rstrip("\n").encode(),
            lambda: text.replace(",", ";").encode(),
        ]
    )
    return encode()


def zip_members(random: Random, content: bytes) -> bytes:
    """Damage a member of a valid archive by its own kind, remove, rename, repeat or swap it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    place = random.randrange(len(members))
    name, inner = members[place]
    action = random.choice(["damage", "damage", "damage", "remove", "rename", "repeat", "swap"])
    if action == "damage":
        members[place] = name, damaged(random, name, inner)[1]
    elif action == "remove":
        del members[place]
    elif action == "rename":
        members[place] = random.choice(["x", f"../{name}", f"/{name}", name.upper()]), inner
    elif action == "repeat":
        members.append((name, damaged(random, name, inner)[1]))
    else:
        members[place] = name, random.choice(members)[1]
    return _zipped(members)


def tar_members(random: Random, content: bytes) -> bytes:
    """Damage a member of a valid archive by its own kind, or make it lead elsewhere."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = [(one, archive.extractfile(one).read()) for one in archive]  # type: ignore[union-attr]
    place = random.randrange(len(members))
    member, inner = members[place]
    action = random.choice(["damage", "damage", "remove", "rename", "repeat", "link", "size"])
    if action == "damage":
        members[place] = member, damaged(random, member.name, inner)[1]
    elif action == "remove":
        del members[place]
    elif action == "rename":
        odd = ["x", f"../../{member.name}", f"/{member.name}", "a/../b.mp4", "x" * 300 + ".mp4"]
        member.name = random.choice(odd)
    elif action == "repeat":
        members.append((member, inner))
    elif action == "link":
        member.type = random.choice([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
        member.linkname = random.choice(["/etc/passwd", "../..", members[0][0].name])
        members[place] = member, b""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for one, held in members:
            one.size = len(held)
            archive.addfile(one, io.BytesIO(held))
    changed = bytearray(buffer.getvalue())
    if action == "size":  # of the first member, with a checksum that is right
        claimed = tarfile.TarInfo(members[0][0].name)
        claimed.size = random.choice([2**20, 2**40, 2**62])
        changed[: tarfile.BLOCKSIZE] = claimed.tobuf(tarfile.GNU_FORMAT)[: tarfile.BLOCKSIZE]
    return bytes(changed)


def hdf5_values(random: Random, content: bytes) -> bytes:
    """Change or remove a data set or an attribute of an HDF5 file."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        holder = file[random.choice(["/", *names])]
        if len(holder.attrs) and random.random() < 0.5:
            _other_attribute(random, holder)
        elif isinstance(holder, h5py.Dataset) and holder.dtype.names and random.random() < 0.7:
            _other_field(random, holder)
        elif holder.name != "/":
            _other_object(random, file, holder.name)
    return buffer.getvalue()


def _other_attribute(random: Random, holder: Any) -> None:
    key = random.choice(list(holder.attrs))
    if random.random() < 0.3:
        del holder.attrs[key]
    else:
        holder.attrs[key] = random.choice(
            ["x", "none", "zstd", -1, 0, 2**40, 0.5, [1, 2, 3], np.float64("nan"), b"\xff"]
        )


def _other_field(random: Random, table: Any) -> None:
    """Change one cell of a table."""
    rows = table[()]
    name = random.choice(rows.dtype.names)
    if not len(rows):
        return
    odd_numbers = [-1, 0, 1, 3, 2**31, 2**62]
    odd_texts = [b"", b"x", b"\xff\xfe", b"../x", rows[name][0]]
    odd = odd_texts if rows.dtype[name].kind == "O" else odd_numbers
    rows[name][random.randrange(len(rows))] = random.choice(odd)
    table[...] = rows


def _other_object(random: Random, file: Any, name: str) -> None:
    before = file[name]
    kind = random.choice(["remove", "zeros", "float", "flat", "empty", "text", "group", "huge"])
    shape = getattr(before, "shape", (2,))
    del file[name]
    if kind == "zeros":
        file[name] = np.zeros(shape, "u1")
    elif kind == "float":
        file[name] = np.full(shape, 0.5)
    elif kind == "flat":
        file[name] = np.zeros(7, np.uint8)
    elif kind == "empty":
        file[name] = h5py.Empty("u1")
    elif kind == "text":
        file[name] = "x"
    elif kind == "group":
        file.create_group(name)
    elif kind == "huge":
        file.create_dataset(name, (2**20, 2**10, 2**10, 3), "u1", chunks=(1, 64, 64, 3))


def _holders(value: Any) -> list[Any]:
    """Dicts and lists directly inside a dict or list."""
    inner = value.values() if isinstance(value, dict) else value
    return [one for one in inner if isinstance(one, dict | list)]


def _table(content: bytes) -> tuple[list[list[str]], str]:
    """Parse a table. Returns its rows and the delimiter of its cells."""
    text = content.decode()
    delimiter = "," if "," in text.splitlines()[0].replace(", ", "") else " "
    return [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row], delimiter


def _text(rows: list[list[str]], delimiter: str) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _zipped(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, inner in members:
            archive.writestr(name, inner)
    return buffer.getvalue()


_JSON, _CSV = (json_values, json_values, encodings), (csv_cells, csv_rows, csv_columns, encodings)
_KINDS: dict[str, tuple[Callable[[Random, bytes], bytes], ...]] = {
    ".json": _JSON,
    ".csv": _CSV,
    ".txt": _CSV,
    ".h5": (hdf5_values,),
    ".tar": (tar_members,),
    **dict.fromkeys((".npz", ".keras", ".pth", ".bin", ".pyth"), (zip_members,)),
}
