"""A segment as a row of numbers: the addresses and lengths of its arrays.

So one call of a kernel takes any number of segments. Whoever makes a row keeps the arrays alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import address_of
from sparsegate_server.index.kernels.bits import (
    array_like,
    f32_at,
    i32_at,
    i64_at,
    u8_at,
    u16_at,
    u32_at,
    u64_at,
)
from sparsegate_server.index.kernels.bounds import Lists
from sparsegate_server.index.kernels.registry import helper
from sparsegate_server.index.kernels.score import Vectors

_POSTINGS = ("i8", "u4", "i8", "u2", "u1", "f4", "i4", "u1", "i8", "u1")
_VECTORS = ("i8", "u2|u4", "f4")
_KINDS = (*_POSTINGS, "i8", *_VECTORS, "u8", "u8", "u8")
"""Types of the arrays, in the order of a row: those of `Postings`, its directory, the forward
vectors, born, dead, touched."""

_ARRAYS = len(_KINDS)
_SHIFT, _NEWEST = 2 * _ARRAYS, 2 * _ARRAYS + 1
_WIDTH = 2 * _ARRAYS + 2


class SegmentArrays(NamedTuple):
    """Attributes:
    window_terms, lists: the postings, as `Postings` describes them.
    born, dead, touched: see `Race`.
    newest: the sequence number of the last write that is in it.
    """

    window_terms: NDArray[np.int64]
    lists: Lists
    vectors: Vectors
    born: NDArray[np.uint64]
    dead: NDArray[np.uint64]
    touched: NDArray[np.uint64]
    newest: np.uint64


def segment_row(
    arrays: Sequence[NDArray[Any]], shift: np.int64, newest: np.uint64
) -> NDArray[np.int64]:
    """The row of a segment.

    Args:
        arrays: in the order of `_KINDS`.
        shift: of the directory.
        newest: see `SegmentArrays`.

    Raises:
        TypeError: an array is not what a kernel would take it for.
    """
    row = np.empty(_WIDTH, np.int64)
    for number, (array, kinds) in enumerate(zip(arrays, _KINDS, strict=True)):
        fits = any(array.dtype == np.dtype(kind) for kind in kinds.split("|"))
        if not (fits and array.flags.c_contiguous and array.flags.aligned):
            raise TypeError(f"array {number} of a segment is {array.dtype}, not {kinds} in a row")
        row[2 * number] = address_of(array)
        row[2 * number + 1] = len(array)
    row[_SHIFT] = shift
    row[_NEWEST] = newest.view(np.int64)
    return row


@helper
def segment_at(address: int, term_type: NDArray[Any]) -> SegmentArrays:
    """The segment whose row is there.

    Args:
        term_type: any array with the type of the forward vectors' term ids.
    """
    row = i64_at(address, _WIDTH)
    lists = Lists(
        u32_at(row[2], row[3]),
        i64_at(row[4], row[5]),
        u16_at(row[6], row[7]),
        u8_at(row[8], row[9]),
        f32_at(row[10], row[11]),
        i32_at(row[12], row[13]),
        u8_at(row[14], row[15]),
        i64_at(row[16], row[17]),
        u8_at(row[18], row[19]),
        i64_at(row[20], row[21]),
        row[_SHIFT],
    )
    vectors = Vectors(
        i64_at(row[22], row[23]),
        array_like(term_type, row[24], row[25]),
        f32_at(row[26], row[27]),
    )
    return SegmentArrays(
        i64_at(row[0], row[1]),
        lists,
        vectors,
        u64_at(row[28], row[29]),
        u64_at(row[30], row[31]),
        u64_at(row[32], row[33]),
        np.uint64(row[_NEWEST]),
    )
