"""Reads a checkpoint's weights from its folder, whatever the format and number of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.jsonfile import read_object
from sparsegate_server.models.torch_files import FETCH_AGAIN, read_torch_file, widened

WEIGHTS_FILE = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
TORCH_FILE = "pytorch_model.bin"
TORCH_INDEX = "pytorch_model.bin.index.json"
WEIGHT_FILES = (WEIGHTS_FILE, WEIGHTS_INDEX, TORCH_FILE, TORCH_INDEX)
"""In the order in which they are preferred: safetensors can hold nothing but numbers."""

Tensor = NDArray[np.float32]

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def weights_file(folder: Path) -> Path | None:
    """The file that holds, or lists the files of, a folder's weights."""
    return next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)


def read_tensors(folder: Path) -> dict[str, NDArray[Any]]:
    """A folder's floating-point tensors by name, of the precision in which they were saved.

    bfloat16 comes as float32. Positions and other integers are left out.

    Raises:
        ModelSourceError: there are no weights, or a file of them is missing or broken.
    """
    file = weights_file(folder)
    if file is None:
        raise ModelSourceError(f"{folder} has no weights: none of {', '.join(WEIGHT_FILES)}")
    tensors = _read_shards(file) if file.suffix == ".json" else _read_file(file)
    return {n: t for n, t in tensors.items() if np.issubdtype(t.dtype, np.floating)}


def as_float32(tensor: NDArray[Any]) -> Tensor:
    return np.ascontiguousarray(tensor, np.float32)


def _read_file(file: Path) -> dict[str, NDArray[Any]]:
    return _read_safetensors(file) if file.suffix == ".safetensors" else read_torch_file(file)


def _read_shards(index: Path) -> dict[str, NDArray[Any]]:
    """Every tensor from the file that the index names for it."""
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(f, str) for f in places.values()):
        raise ModelSourceError(f"{index} has no weight_map of file names")
    tensors: dict[str, NDArray[Any]] = {}
    for name in sorted(set(places.values())):
        shard = index.parent / name
        if name != Path(name).name or not shard.is_file():
            raise ModelSourceError(
                f"{index} names the file {name!r}, which is not beside it: put all files of the "
                "checkpoint into one folder"
            )
        tensors |= {k: v for k, v in _read_file(shard).items() if places.get(k) == name}
    return tensors


def _read_safetensors(file: Path) -> dict[str, NDArray[Any]]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelSourceError(f"{file} cannot be read: {error.strerror}") from error
    try:
        # The Rust library checks the sizes and the offsets, and has no types.
        tensors = deserialize(content)  # type: ignore[no-untyped-call]
        return {
            name: widened(raw["data"], _DTYPES[raw["dtype"]]).reshape(raw["shape"])
            for name, raw in tensors
            if raw["dtype"] in _DTYPES
        }
    except (SafetensorError, ValueError, TypeError) as error:
        raise ModelSourceError(
            f"{file} is no safetensors file, or not a whole one: {error}. {FETCH_AGAIN}"
        ) from error
