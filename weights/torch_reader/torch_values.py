"""The values of a PyTorch file's pickle: what its calls, which nobody makes, would make."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np

from weights.errors import WeightsError
from weights.torch_reader.pickle_machine import Call, Global, read_pickle
from weights.torch_reader.torch_storages import STORAGE_TYPES, Storage, Storages
from weights.torch_reader.torch_tensors import TENSORS, V3_TYPES, Tensors, lengths
from weights.torch_reader.unpickle import ADMITTED as NUMPY_NAMES
from weights.torch_reader.unpickle import RECONSTRUCT, _bytes, _is_encoded, _number_type, _Reading

MAX_OPCODES = 2_000_000  # some 40 a tensor, and as many for each of its optimizer's
_DICTS = ("collections.OrderedDict", "collections.Counter")
_PARAMETERS = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",  # of torch before 0.4
)
_SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_TYPES = (
    *("torch.bool", "torch.uint8", "torch.int8", "torch.int16", "torch.int32", "torch.int64"),
    *("torch.float16", "torch.bfloat16", "torch.float32", "torch.float64", *V3_TYPES),
)
ADMITTED = frozenset(
    {*_DICTS, *TENSORS, *_PARAMETERS, *_SCALARS, *_TYPES, *STORAGE_TYPES, *NUMPY_NAMES}
    | {"torch.Size", "torch.device"}
)


def read_object(file: BinaryIO) -> tuple[Any, Storages]:
    """A pickle as torch.save writes it, not yet walked, and the storages that it names."""
    storages = Storages()
    root = read_pickle(
        file,
        admitted=ADMITTED,
        dicts=_DICTS,
        persistent=storages.named,
        max_opcodes=MAX_OPCODES,
    )
    return root, storages


class Values(_Reading):
    """The walk from a pickle's calls to plain data.

    Args:
        size: of the file, which bounds what its arrays may take.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._tensors = Tensors(size)

    def read(self, value: Any) -> Any:
        """All of a value: dicts, lists, tuples, texts, numbers and read-only arrays."""
        return self._read(value)

    def mapping(self, value: Any) -> dict[Any, Any] | None:
        """A dict whose values are not yet read, if the value is to be one."""
        if type(value) is dict:
            return value
        if type(value) is not Call or value.name not in _DICTS:
            return None
        first, *others = value.arguments or ({},)
        if others or type(first) not in (dict, list):
            raise WeightsError(f"the pickle calls {value.name} with other than a dict's items")
        return (first if type(first) is dict else _of_pairs(first)) | value.items

    def is_named_array(self, name: Any, value: Any) -> bool:
        """Whether the two may be an entry of a state dict."""
        is_array = type(value) is Call and value.name in (*TENSORS, *_PARAMETERS, *RECONSTRUCT)
        return type(name) is str and is_array

    def _read_parts(self, value: Any) -> Any:
        if (items := self.mapping(value)) is not None:
            return {key: self._read(item) for key, item in items.items()}
        if isinstance(value, Storage):
            return self._tensors.of_storage(value)
        if type(value) is Global and value.name in _TYPES:
            return value.name
        if type(value) is Call and value.name not in RECONSTRUCT:
            return self._parameter(value) if value.name in _PARAMETERS else self._made(value)
        return super()._read_parts(value)

    def _parameter(self, call: Call) -> np.ndarray:
        """The tensor that is its first argument; a state of 3 is about its gradient alone."""
        tensor, *_ = call.arguments or (None,)
        is_known = call.state is None or (type(call.state) is tuple and len(call.state) == 3)
        if type(tensor) is not Call or tensor.name not in TENSORS or not is_known:
            raise WeightsError("the pickle has a parameter that is none of torch's")
        return self._read(tensor)

    def _made(self, call: Call) -> Any:
        if call.state is not None:
            raise WeightsError(f"the pickle gives a state to what {call.name} makes")
        if call.name in TENSORS:
            return self._tensors.of_call(call)
        if call.name in _SCALARS and len(call.arguments) == 2:
            dtype, data = call.arguments
            number = _number_type(dtype)
            return np.frombuffer(_bytes(data, number.itemsize), number)[0].item()
        if call.name == "torch.Size":
            return lengths(call)
        if call.name == "torch.device" and all(type(part) in (str, int) for part in call.arguments):
            return ":".join(map(str, call.arguments))  # cuda:0
        if _is_encoded(call):
            return _bytes(call, len(call.arguments[0]))
        raise WeightsError(f"the pickle calls {call.name} otherwise than torch does")


def _of_pairs(pairs: list[Any]) -> dict[Any, Any]:
    """A dict's items as Python 2 wrote them."""
    found = {}
    for pair in pairs:
        if type(pair) not in (list, tuple) or len(pair) != 2 or type(pair[0]) not in (str, int):
            raise WeightsError("the pickle has a dict of other than keys and values")
        found[pair[0]] = pair[1]
    return found
