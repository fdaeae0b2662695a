"""Reader of pickles as data: nothing is imported and nothing is called.

Python's unpickler runs whatever the file says. Here the opcodes that make plain data do that and no
more, a global becomes a `Global`, a call becomes a `Call` that is never made, and every other
opcode is refused. The meaning of the calls is up to the reader of a file format, such as
unpickle.py.
"""

from __future__ import annotations

import os
import pickletools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from weights.errors import WeightsError

MAX_OPCODES = 250_000  # AlexNet has some 400; each may cost a hundred bytes of memory
MAX_LINE = 1_000  # bytes of a global's module or name
NEWEST_PROTOCOL = 5


@dataclass(frozen=True, slots=True, eq=False)
class Global:
    """Name of something that a pickle wants to import; it is not imported."""

    name: str
    """Module and name, such as numpy.ndarray."""


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """Call that a pickle wants to make; it is not made."""

    # Without __repr__ and __eq__: a value may contain itself any number of times, so that showing
    # or comparing it might never end.

    name: str
    """Module and name of the function."""
    arguments: tuple[Any, ...]
    state: Any = None
    """State that a BUILD opcode gave it afterwards."""
    items: dict[Any, Any] = field(default_factory=dict)
    """Items that SETITEM opcodes put into it, for a call that makes a dict."""


def read_pickle(
    file: BinaryIO,
    *,
    admitted: Collection[str],
    dicts: Collection[str] = (),
    persistent: Callable[[Any], Any] | None = None,
    max_opcodes: int = MAX_OPCODES,
) -> Any:
    """Read the data of a pickle from the file's position on.

    Python 2's strings are read as latin-1.

    Args:
        file: an open file on a disk, or in memory. Its position is then behind the pickle.
        admitted: globals that may occur, such as numpy.ndarray.
        dicts: those of them whose calls make dicts, and may be filled like one.
        persistent: function of a persistent id, which stands for data that the file keeps
            elsewhere, to its value. Without it such an id is refused.
        max_opcodes: largest number of opcodes.

    Returns:
        None, bool, int, float, str, bytes, list, tuple, dict, `Global`, `Call` and results of
        `persistent`, nested in each other. A list may contain itself, and may be in many places.

    Raises:
        WeightsError: for a global that is not admitted, an opcode that plain data does not need,
            or a file that breaks off or makes no sense.
    """
    machine = _PickleMachine(admitted, dicts, persistent, max_opcodes)
    # genops only splits the file into opcodes. It would take memory for any length that the file
    # claims, hence the bounded file.
    bounded: Any = _Bounded(file)
    try:
        for number, (opcode, argument, position) in enumerate(pickletools.genops(bounded)):
            if number == max_opcodes:
                raise WeightsError(f"the pickle has more than {max_opcodes:,} opcodes")
            step = _STEPS.get(opcode.name)
            if step is None:
                raise WeightsError(f"the pickle holds the opcode {opcode.name} at byte {position}")
            step(machine, argument)
    except (ValueError, OverflowError) as error:  # pickletools' errors for broken pickles
        raise WeightsError(f"the pickle is broken: {shown(str(error))}") from error
    return machine.result()


def shown(text: str, length: int = 80) -> str:
    """Shorten and escape an untrusted text for a terminal."""
    # Escape sequences could rewrite what the terminal shows.
    text = text if len(text) <= length else f"{text[:length]}..."
    return text if text.isascii() and text.isprintable() else ascii(text)


