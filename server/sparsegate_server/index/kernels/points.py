"""Searching sorted numbers and times; see `filter.points.Points`."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import F64, I64
from sparsegate_server.index.kernels.registry import helper, kernel

_I16 = types.Array(types.int16, 1, "C", readonly=True)


@kernel(F64, _I16, types.float64, types.int64, types.boolean)
def number_place(
    values: NDArray[np.float64], rests: NDArray[np.int16], value: float, rest: int, after: bool
) -> int:
    """See `place_of_number`."""
    return place_of_number(values, rests, value, rest, after)


@kernel(I64, types.int64, types.boolean)
def time_place(times: NDArray[np.int64], time: int, after: bool) -> int:
    """See `place_of_time`."""
    return place_of_time(times, time, after)


@helper
def place_of_number(
    values: NDArray[np.float64], rests: NDArray[np.int16], value: float, rest: int, after: bool
) -> int:
    """The first place whose number is not below the wanted one, or with `after` is above it.

    Args:
        values: ascending, as many as `rests`, which ascend where values are equal.
        value, rest: the wanted number.
    """
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) >> 1
        if values[middle] == value:
            below = rests[middle] < rest or (after and rests[middle] == rest)
        else:
            below = values[middle] < value
        if below:
            low = middle + 1
        else:
            high = middle
    return low


@helper
def place_of_time(times: NDArray[np.int64], time: int, after: bool) -> int:
    """The first place whose time is not before the wanted one, or with `after` is behind it."""
    low, high = 0, len(times)
    while low < high:
        middle = (low + high) >> 1
        if times[middle] < time or (after and times[middle] == time):
            low = middle + 1
        else:
            high = middle
    return low
