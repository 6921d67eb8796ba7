"""Checks of arrays that come back from a file: names, types and lengths, not every value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

_Scalar = TypeVar("_Scalar", bound=np.generic)


def required(arrays: Arrays, name: str, dtype: type[_Scalar]) -> NDArray[_Scalar]:
    """The array of that name.

    Raises:
        ValueError: it is missing, of another type, or not one-dimensional.
    """
    array = arrays.get(name)
    if array is None:
        raise ValueError(f"array {name} is missing")
    if array.dtype != dtype or array.ndim != 1:
        raise ValueError(f"array {name} is {array.dtype} {list(array.shape)}, not {dtype.__name__}")
    return np.asarray(array)  # a memory map as the plain array that the kernels know


def require_length(name: str, array: NDArray[Any], length: int) -> None:
    """Checks how many elements an array has.

    Raises:
        ValueError: `array` is not that long.
    """
    if len(array) != length:
        raise ValueError(f"array {name} has {len(array)} elements, not {length}")


def require_offsets(name: str, offsets: NDArray[np.int64], end: int) -> None:
    """Checks that offsets cut an array of `end` elements into parts.

    Raises:
        ValueError: the offsets do not rise from 0 to `end`.
    """
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != end or (np.diff(offsets) < 0).any():
        raise ValueError(f"array {name} does not rise from 0 to {end}")
