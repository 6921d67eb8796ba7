"""Numbers and times and the rows that hold them, in sorted order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from sparsegate_server.filters import Range, TimeRange
from sparsegate_server.index.filter.bitmaps import of_numbers, outside
from sparsegate_server.index.filter.stored import Arrays, require_length, required

Point: TypeAlias = tuple[float, int] | tuple[int]
"""A number as the nearest float64 and what it lacks, or a time in microseconds; in either case
points order as what they stand for."""

_FAR: Final = 2**15 - 1
_FAR_TIME: Final = 2**62


def number_point(number: int | float) -> Point:
    """A number, but NaN, as a point: integers of 64 bits and floats order exactly.

    The rest of a 64-bit integer is within ±1024. A larger integer, which only a query can have,
    keeps its place between all of those.
    """
    if isinstance(number, float):
        return (number + 0.0, 0)  # -0.0 becomes 0.0
    try:
        nearest = float(number)
    except OverflowError:
        return (float("inf"), -_FAR) if number > 0 else (float("-inf"), _FAR)
    return (nearest, max(-_FAR, min(number - int(nearest), _FAR)))


def time_point(microseconds: int) -> Point:
    """A time as a point; the years of dates are far within the limits."""
    return (max(-_FAR_TIME, min(microseconds, _FAR_TIME)),)


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Pairs of a point and a row, ascending and distinct.

    Attributes:
        parts: the points, one array for each part of theirs: float64 and int16 for numbers, int64
            for times.
        rows: uint32, parallel.
    """

    parts: tuple[NDArray[Any], ...]
    rows: NDArray[np.uint32]

    @classmethod
    def of(cls, parts: Sequence[NDArray[Any]], rows: NDArray[np.uint32]) -> Points:
        """From pairs in any order, repeated or not."""
        order = np.lexsort((rows, *reversed(parts)))
        columns = [each[order] for each in (*parts, rows)]
        fresh = np.ones(len(order), np.bool_)
        fresh[1:] = np.any([each[1:] != each[:-1] for each in columns], axis=0)
        *sorted_parts, sorted_rows = (each[fresh] for each in columns)
        return cls(tuple(sorted_parts), sorted_rows)

    @classmethod
    def merged(cls, several: Sequence[Points], destinations: Sequence[NDArray[np.int64]]) -> Points:
        """The points of several, their rows moved to `destinations`, -1 left out."""
        moved = [target[each.rows] for each, target in zip(several, destinations, strict=True)]
        rows = np.concatenate(moved)
        kept = rows >= 0
        columns = zip(*(each.parts for each in several), strict=True)
        parts = [np.concatenate(column)[kept] for column in columns]
        return cls.of(parts, rows[kept].astype(np.uint32))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All there is, as named one-dimensional arrays."""
        named = {f"part{number}": part for number, part in enumerate(self.parts)}
        return {**named, "rows": self.rows}

    @classmethod
    def from_arrays(cls, dtypes: Sequence[type[np.generic]], arrays: Arrays) -> Points:
        """The inverse of `arrays`; nothing is copied.

        Raises:
            ValueError: the arrays are not those of `arrays()` or do not fit together.
        """
        rows = required(arrays, "rows", np.uint32)
        names = [f"part{number}" for number in range(len(dtypes))]
        parts = [required(arrays, *each) for each in zip(names, dtypes, strict=True)]
        for name, part in zip(names, parts, strict=True):
            require_length(name, part, len(rows))
        return cls(tuple(parts), rows)

    def within(self, bounds: Range | TimeRange, point: Callable[[Any], Point]) -> BitMap:
        """The rows that hold a point within bounds, which `point` makes points of."""
        low, high = 0, len(self.rows)
        if bounds.gt is not None:
            low = max(low, self._span(point(bounds.gt))[1])
        if bounds.gte is not None:
            low = max(low, self._span(point(bounds.gte))[0])
        if bounds.lt is not None:
            high = min(high, self._span(point(bounds.lt))[0])
        if bounds.lte is not None:
            high = min(high, self._span(point(bounds.lte))[1])
        return of_numbers(self.rows[low:high])

    def with_any(self, points: Iterable[Point]) -> BitMap:
        """The rows that hold one of `points`."""
        found = [self.rows[low:high] for low, high in map(self._span, points)]
        return of_numbers(np.concatenate([np.empty(0, np.uint32), *found]))

    def with_others(self, points: Iterable[Point]) -> BitMap:
        """The rows that hold a point which is none of `points`."""
        return outside(self.rows, [self._span(point) for point in sorted(set(points))])

    def _span(self, point: Point) -> tuple[int, int]:
        """The places of `point`, or twice the place where it would be."""
        low, high = 0, len(self.rows)
        for array, part in zip(self.parts, point, strict=True):
            # Of the array's own type, lest the whole array be cast.
            wanted = array.dtype.type(part)
            span = array[low:high]
            low, high = (
                low + int(np.searchsorted(span, wanted, "left")),
                low + int(np.searchsorted(span, wanted, "right")),
            )
        return low, high
