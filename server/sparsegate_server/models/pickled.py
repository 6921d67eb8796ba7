"""Reads the pickle of a PyTorch state dict as data: opcodes are followed, and nothing is called.

Python's own unpickler imports and calls whatever a file names. This one knows no import: a name in
the file is a name, an object is made only for the few names that a state dict needs, and every
other name, and every opcode that a state dict does without, is an error.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Final

from sparsegate_server.errors import ModelSourceError

DTYPES: Final = {
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.DoubleStorage": "float64",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}
"""What the elements of each of PyTorch's storages are."""

_DEEPEST = 8
"""Most dimensions of a tensor; models have two."""
_LONGEST = 1_000_000
"""Most opcodes of a pickle: a tensor takes about thirty, and the largest models have thousands."""


@dataclass(frozen=True, slots=True)
class Name:
    """A name that the file mentions, `module.attribute`. Never looked up."""

    text: str


@dataclass(frozen=True, slots=True)
class Storage:
    """One run of numbers outside the pickle.

    Attributes:
        key: what the file calls it.
        dtype: of its elements, a value of `DTYPES`.
        size: number of elements.
        start: element of the stored run at which this view of it begins.
    """

    key: str
    dtype: str
    size: int
    start: int = 0


@dataclass(frozen=True, slots=True)
class PickledTensor:
    """A tensor as the file describes it; `offset` and `strides` count elements of the storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    """Where the arguments of an opcode begin on the stack."""


_MARK: Final = _Mark()


def read_pickle(stream: IO[bytes], what: str) -> Any:
    """The one object of the pickle at the stream's position, which then stands behind it.

    Returns:
        Dicts, lists, tuples, strings, numbers, booleans, None, `Name` and `PickledTensor`.

    Raises:
        ModelSourceError: the file asks for anything that a state dict does without, or is broken.
    """
    machine = _Machine(what)
    try:
        with warnings.catch_warnings():
            # Of escapes in the strings of a broken file.
            warnings.simplefilter("ignore", DeprecationWarning)
            for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
                if opcode.name == "STOP":
                    return machine.pop()
                if count > _LONGEST:
                    raise ModelSourceError(f"{what} is no state dict: its pickle is too long")
                machine.step(opcode.name, argument)
    except ModelSourceError:
        raise
    # A broken pickle shows as any of these: no opcode, no argument, no such memo, wrong operands.
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise ModelSourceError(f"{what} is no whole pickle: {error}") from error
    raise ModelSourceError(f"{what} is no whole pickle: it ends before its end mark")


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _LITERALS:
            self._stack.append(argument)
        elif opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode]())
        elif opcode in _STEPS:
            _STEPS[opcode](self, argument)
        elif opcode not in _IGNORED:
            raise self._refusal(f"the pickle opcode {opcode}")

    def pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("an argument is missing")
        return value

    def put(self, key: int | None) -> None:
        self._memo[len(self._memo) if key is None else key] = self._stack[-1]

    def get(self, key: int) -> None:
        self._stack.append(self._memo[key])

    def name(self, text: str) -> None:
        # The opcode GLOBAL gives "module attribute".
        self._stack.append(Name(text.replace(" ", ".", 1)))

    def stack_name(self, _: None) -> None:
        attribute, module = self.pop(), self.pop()
        self._stack.append(Name(f"{module}.{attribute}"))

    def tuple_of(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self._stack.append(tuple(reversed(items)))

    def tuple_from_mark(self, _: None) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def append(self, _: None) -> None:
        value = self.pop()
        self._top(list).append(value)

    def extend(self, _: None) -> None:
        values = self._pop_to_mark()
        self._top(list).extend(values)

    def set_item(self, _: None) -> None:
        value, key = self.pop(), self.pop()
        self._update([key, value])

    def set_items(self, _: None) -> None:
        self._update(self._pop_to_mark())

    def persistent(self, _: None) -> None:
        self._stack.append(self._storage(self.pop()))

    def reduce(self, _: None) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Name):
            raise self._refusal(f"a call of {type(function).__name__}")
        make = _CALLS.get(function.text)
        if make is None or not isinstance(arguments, tuple):
            raise self._refusal(f"a call of {function.text}")
        self._stack.append(make(arguments))

    def build(self, _: None) -> None:
        """A state dict's attributes, which say how modules are versioned, are left aside."""
        self.pop()
        self._top(dict)

    def _update(self, items: list[Any]) -> None:
        into = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Nested tuples as keys would be hashed by recursion, as deep as the file likes.
            if not isinstance(key, (str, int)):
                raise self._refusal(f"a dict key of type {type(key).__name__}")
            into[key] = value

    def _top(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise self._refusal(f"a change of {type(self._stack[-1]).__name__}")
        return self._stack[-1]

    def _pop_to_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("a mark is missing")
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items

    def _storage(self, reference: Any) -> Storage:
        """`("storage", type, key, device, size)`; the older format adds what part of it."""
        if not isinstance(reference, tuple) or len(reference) not in (5, 6):
            raise self._refusal("an outside object that is no storage")
        word, kind, key, _, size, *view = reference
        known = isinstance(kind, Name) and kind.text in DTYPES
        if word != "storage" or not known or not isinstance(key, str):
            raise self._refusal(f"a storage of {kind.text if isinstance(kind, Name) else kind!r}")
        start = 0
        if view and view[0] is not None:
            _, start, size = view[0]
        return Storage(key, DTYPES[kind.text], _count(size), _count(start))

    def _refusal(self, asked: str) -> ModelSourceError:
        return ModelSourceError(
            f"{self._what} asks for {asked}, which no state dict needs: nothing of it was run. "
            "Only load checkpoints that you trust; save this one as safetensors"
        )


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no number of elements")
    return value


def _counts(values: Any) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or len(values) > _DEEPEST:
        raise ValueError("a tensor's shape is no short tuple")
    return tuple(_count(value) for value in values)


def _empty_dict(arguments: tuple[Any, ...]) -> dict[str, Any]:
    if arguments:
        raise ValueError("an OrderedDict is made with arguments")
    return {}


def _tensor(arguments: tuple[Any, ...]) -> PickledTensor:
    """Of (storage, offset, shape, strides, …); the rest is about gradients."""
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, Storage):
        raise ValueError("a tensor has no storage")
    tensor = PickledTensor(storage, _count(offset), _counts(shape), _counts(strides))
    if len(tensor.shape) != len(tensor.strides):
        raise ValueError(f"a tensor of shape {tensor.shape} has strides {tensor.strides}")
    return tensor


def _parameter(arguments: tuple[Any, ...]) -> PickledTensor:
    if not arguments or not isinstance(arguments[0], PickledTensor):
        raise ValueError("a parameter has no tensor")
    return arguments[0]


_CALLS: Final[dict[str, Callable[[tuple[Any, ...]], Any]]] = {
    "collections.OrderedDict": _empty_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}

_LITERALS: Final = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    )
)
_CONSTANTS: Final[dict[str, Callable[[], Any]]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}
_IGNORED: Final = frozenset(("PROTO", "FRAME"))
_STEPS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "PUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GET": _Machine.get,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "TUPLE": _Machine.tuple_from_mark,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "BINPERSID": _Machine.persistent,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
