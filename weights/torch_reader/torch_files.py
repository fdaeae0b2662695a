"""PyTorch's checkpoint files, read without torch, and without running anything of theirs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from weights.errors import WeightsError
from weights.torch_reader.pickle_machine import shown
from weights.torch_reader.torch_legacy import read_legacy
from weights.torch_reader.torch_values import Values
from weights.torch_reader.torch_zip import read_zip
from weights.torch_reader.zip_members import SIGNATURE

SUFFIXES = (".pth", ".pt", ".pyth", ".bin", ".tar", ".ckpt")
"""Names that torch.save's users give to its files; .tar as in model_best.pth.tar."""
STATE_DICT_KEYS = ("state_dict", "model_state", "model", "model_state_dict", "module")
REMEDY = (
    "Get the file from its source again, or save the state dict alone, where torch and the "
    "model's own code are: torch.save(model.state_dict(), FILE)."
)


class _NotFoundError(WeightsError):
    """The file is sound, but has no state dict where one is looked for."""


def read_torch_file(path: str | os.PathLike[str]) -> Any:
    """What one `torch.save(value, path)` of tensors in dicts and lists holds.

    Nothing in the file is run, whatever it is: see pickle_machine.py. It is known by its content,
    whatever its suffix: a zip file, or the format of before torch 1.6.

    Args:
        path: of the file.

    Returns:
        Dicts, lists, tuples, texts, numbers and read-only numpy arrays. Tensors that share a
        storage share their memory. Those of bfloat16 become float32; a torch.dtype or
        torch.device becomes its name.

    Raises:
        WeightsError: if the file cannot be read, is something else, is broken, or asks for
            anything but tensors and plain data, such as an argparse.Namespace.
    """
    with _opened(path) as (root, values):
        return values.read(root)


def read_state_dict(
    path: str | os.PathLike[str], *, keys: Sequence[str] = STATE_DICT_KEYS
) -> dict[str, np.ndarray]:
    """The tensors of a model's state dict, by their names in torch.

    Only these are read: an optimizer's state in the same file takes no memory.

    Args:
        path: of a file as for `read_torch_file`.
        keys: where the state dict may be in the file's own dict, if it is not that dict itself.

    Returns:
        Read-only arrays by name, such as layer1.0.conv1.weight, in the file's order.

    Raises:
        WeightsError: as for `read_torch_file`, and if there is no state dict, or more than one.
    """
    with _opened(path) as (root, values):
        items = _find(values, root, keys)
        return {name: values.read(value) for name, value in items.items()}


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[Any, Values]]:
    """A file's value before the walk, and the walker; what goes wrong in the block is told too."""
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path} cannot be read: there is no such file.")
    try:
        with path.open("rb") as file:
            yield _read_object(file), Values(path.stat().st_size)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}.") from error
    except MemoryError as error:
        raise WeightsError(f"{path} cannot be read: it does not fit in the memory.") from error
    except _NotFoundError as error:
        raise WeightsError(f"{path} {error}.") from error
    except WeightsError as error:
        raise WeightsError(f"{path} is refused: {error}. {REMEDY}") from error


def _read_object(file: BinaryIO) -> Any:
    start = file.read(len(SIGNATURE))
    file.seek(0)
    return read_zip(file) if start == SIGNATURE else read_legacy(file)


def _find(values: Values, root: Any, keys: Sequence[str]) -> dict[str, Any]:
    """The state dict, not yet read."""
    top = values.mapping(root)
    if top is None:
        raise _NotFoundError(f"holds a {type(root).__name__.lower()} in place of a state dict")
    own_keys = shown(str(list(islice(top, 20))), 300)
    remedy = f"Its own keys are {own_keys}; give the one of the state dict as keys"
    nested = {key: items for key in keys if (items := values.mapping(top.get(key))) is not None}
    if len(nested) > 1:
        raise _NotFoundError(f"may have its state dict at each of {', '.join(nested)}. {remedy}")
    ((place, items),) = nested.items() or [("its top", top)]
    foreign = [name for name, value in items.items() if not values.is_named_array(name, value)]
    if foreign or not items:
        what = f"{shown(str(foreign[0]))} there is no tensor" if foreign else "nothing is there"
        raise _NotFoundError(f"has no state dict at {place}: {what}. {remedy}")
    return items
