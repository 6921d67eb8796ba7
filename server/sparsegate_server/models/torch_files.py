"""Reads the tensors of `pytorch_model.bin`, in PyTorch's zip format and the one before 1.6."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.pickled import PickledTensor, Storage, read_pickle

Bytes = bytes | bytearray | memoryview

FETCH_AGAIN = (
    "A download that broke off leaves such a file, and so does git without its LFS files: compare "
    "its size with the source's, and fetch it again"
)
"""What to do about a file of weights that ends too early."""
_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_STATE_KEYS = ("state_dict", "model_state_dict")
"""Where training loops put the state dict when they save more than that."""
_REUSE = 4
"""All tensors, and all storages, may be this many times the file: tied weights lie in it once, and
a file that names its bytes a thousand times over wants to fill the memory."""
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(KeyError, RuntimeError, ValueError, OverflowError),
)
"""What Python's zipfile raises for files that are broken in one way or another."""


def read_torch_file(file: Path) -> dict[str, NDArray[Any]]:
    """The tensors by name; bfloat16 comes as float32, everything else as it was saved.

    Raises:
        ModelSourceError: the file is no state dict, asks for more than one, or is broken.
    """
    with file.open("rb") as stream:
        is_zip = stream.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
    if is_zip:
        return _read_zip(file)
    # From memory, no read reaches past the end, however long the file says that it is.
    return _read_legacy(io.BytesIO(file.read_bytes()), file)


def widened(raw: Bytes, dtype: str) -> NDArray[Any]:
    """Little-endian elements as an array [n]. NumPy has no bfloat16, the upper half of a float32.

    Raises:
        ValueError: the bytes are no whole number of elements.
    """
    if dtype == "bfloat16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<"))


def _read_zip(file: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(file) as archive:
            roots = [n.removesuffix("data.pkl") for n in archive.namelist() if _is_root(n)]
            if len(roots) != 1:
                raise ModelSourceError(
                    f"{file} is no PyTorch checkpoint: it has {len(roots)} data.pkl"
                )
            _check_members(archive, file)
            root = roots[0]
            if f"{root}byteorder" in archive.namelist():
                _check_order(archive.read(f"{root}byteorder"), file)
            stream = io.BytesIO(archive.read(f"{root}data.pkl"))
            tensors = _tensors_of(read_pickle(stream, str(file)), file)
            return _resolve(tensors, lambda s: archive.read(f"{root}data/{s.key}"), file)
    except _ZIP_ERRORS as error:
        raise ModelSourceError(
            f"{file} is no whole PyTorch checkpoint: {error}. {FETCH_AGAIN}"
        ) from error


def _is_root(name: str) -> bool:
    return name == "data.pkl" or (name.endswith("/data.pkl") and name.count("/") == 1)


def _check_members(archive: zipfile.ZipFile, file: Path) -> None:
    """PyTorch stores and never compresses, so that no member can grow when it is read."""
    size = file.stat().st_size
    for member in archive.infolist():
        stored = member.compress_type == zipfile.ZIP_STORED
        if not stored or member.file_size != member.compress_size or member.file_size > size:
            raise ModelSourceError(
                f"{file} has a compressed or oversized member {member.filename!r}, which PyTorch "
                "does not write"
            )


def _check_order(order: bytes, file: Path) -> None:
    if order.strip() != b"little":
        raise ModelSourceError(f"{file} was saved on a {order[:16]!r}-endian machine")


def _read_legacy(stream: io.BytesIO, file: Path) -> dict[str, NDArray[Any]]:
    """Five pickles (magic, protocol, machine, state dict, keys), then each storage's numbers."""
    magic, protocol, machine = (read_pickle(stream, str(file)) for _ in range(3))
    if (magic, protocol) != (_LEGACY_MAGIC, _LEGACY_PROTOCOL) or not isinstance(machine, dict):
        raise ModelSourceError(f"{file} is no PyTorch checkpoint")
    if machine.get("little_endian") is not True:
        raise ModelSourceError(f"{file} was saved on a big-endian machine")
    tensors = _tensors_of(read_pickle(stream, str(file)), file)
    keys = read_pickle(stream, str(file))
    widths = {t.storage.key: _width(t.storage) for t in tensors.values()}
    storages: dict[str, bytes] = {}
    for key in keys if isinstance(keys, list) else []:
        if key not in widths:
            raise ModelSourceError(
                f"{file} has a storage {key!r} that belongs to no weight: save the state dict alone"
            )
        header = stream.read(8)
        if len(header) != 8:
            raise ModelSourceError(
                f"{file} is truncated: storage {key!r} is missing. {FETCH_AGAIN}"
            )
        (size,) = struct.unpack("<q", header)
        # A lying size gets what there is, and is found out when the tensor is made.
        storages[key] = stream.read(min(max(0, size) * widths[key], file.stat().st_size))
    return _resolve(tensors, lambda s: storages[s.key], file)


def _tensors_of(state: Any, file: Path) -> dict[str, PickledTensor]:
    """The state dict, also out of the dict in which a training loop saved it."""
    for key in _STATE_KEYS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict):
        raise ModelSourceError(f"{file} holds a {type(state).__name__}, no state dict")
    tensors = {k: v for k, v in state.items() if isinstance(v, PickledTensor)}
    if not tensors:
        raise ModelSourceError(f"{file} holds no tensors")
    return {str(name): tensor for name, tensor in tensors.items()}


def _resolve(
    tensors: Mapping[str, PickledTensor], read: Callable[[Storage], bytes], file: Path
) -> dict[str, NDArray[Any]]:
    """Tensors as views of their storages, each of which is read once."""
    size = file.stat().st_size
    total = sum(math.prod(t.shape) * _width(t.storage) for t in tensors.values())
    stored = 0
    storages: dict[tuple[str, str], NDArray[Any]] = {}
    resolved = {}
    for name, tensor in tensors.items():
        if max(total, stored) > _REUSE * size:
            raise ModelSourceError(f"{file} describes many times the {size} bytes that it has")
        key = (tensor.storage.key, tensor.storage.dtype)
        try:
            if key not in storages:
                storages[key] = widened(read(tensor.storage), tensor.storage.dtype)
                stored += storages[key].nbytes
            resolved[name] = _view(tensor, storages[key])
        except (ValueError, KeyError) as error:
            raise ModelSourceError(
                f"{file}: tensor {name!r} cannot be read: {error}. {FETCH_AGAIN}"
            ) from error
    return resolved


def _view(tensor: PickledTensor, storage: NDArray[Any]) -> NDArray[Any]:
    """Raises ValueError where the tensor reaches outside its storage, or repeats parts of it."""
    start = tensor.storage.start
    if start + tensor.storage.size > len(storage):
        raise ValueError(
            f"its storage should have {start + tensor.storage.size} elements and has {len(storage)}"
        )
    elements = storage[start : start + tensor.storage.size]
    count = math.prod(tensor.shape)
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if count and (tensor.offset + last >= len(elements) or count > len(elements)):
        raise ValueError(
            f"shape {tensor.shape}, strides {tensor.strides} and offset {tensor.offset} do not fit "
            f"{len(elements)} elements"
        )
    if not count:
        return np.zeros(tensor.shape, elements.dtype)
    return np.lib.stride_tricks.as_strided(
        elements[tensor.offset :],
        tensor.shape,
        [step * elements.itemsize for step in tensor.strides],
        writeable=False,
    )


def _width(storage: Storage) -> int:
    """Bytes of one element in the file."""
    return 2 if storage.dtype == "bfloat16" else np.dtype(storage.dtype).itemsize
