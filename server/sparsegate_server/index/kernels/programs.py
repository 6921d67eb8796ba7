"""Puts masks together: sets of rows are read from where they lie and combined, all in one call.

A program is a row of instructions, each a number and its operands, for a machine that keeps masks
on a stack. Arrays are named by their addresses: whoever makes a program keeps them alive.

    NONE, EVERY                         push a mask without a row, or with all
    ADD_WORDS address                   adds to the top a mask's words
    ADD_ROWS address, count             rows, uint32, in any order
    ADD_ROARING address, bytes          a serialised bitmap
    ADD_NUMBERS points, values, rests, and twice value, rest, after
                                        rows of the points between two numbers
    ADD_TIMES points, times, and twice time, after
                                        rows of the points between two times
    AND, OR, WITHOUT                    replace the upper two by what they make
    TALLY planes                        pops a mask and adds it to the counters under it
    TALLIED planes, least               replaces counters by the rows that have counted so far

Counters are masks too, one for each bit of theirs, the lowest bit's at the bottom.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import I64, U64_OUT
from sparsegate_server.index.kernels.bits import (
    f64_at,
    i16_at,
    i64_at,
    lanes_within,
    population,
    u8_at,
    u32_at,
    u64_at,
)
from sparsegate_server.index.kernels.masks import add_all, set_bit
from sparsegate_server.index.kernels.points import place_of_number, place_of_time
from sparsegate_server.index.kernels.registry import helper, kernel
from sparsegate_server.index.kernels.roaring import add_roaring

# In this order, because `run_program` asks for less than some.
NONE, EVERY, ADD_WORDS, ADD_ROWS, ADD_ROARING, ADD_NUMBERS, ADD_TIMES = range(7)
AND, OR, WITHOUT, TALLY, TALLIED = range(7, 12)

DAMAGED = -1
TOO_DEEP = -2

_ALL = np.uint64(2**64 - 1)
_FEW = 64
"""Points are taken one by one if there is at most one for so many rows."""

_POINTS = 6
"""Operands that say where points are: addresses and lengths of `Buckets`, which are `rows` and how
many, `numbers`, `step`, `spare` and how many."""

_SPARE = 2
"""Masks of the stack that `TALLIED` works with."""


@kernel(I64, types.int64, U64_OUT, U64_OUT)
def run_program(  # noqa: PLR0912  a branch for each instruction
    program: NDArray[np.int64], size: int, stack: NDArray[np.uint64], out: NDArray[np.uint64]
) -> int:
    """Makes the mask of a program.

    Args:
        size: how many rows there are.
        stack: room for some masks, with anything in it.
        out: the mask, of which nothing is read.

    Returns:
        How many rows there are in it; `DAMAGED` if what is stored leads beyond the rows or is no
        bitmap, `TOO_DEEP` if there is too little room.
    """
    wide = len(out)
    numbers = program.view(np.float64)
    top = -wide
    at = 0
    while at < len(program):
        code = program[at]
        if code <= EVERY:
            top += wide
            if top + (1 + _SPARE) * wide > len(stack):
                return TOO_DEEP
            _fill(stack[top : top + wide], size, code == EVERY)
            at += 1
        elif code == ADD_WORDS:
            _unite(stack[top : top + wide], u64_at(program[at + 1], wide))
            at += 2
        elif code == ADD_ROWS:
            rows = u32_at(program[at + 1], program[at + 2])
            if not add_all(rows, size, stack[top : top + wide]):
                return DAMAGED
            at += 3
        elif code == ADD_ROARING:
            blob = u8_at(program[at + 1], program[at + 2])
            if not add_roaring(blob, 0, program[at + 2], size, stack[top : top + wide]):
                return DAMAGED
            at += 3
        elif code <= ADD_TIMES:
            own = at + 1 + _POINTS
            low, high, end = _span(code, program, numbers, own, program[at + 2])
            if not _add_span(program[at + 1 : own], low, high, size, stack[top : top + wide]):
                return DAMAGED
            at = end
        elif code == TALLY:
            _tally(stack, top, wide, program[at + 1])
            top -= wide
            at += 2
        elif code == TALLIED:
            planes = program[at + 1]
            top -= (planes - 1) * wide
            _tallied(stack[top : top + (planes + _SPARE) * wide], wide, planes, program[at + 2])
            at += 3
        else:
            top -= wide
            _combine(code, stack[top : top + wide], stack[top + wide : top + 2 * wide])
            at += 1
    return _copied(stack, out)


@helper
def _copied(words: NDArray[np.uint64], out: NDArray[np.uint64]) -> int:
    count = 0
    for place in range(len(out)):
        out[place] = words[place]
        count += population(words[place])
    return count


@helper
def _fill(words: NDArray[np.uint64], size: int, full: bool) -> None:
    words[:] = _ALL if full else np.uint64(0)
    if full and size & 63:
        words[len(words) - 1] = _ALL >> np.uint64(64 - (size & 63))


@helper
def _unite(words: NDArray[np.uint64], more: NDArray[np.uint64]) -> None:
    for place in range(len(words)):
        words[place] |= more[place]


@helper
def _combine(code: int, left: NDArray[np.uint64], right: NDArray[np.uint64]) -> None:
    if code == AND:
        for place in range(len(left)):
            left[place] &= right[place]
    elif code == OR:
        for place in range(len(left)):
            left[place] |= right[place]
    else:
        for place in range(len(left)):
            left[place] &= ~right[place]


@helper
def _span(
    code: int, program: NDArray[np.int64], numbers: NDArray[np.float64], at: int, points: int
) -> tuple[int, int, int]:
    """The places of the points that an instruction asks for, and where the next instruction is.

    Args:
        at: of the operands behind those that say where the points are.
        points: how many there are.
    """
    if code == ADD_TIMES:
        times = i64_at(program[at], points)
        low = place_of_time(times, program[at + 1], program[at + 2] != 0)
        high = place_of_time(times, program[at + 3], program[at + 4] != 0)
        return low, high, at + 5
    values, rests = f64_at(program[at], points), i16_at(program[at + 1], points)
    low = place_of_number(values, rests, numbers[at + 2], program[at + 3], program[at + 4] != 0)
    high = place_of_number(values, rests, numbers[at + 5], program[at + 6], program[at + 7] != 0)
    return low, high, at + 8


@helper
def _add_span(
    points: NDArray[np.int64], low: int, high: int, size: int, words: NDArray[np.uint64]
) -> bool:
    """Adds the rows of the points `low..high`: whole buckets by a look at every row's bucket, the
    points before and after them one by one.

    Returns:
        Whether the rows of the points are below `size`, as far as they were looked at.
    """
    rows, step = u32_at(points[0], points[1]), points[3]
    spare = u32_at(points[4], points[5])
    if high - low <= size // _FEW:
        return add_all(rows[low : max(low, high)], size, words)
    first = (low + step - 1) // step
    last = (high + step - 1) // step if high == len(rows) else high // step
    if first >= last:
        return add_all(rows[low:high], size, words)
    if not add_all(rows[low : first * step], size, words):
        return False
    if last * step < high and not add_all(rows[last * step : high], size, words):
        return False
    begin = np.searchsorted(spare, np.uint32(low)) if len(spare) else 0
    for at in range(begin, len(spare)):
        if spare[at] >= high:
            break
        if rows[spare[at]] >= size:
            return False
        set_bit(words, rows[spare[at]])
    numbers = u8_at(points[2], len(words) << 6)
    for place in range(len(words)):
        words[place] |= lanes_within(
            numbers, np.int64(place << 6), np.uint8(first), np.uint8(last - first)
        )
    return True


@helper
def _tally(stack: NDArray[np.uint64], top: int, wide: int, planes: int) -> None:
    """Adds one to the counters of the rows in the mask at the top."""
    carry = stack[top : top + wide]
    for bit in range(planes):
        start = top - (planes - bit) * wide
        plane = stack[start : start + wide]
        for place in range(wide):
            before = plane[place]
            plane[place] = before ^ carry[place]
            carry[place] &= before


@helper
def _tallied(room: NDArray[np.uint64], wide: int, planes: int, least: int) -> None:
    """Puts the rows whose counters say at least `least`, which is 1 or more, in the first mask.

    Args:
        room: the counters and `_SPARE` masks.
    """
    # From the highest bit on: where counters are the same as `least` yet, and where they are more.
    same = room[planes * wide : (planes + 1) * wide]
    more = room[(planes + 1) * wide : (planes + 2) * wide]
    same[:] = _ALL
    more[:] = np.uint64(0)
    for bit in range(planes - 1, -1, -1):
        plane = room[bit * wide : (bit + 1) * wide]
        if least >> bit & 1:
            for place in range(wide):
                same[place] &= plane[place]
        else:
            for place in range(wide):
                more[place] |= same[place] & plane[place]
                same[place] &= ~plane[place]
    for place in range(wide):
        room[place] = more[place] | same[place]
