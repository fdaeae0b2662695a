"""Reading and writing of files of named arrays: `.npz`, `.safetensors`, PyTorch's checkpoints."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from common.extras import OptionalModule
from common.files import give_usual_permissions, not_written, replacing
from weights.errors import WeightsError
from weights.torch_reader.pickle_machine import shown
from weights.torch_reader.torch_files import SUFFIXES, read_state_dict
from weights.torch_reader.zip_members import Member, read_members

# Needed for one of the formats alone.
safetensors: Any = OptionalModule("safetensors")
safetensors_numpy: Any = OptionalModule("safetensors.numpy")

# Largest ratio of uncompressed to compressed size, over the whole file: weights hardly compress.
MAX_RATIO = 20
SMALL = 16 * 2**20  # bytes below which the ratio does not matter
_NUMBERS = "fiu"  # kinds of NumPy's dtypes: floats and integers, no objects, texts or complex ones
# Everything that the readers of broken files have been seen to raise; see tests/fuzzing.
_BROKEN = (ValueError, OSError, EOFError, KeyError, SyntaxError, MemoryError, RecursionError)
_BROKEN_ZIP = (
    *(*_BROKEN, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError),
    tokenize.TokenError,  # of NumPy, for a header that breaks off
)
_FULL = os.strerror(errno.ENOSPC)


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read arrays by name; in files of weights the names are layer/variable.

    Arrays of PyTorch's files are those of the state dict, by their names in torch: see
    `read_state_dict`.

    Args:
        path: path of an `.npz` or `.safetensors` file, or of one of torch.save: `.pth`, `.pt`,
            `.pyth`, `.bin`, `.ckpt`, or `.tar`, as in `model_best.pth.tar`.

    Returns:
        Arrays of floats or integers by name.

    Raises:
        WeightsError: if the file cannot be read, is broken, holds anything but numbers, or would
            need far more memory than it takes on the disk.

    Example:
        >>> write_safetensors("model.safetensors", {"fc/bias": np.zeros(3)})
        >>> read_arrays("model.safetensors")["fc/bias"].shape
        (3,)
    """
    path = Path(path)
    if path.suffix not in _READERS:
        raise WeightsError(
            "Arrays are read from .npz and .safetensors, and from PyTorch's "
            f"{', '.join(SUFFIXES)}. Received {path}."
        )
    if not path.is_file():
        raise WeightsError(f"{path} cannot be read: there is no such file.")
    arrays = _READERS[path.suffix](path)
    for name, array in arrays.items():
        if array.dtype.kind not in _NUMBERS:
            raise WeightsError(f"{path} is refused: {shown(name)} is of type {array.dtype}.")
    return arrays


def write_safetensors(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name, in one step.

    Args:
        path: path of the file; an existing file is replaced.
        arrays: arrays by name.

    Raises:
        WeightsError: if the file cannot be written, or the format does not have an array's dtype.

    Example:
        >>> write_safetensors("model.safetensors", model_arrays(model))

    Reference: github.com/huggingface/safetensors.
    """
    path = Path(path)
    # safetensors writes an array's memory as it lies: it must be contiguous and in native order.
    plain = {
        name: np.array(array, array.dtype.newbyteorder("="), order="C")
        for name, array in arrays.items()
    }
    try:
        with write_errors(path), replacing(path) as temporary:
            safetensors_numpy.save_file(plain, temporary)
            give_usual_permissions(temporary)  # safetensors writes for the owner alone
    except (safetensors.SafetensorError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} cannot be written: {error}.") from error


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read a .safetensors file."""
    try:
        return safetensors_numpy.load_file(path)
    except (safetensors.SafetensorError, TypeError, AttributeError, *_BROKEN) as error:
        raise WeightsError(f"{path} is no sound .safetensors file: {shown(str(error))}.") from error


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read an .npz file, after checks of its directory and of every array's header."""
    try:
        # Before NumPy sees it: a few kilobytes can unpack to terabytes, or announce them.
        with path.open("rb") as npz:
            _check_members(read_members(npz, compressed=True), path.stat().st_size)
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as file:
                    _check_header(file, member)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except WeightsError as error:
        raise WeightsError(f"{path} is refused: {error}.") from error
    except _BROKEN_ZIP as error:
        raise WeightsError(f"{path} is no sound .npz file: {shown(str(error))}.") from error


def _check_members(members: Mapping[str, Member], size: int) -> None:
    """Refuse members that are no arrays, or unpack to far more than the file's size."""
    if foreign := next((name for name in members if not name.endswith(".npy")), None):
        raise WeightsError(f"its member {shown(foreign)} is no array")
    unpacked = sum(member.num_bytes for member in members.values())
    if unpacked > max(MAX_RATIO * size, SMALL):
        raise WeightsError(f"its {size:,} bytes would become {unpacked:,}")


def _check_header(file: IO[bytes], member: zipfile.ZipInfo) -> None:
    """Check that the array that a member announces is as large as the member."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise WeightsError(f"its member {shown(member.filename)} is of .npy version {version}")
    if dtype.kind not in _NUMBERS:
        raise WeightsError(f"its member {shown(member.filename)} is of type {shown(str(dtype))}")
    needed = file.tell() + math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or needed != member.file_size:
        raise WeightsError(
            f"its member {shown(member.filename)} is to hold {needed:,} bytes for the shape "
            f"{shown(str(shape))}, but has {member.file_size:,}"
        )


_READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    **dict.fromkeys(SUFFIXES, read_state_dict),
}


def arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Digest of names and values, in hexadecimal, the same for equal weights in any file."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.data)
    return digest.hexdigest()[:16]


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn an error of the system into a WeightsError with the reason and the remedy."""
    try:
        yield
    except Exception as error:  # some libraries report a full disk by errors of their own
        if not isinstance(error, OSError) and _FULL not in str(error):
            raise
        reason = _FULL if _FULL in str(error) else getattr(error, "strerror", None) or error
        raise WeightsError(
            f"{not_written(path, reason)} Make room or name another, then run the same command "
            "again."
        ) from error
