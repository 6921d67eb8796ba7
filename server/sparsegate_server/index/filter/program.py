"""Sets of rows as they are asked for: programs of which a kernel makes masks all in one call.

Whatever a program leads to, as masks and arrays of a column, must be kept until it has run.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index import kernels
from sparsegate_server.index.filter.mask import Mask, leading_beyond

Program: TypeAlias = bytes
"""Machine code of `kernels.run_program`, as int64: it leaves one mask. One program after another
leaves both, for one of `AND`, `OR` and `WITHOUT` to make one of."""

Adding: TypeAlias = bytes
"""Machine code that adds rows to what the program before it leaves."""

_ONE, _TWO, _THREE = struct.Struct("=q"), struct.Struct("=2q"), struct.Struct("=3q")

NONE: Final[Program] = _ONE.pack(kernels.NONE)
EVERY: Final[Program] = _ONE.pack(kernels.EVERY)
AND: Final = _ONE.pack(kernels.AND)
OR: Final = _ONE.pack(kernels.OR)
WITHOUT: Final = _ONE.pack(kernels.WITHOUT)

_MASKS: Final = 8
"""Room for so many is there from the start."""


def of_mask(mask: Mask) -> Program:
    return NONE + adding_mask(mask) if mask else NONE


def adding_mask(mask: Mask) -> Adding:
    return _TWO.pack(kernels.ADD_WORDS, mask.address)


def adding_rows(address: int, count: int) -> Adding:
    """Of uint32, in any order."""
    return _THREE.pack(kernels.ADD_ROWS, address, count)


def adding_bitmap(address: int, size: int) -> Adding:
    """Of so many bytes."""
    return _THREE.pack(kernels.ADD_ROARING, address, size)


def both(parts: Iterable[Program]) -> Program:
    """The rows that are in all of the parts, of which there is one at least."""
    first, *others = parts
    return first + b"".join(each + AND for each in others)


def in_at_least(count: int, parts: Iterable[Program]) -> Iterator[Program]:
    """Pieces of the program for the rows that are in at least `count` of the parts, 1 or more."""
    parts = list(parts)
    if count > len(parts):
        yield NONE
        return
    # A counter of so many bits can tell how many parts there are.
    planes = len(parts).bit_length()
    yield planes * NONE
    for each in parts:
        yield each
        yield _TWO.pack(kernels.TALLY, planes)
    yield _THREE.pack(kernels.TALLIED, planes, count)


def run(program: Program, size: int) -> Mask:
    """The mask of `size` rows that a program makes.

    Raises:
        ValueError: what is stored leads beyond the rows.
    """
    words = np.empty(size + 63 >> 6, np.uint64)
    code = np.frombuffer(program, np.int64)
    count = kernels.run_program(code, size, _own.room(_MASKS * len(words)), words)
    while count == kernels.TOO_DEEP:
        room = _own.room(2 * len(_own.stack))
        count = kernels.run_program(code, size, room, words)
    if count == kernels.DAMAGED:
        raise leading_beyond(size)
    return Mask(size, words, count)


class _Own(threading.local):
    """The calling thread's room for masks."""

    def __init__(self) -> None:
        self.stack = np.empty(0, np.uint64)

    def room(self, words: int) -> NDArray[np.uint64]:
        if len(self.stack) < words:
            self.stack = np.empty(words, np.uint64)
        return self.stack


_own: Final = _Own()