class _Bounded:
    """File that refuses to read more bytes than it has left."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        start = file.tell()
        self._left = file.seek(0, os.SEEK_END) - start
        file.seek(start)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._left:
            raise WeightsError(
                f"the pickle breaks off: at byte {self.tell()} it goes on for {size:,} bytes, "
                f"but {self._left:,} are left"
            )
        self._left -= size
        return self._file.read(size)

    def readline(self) -> bytes:
        line = self._file.readline(MAX_LINE)
        self._left -= len(line)
        return line


@dataclass(slots=True, eq=False, repr=False)
class _PickleMachine:
    """Stack, marks and memo of an unpickler, with a method for each opcode that needs one."""

    _admitted: Collection[str]
    _dicts: Collection[str]
    _persistent: Callable[[Any], Any] | None
    _max_opcodes: int
    _stack: list[Any] = field(default_factory=list)
    _marks: list[int] = field(default_factory=list)
    _memo: dict[int, Any] = field(default_factory=dict)

    def result(self) -> Any:
        if len(self._stack) != 1 or self._marks:
            raise WeightsError(f"the pickle is broken: it ends with {len(self._stack)} values")
        return self._stack[0]

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        # Never below the last mark: those values belong to an outer list or tuple.
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise WeightsError("the pickle is broken: it takes a value where there is none")
        return self._stack.pop()

    def top(self, kind: type = object) -> Any:
        value = self.pop()
        if not isinstance(value, kind):
            raise WeightsError(
                f"the pickle is broken: it wants a {kind.__name__.lower()} "
                f"where there is a {type(value).__name__.lower()}"
            )
        self._stack.append(value)
        return value

    def mark(self, _: None) -> None:
        self._marks.append(len(self._stack))

    def pop_marked(self) -> list[Any]:
        if not self._marks:
            raise WeightsError("the pickle is broken: it goes back to a mark where there is none")
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def push_last(self, length: int) -> None:
        self.push(tuple([self.pop() for _ in range(length)][::-1]))

    def append(self, values: list[Any]) -> None:
        self.top(list).extend(values)

    def set_items(self, values: list[Any]) -> None:
        top = self.top()
        is_call = type(top) is Call and top.name in self._dicts
        target = top.items if is_call else self.top(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) not in (str, bytes, int):  # a tuple's hash may take for ever
                raise WeightsError(f"the pickle has a {type(key).__name__} as a dict's key")
            target[key] = value

    def put(self, index: int) -> None:
        # A memo cannot have more entries than there are opcodes.
        if index >= self._max_opcodes:
            raise WeightsError(f"the pickle's memo goes up to {index:,}")
        self._memo[index] = self.top()

    def memoize(self, _: None) -> None:
        self.put(len(self._memo))

    def get(self, index: int) -> None:
        if index not in self._memo:
            raise WeightsError(f"the pickle is broken: nothing is at {index:,} of its memo")
        self.push(self._memo[index])

    # The heart of it: only names on the list get this far, and even those are not imported.
    def push_global(self, name: str) -> None:
        if name not in self._admitted:
            raise WeightsError(f"the pickle asks for {shown(name)}")
        self.push(Global(name))

    def push_global_of_stack(self, _: None) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise WeightsError("the pickle is broken: it asks for a global whose name is no text")
        self.push_global(f"{module}.{name}")

    def reduce(self, _: None) -> None:
        arguments, function = self.pop(), self.pop()
        if type(function) is not Global or type(arguments) is not tuple:
            raise WeightsError(f"the pickle calls a {type(function).__name__.lower()}")
        self.push(Call(function.name, arguments))

    def build(self, _: None) -> None:
        state = self.pop()
        self.top(Call).state = state

    def push_persistent(self, _: None) -> None:
        if self._persistent is None:
            raise WeightsError("the pickle holds the opcode BINPERSID, an id of what is elsewhere")
        self.push(self._persistent(self.pop()))

    def check_protocol(self, protocol: int) -> None:
        if protocol > NEWEST_PROTOCOL:
            raise WeightsError(f"the pickle is of protocol {protocol}, newer than any known")


_Step = Callable[[_PickleMachine, Any], None]
# Opcodes whose argument, as pickletools decodes it, is the value itself.
_PUSHED = (
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINSTRING", "SHORT_BINSTRING"),
)
# Opcodes that are not in this table are refused, among them INST, OBJ, NEWOBJ and EXT, which would
# make objects.
_STEPS: dict[str, _Step] = {
    **dict.fromkeys(_PUSHED, _PickleMachine.push),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _PickleMachine.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _PickleMachine.get),
    "PROTO": _PickleMachine.check_protocol,
    "FRAME": lambda machine, size: None,
    "STOP": lambda machine, _: None,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "MARK": _PickleMachine.mark,
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_marked())),
    "TUPLE1": lambda machine, _: machine.push_last(1),
    "TUPLE2": lambda machine, _: machine.push_last(2),
    "TUPLE3": lambda machine, _: machine.push_last(3),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_marked()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_marked()),
    "MEMOIZE": _PickleMachine.memoize,
    "GLOBAL": lambda machine, name: machine.push_global(name.replace(" ", ".", 1)),
    "STACK_GLOBAL": _PickleMachine.push_global_of_stack,
    "REDUCE": _PickleMachine.reduce,
    "BUILD": _PickleMachine.build,
    "BINPERSID": _PickleMachine.push_persistent,
}
