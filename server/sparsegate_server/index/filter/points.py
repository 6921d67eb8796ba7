"""Numbers and times and the rows that hold them, in sorted order."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.filters import Range, TimeRange
from sparsegate_server.index import kernels
from sparsegate_server.index.filter.buckets import Buckets
from sparsegate_server.index.filter.held import Held
from sparsegate_server.index.filter.program import NONE, Adding, Program
from sparsegate_server.index.filter.stored import Arrays, require_length, required
from sparsegate_server.index.kernels.arrays import address_of

Point: TypeAlias = tuple[float, int] | tuple[int]
"""A number as the nearest float64 and what it lacks, or a time in microseconds; in either case
points order as what they stand for."""

_WHOLE: Final = 2**53
"""Up to here, a float64 is just what an integer is."""

_FAR: Final = 2**15 - 1
_FAR_TIME: Final = 2**62
Limit: TypeAlias = tuple[float | bool, ...]
"""A point, and whether the place behind all points like it is meant, or the one before them."""


class _Order(NamedTuple):
    """Points of a type, as a program knows them.

    Attributes:
        pack: writes down two limits.
        first, last: before all points, and behind them.
    """

    code: bytes
    pack: Callable[..., bytes]
    first: Limit
    last: Limit


_CODE: Final = struct.Struct("=q")
_ORDERS: Final = {
    1: _Order(
        _CODE.pack(kernels.ADD_TIMES),
        struct.Struct("=4q").pack,
        (-(2**63), False),
        (2**63 - 1, True),
    ),
    2: _Order(
        _CODE.pack(kernels.ADD_NUMBERS),
        struct.Struct("=d2qd2q").pack,
        (-math.inf, -(2**15), False),
        (math.inf, 2**15, True),
    ),
}
"""By how many parts points have."""


def number_point(number: int | float) -> Point:
    """A number, but NaN, as a point: integers of 64 bits and floats order exactly.

    The rest of a 64-bit integer is within ±1024. A larger integer, which only a query can have,
    keeps its place between all of those.
    """
    if isinstance(number, float):
        return (number + 0.0, 0)  # -0.0 becomes 0.0
    if -_WHOLE <= number <= _WHOLE:
        return (float(number), 0)
    try:
        nearest = float(number)
    except OverflowError:
        return (float("inf"), -_FAR) if number > 0 else (float("-inf"), _FAR)
    return (nearest, max(-_FAR, min(number - int(nearest), _FAR)))


def time_point(microseconds: int) -> Point:
    """A time as a point; the years of dates are far within the limits."""
    return (max(-_FAR_TIME, min(microseconds, _FAR_TIME)),)


@dataclass(slots=True, eq=False)
class Points:
    """Pairs of a point and a row, ascending and distinct. Nothing changes once it is made.

    Attributes:
        size: how many rows there are, those without a point included.
        parts: the points, one array for each part of theirs: float64 and int16 for numbers, int64
            for times.
        rows: uint32, parallel.
    """

    size: int
    parts: tuple[NDArray[Any], ...]
    rows: NDArray[np.uint32]
    # Found out when they are first asked for; who does so at the same time finds out the same.
    _held: Held | None = field(default=None, init=False)
    _buckets: Buckets | None = field(default=None, init=False)
    _places: bytes = field(default=b"", init=False)
    _order: _Order = field(init=False)

    def __post_init__(self) -> None:
        self._order = _ORDERS[len(self.parts)]

    @classmethod
    def of(cls, parts: Sequence[NDArray[Any]], rows: NDArray[np.uint32], size: int) -> Points:
        """From pairs in any order, repeated or not."""
        order = np.lexsort((rows, *reversed(parts)))
        columns = [each[order] for each in (*parts, rows)]
        fresh = np.ones(len(order), np.bool_)
        fresh[1:] = np.any([each[1:] != each[:-1] for each in columns], axis=0)
        *sorted_parts, sorted_rows = (each[fresh] for each in columns)
        return cls(size, tuple(sorted_parts), sorted_rows)

    @classmethod
    def merged(
        cls, several: Sequence[Points], destinations: Sequence[NDArray[np.int64]], size: int
    ) -> Points:
        """The points of several, their rows moved to `destinations`, -1 left out."""
        moved = [target[each.rows] for each, target in zip(several, destinations, strict=True)]
        rows = np.concatenate(moved)
        kept = rows >= 0
        columns = zip(*(each.parts for each in several), strict=True)
        parts = [np.concatenate(column)[kept] for column in columns]
        return cls.of(parts, rows[kept].astype(np.uint32), size)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All but the size, as named one-dimensional arrays."""
        named = {f"part{number}": part for number, part in enumerate(self.parts)}
        return {**named, "rows": self.rows}

    @classmethod
    def from_arrays(cls, dtypes: Sequence[type[np.generic]], arrays: Arrays, size: int) -> Points:
        """The inverse of `arrays`; nothing is copied.

        Raises:
            ValueError: the arrays are not those of `arrays()` or do not fit together.
        """
        rows = required(arrays, "rows", np.uint32)
        names = [f"part{number}" for number in range(len(dtypes))]
        parts = [required(arrays, *each) for each in zip(names, dtypes, strict=True)]
        for name, part in zip(names, parts, strict=True):
            require_length(name, part, len(rows))
        return cls(size, tuple(parts), rows)

    def within(self, bounds: Range | TimeRange, point: Callable[[Any], Point]) -> Program:
        """The rows that hold a point within bounds, which `point` makes points of.

        Raises:
            ValueError: what is stored leads beyond the rows, here and in the other methods.
        """
        low, high = self._order.first, self._order.last
        if bounds.gte is not None:
            low = (*point(bounds.gte), False)
        if bounds.gt is not None:
            low = max(low, (*point(bounds.gt), True))
        if bounds.lt is not None:
            high = (*point(bounds.lt), False)
        if bounds.lte is not None:
            high = min(high, (*point(bounds.lte), True))
        return NONE + self._adding(low, high)

    def with_any(self, points: Iterable[Point]) -> Program:
        """The rows that hold one of `points`."""
        spans = (self._adding((*point, False), (*point, True)) for point in points)
        return NONE + b"".join(spans)

    def with_others(self, points: Iterable[Point]) -> Program:
        """The rows that hold a point which is none of `points`."""
        if self._held is None:
            self._held = Held.of(self.rows, self.size)
        barred = sorted(set(points))
        return self._held.with_others(list(map(self._span, barred)), self.with_any(barred))

    def _adding(self, low: Limit, high: Limit) -> Adding:
        """What adds the rows of the points between two limits."""
        if self._buckets is None:
            self._buckets = Buckets.of(self.rows, self.size)
            parts = (_CODE.pack(address_of(part)) for part in self.parts)
            self._places = b"".join([self._order.code, self._buckets.places, *parts])
        return self._places + self._order.pack(*low, *high)

    def _span(self, point: Point) -> tuple[int, int]:
        """The places of `point`, or twice the place where it would be."""
        return self._place(point, after=False), self._place(point, after=True)

    def _place(self, point: Point, *, after: bool) -> int:
        """The first place that is not before `point`, or with `after` is behind it."""
        place: Callable[..., int] = kernels.number_place if len(point) == 2 else kernels.time_place
        return place(*self.parts, *point, after)
