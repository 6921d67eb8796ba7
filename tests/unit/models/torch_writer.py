"""Writes `pytorch_model.bin` without PyTorch, in both of its formats, and files that attack.

The pickles are put together opcode by opcode (protocol 2, as torch.save writes it): values of
Python as their opcodes, `Name` as GLOBAL, `Call` as REDUCE and `Outside` as BINPERSID.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

STORAGES = {
    "float32": "torch FloatStorage",
    "float16": "torch HalfStorage",
    "float64": "torch DoubleStorage",
    "int64": "torch LongStorage",
    "uint16": "torch BFloat16Storage",
}
"""NumPy has no bfloat16: arrays of uint16 are written as its bits."""


@dataclass(frozen=True)
class Name:
    """`module attribute`, as GLOBAL has it."""

    text: str


@dataclass(frozen=True)
class Call:
    """What calling `function` gives; `state`, when there is one, is set with BUILD."""

    function: Name
    arguments: tuple[Any, ...] = ()
    items: Mapping[str, Any] | None = None
    state: Any = None


@dataclass(frozen=True)
class Outside:
    """An object that lies outside the pickle."""

    reference: Any


def pickled(value: Any) -> bytes:
    return b"\x80\x02" + opcodes(value) + b"."


def opcodes(value: Any) -> bytes:
    match value:
        case None:
            raw = b"N"
        case bool():
            raw = b"\x88" if value else b"\x89"
        case int() if -(2**31) <= value < 2**31:
            raw = b"J" + struct.pack("<i", value)
        case int():
            size = value.bit_length() // 8 + 1
            raw = b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
        case str():
            raw = b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            raw = b"(" + b"".join(map(opcodes, value)) + b"t"
        case list():
            raw = b"](" + b"".join(map(opcodes, value)) + b"e"
        case dict():
            raw = b"}" + _items(value)
        case Name(text):
            raw = "c{}\n{}\n".format(*text.split(" ", 1)).encode()
        case Outside(reference):
            raw = opcodes(reference) + b"Q"
        case Call(function, arguments, items, state):
            raw = opcodes(function) + opcodes(arguments) + b"R" + _items(items or {})
            raw += b"" if state is None else opcodes(state) + b"b"
        case _:
            raise TypeError(type(value))
    return raw


def tensor(
    key: str,
    size: int,
    shape: Sequence[int],
    strides: Sequence[int],
    *,
    offset: int = 0,
    storage: str = "torch FloatStorage",
    view: tuple[Any, ...] = (),
) -> Call:
    """A tensor as torch.save describes it."""
    reference = ("storage", Name(storage), key, "cpu", size, *view)
    hooks = Call(Name("collections OrderedDict"))
    return Call(
        Name("torch._utils _rebuild_tensor_v2"),
        (Outside(reference), offset, tuple(shape), tuple(strides), False, hooks),
    )


def state_dict(tensors: Mapping[str, Any]) -> Call:
    """With the metadata that PyTorch sets on it."""
    metadata = {"_metadata": Call(Name("collections OrderedDict"), items={"": {"version": 1}})}
    return Call(Name("collections OrderedDict"), items=tensors, state=metadata)


def describe(arrays: Arrays, *, legacy: bool = False) -> dict[str, Call]:
    """Each array in a storage of its own, which its place in the dict numbers."""
    return {
        name: tensor(
            str(key),
            array.size,
            array.shape,
            [step // array.itemsize for step in np.ascontiguousarray(array).strides],
            storage=STORAGES[array.dtype.name],
            view=(None,) if legacy else (),
        )
        for key, (name, array) in enumerate(arrays.items())
    }


def write_zip(
    file: Path, state: Any, storages: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED
) -> None:
    """The format since PyTorch 1.6."""
    write_raw_zip(file, pickled(state), storages, compression=compression)


def write_raw_zip(
    file: Path,
    content: bytes,
    storages: Mapping[str, bytes],
    *,
    compression: int = zipfile.ZIP_STORED,
) -> None:
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", b"little")
        for key, raw in storages.items():
            archive.writestr(f"archive/data/{key}", raw)
        archive.writestr("archive/version", b"3\n")


def write_legacy(file: Path, state: Any, storages: Mapping[str, tuple[int, bytes]]) -> None:
    """The format before PyTorch 1.6; of each storage its number of elements and its bytes."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    head = (0x1950A86A20F9469CFC6C, 1001, machine, state, list(storages))
    numbers = b"".join(struct.pack("<q", size) + raw for size, raw in storages.values())
    file.write_bytes(b"".join(map(pickled, head)) + numbers)


def save_zip(file: Path, arrays: Arrays) -> None:
    storages = {str(key): array.tobytes() for key, array in enumerate(arrays.values())}
    write_zip(file, state_dict(describe(arrays)), storages)


def save_legacy(file: Path, arrays: Arrays) -> None:
    storages = {
        str(key): (array.size, array.tobytes()) for key, array in enumerate(arrays.values())
    }
    write_legacy(file, state_dict(describe(arrays, legacy=True)), storages)


def _items(items: Mapping[str, Any]) -> bytes:
    if not items:
        return b""
    return b"(" + b"".join(opcodes(key) + opcodes(each) for key, each in items.items()) + b"u"
